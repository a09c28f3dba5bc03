"""Use cases that every face calls. A rule lives here, once; faces only translate."""
