"""What holds for every test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# a loaded machine is no reason for a property to fail
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(params=["memory:", "sqlite:///store.db"], ids=["memory", "sqlite"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Where an app keeps what it keeps: ``App(steps, **where)``, on each store."""
    return {"root": tmp_path, "store": request.param}


@pytest.fixture
def on_disk(tmp_path: Path) -> dict[str, Any]:
    """As :func:`where`, of the store alone that outlives its scope."""
    return {"root": tmp_path, "store": "sqlite:///store.db"}
