"""Hypothesis profiles, chosen by the environment variable HYPOTHESIS_PROFILE.

``dev`` (default) explores anew on each run; ``ci`` draws the same examples every time; ``nightly``
digs. None asserts time: neither a deadline nor the health check that measures the generator.
"""

import os

from hypothesis import HealthCheck, settings

untimed = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("dev", max_examples=100, **untimed)
settings.register_profile("ci", max_examples=200, derandomize=True, print_blob=True, **untimed)
settings.register_profile("nightly", max_examples=5_000, print_blob=True, **untimed)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))
