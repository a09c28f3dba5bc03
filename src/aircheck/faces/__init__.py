"""Faces: what the outside speaks to. Translators, nothing more; a rule found here belongs in `service`."""
