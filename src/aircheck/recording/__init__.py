"""One recording from start to stop, and what makes its promises hold: volumes, rotation, finalize, recovery."""
