"""The documentation's programs are files that run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAMS = sorted((Path(__file__).parents[1] / "docs" / "programs").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_a_program_of_the_documentation_runs(program: Path) -> None:
    """To its end, with every assertion in it, and without a warning."""
    done = subprocess.run(
        [sys.executable, "-W", "error", str(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_there_are_programs() -> None:
    """A glob that finds nothing tests nothing."""
    assert len(PROGRAMS) >= 8
