"""How all tests run."""

from hypothesis import settings

# A machine that does other work meanwhile is slow, not wrong.
settings.register_profile("aircheck", deadline=None, print_blob=True)
settings.load_profile("aircheck")
