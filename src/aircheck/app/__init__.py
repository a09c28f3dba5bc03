"""The top of the house: a node is built from its settings, run as a process, and stopped."""
