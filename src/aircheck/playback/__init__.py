"""Live and recorded streams, to viewers."""
