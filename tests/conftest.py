"""What holds for every test."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# a loaded machine is no reason for a property to fail
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")
