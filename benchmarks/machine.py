"""What a table was measured on: the machine, its disk, and the versions."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["about", "syncs"]


def about(packages: Iterable[str]) -> str:
    """The machine and the versions, in a few lines."""
    return (
        f"{os.cpu_count()} cores of {_processor()}, {platform.system()} {platform.release()}\n"
        f"{platform.python_implementation()} {platform.python_version()}, "
        + ", ".join([*_versions(packages), *_redis()])
    )


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions(packages: Iterable[str]) -> Iterable[str]:
    for package in packages:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            continue


def _redis() -> Iterable[str]:
    if (server := shutil.which("redis-server")) is not None:
        told = subprocess.run([server, "--version"], capture_output=True, text=True, check=True)
        yield "redis-server " + told.stdout.partition("v=")[2].partition(" ")[0]


def syncs(seconds: float, folder: str | None = None) -> float:
    """Appends of 1 kB a second, each synced, in the folder or where temporary files are."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        number, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end:
            os.write(file.fileno(), b"x" * 1000)
            os.fdatasync(file.fileno())
            number += 1
    return number / seconds
