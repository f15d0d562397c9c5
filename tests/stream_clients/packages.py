"""The official clients from npm: installed once for a machine, outside of the tree."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
WANTED = ("package.json", "package-lock.json")
PATIENCE = 120  # seconds for npm


def installed() -> Path:
    """The folder whose ``node_modules`` has them. Skips the test where there is no npm for it."""
    found = _install()
    if isinstance(found, str):
        pytest.skip(found)
    return found


@functools.cache
def _install() -> Path | str:
    """Give the folder, or words on why there is none."""
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            return f"no {program} on PATH: the official stream clients come from npm"
    wanted = b"".join((HERE / name).read_bytes() for name in WANTED)
    # what is asked for is in the folder's name: it is filled once, and not looked at again
    folder = _cache() / f"npm-{hashlib.sha256(wanted).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process of this run may be at it
        return folder if folder.is_dir() else _fill(folder)


def _cache() -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    if os.access(home if home.is_dir() else home.parent, os.W_OK):
        return home / "motia_trio-tests"
    return Path(tempfile.gettempdir()) / f"motia_trio-tests-{os.getuid()}"


def _fill(folder: Path) -> Path | str:
    half = folder.with_suffix(".half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir()
    for name in WANTED:
        shutil.copy(HERE / name, half)
    # no package's own scripts run
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
    try:
        done = subprocess.run(
            command, cwd=half, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"npm did not install the official stream clients within {PATIENCE} s"
    if done.returncode:
        words = " ".join(done.stderr.split())[:300]
        return f"npm cannot install the official stream clients: {words}"
    half.rename(folder)
    return folder
