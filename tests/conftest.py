"""How all tests run."""

from hypothesis import HealthCheck, settings

# A machine that does other work meanwhile is slow, not wrong; and what passes once passes again. To look for
# more, let chance choose: `./test --hypothesis-profile=explore`.
_calm = settings(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("aircheck", _calm, derandomize=True)
settings.register_profile("explore", _calm)
settings.load_profile("aircheck")
