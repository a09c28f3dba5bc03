"""One recording from start to stop: volumes, segments, rotation, finalize, recovery."""
