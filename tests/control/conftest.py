"""What holds for the tests of the control socket."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short name: a socket's path has 107 bytes, and pytest's own are long."""
    with tempfile.TemporaryDirectory(prefix="mt-") as folder:
        yield Path(folder)
