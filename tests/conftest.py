"""What all tests share: small models, and one hypothesis profile, without a database or a deadline, that prints how to
repeat.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings

pytest_plugins = ["tests.models"]

settings.register_profile(
    "voicelink",
    deadline=None,
    database=None,
    derandomize=True,  # the same examples in every run; `--hypothesis-seed` draws others
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("voicelink")
