"""Our own REST API, version 1, with its documentation, metrics and health."""
