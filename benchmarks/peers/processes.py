"""The processes that a measurement needs: started in one folder, and killed at its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["REDIS_SETTINGS", "Process", "folder_of", "log_of", "process", "redis"]

ROOT = Path(__file__).parents[2]

# every second to the disk; ours is at each commit. No snapshot or rewrite forks in a short run.
REDIS_SETTINGS = "--appendonly yes --appendfsync everysec"
REDIS = ["redis-server", "--port", "0", "--unixsocket", "redis.sock", *REDIS_SETTINGS.split()]
REDIS += ["--save", "", "--auto-aof-rewrite-percentage", "0"]

Process = subprocess.Popen[bytes]


@contextmanager
def folder_of(prefix: str) -> Iterator[tuple[Path, dict[str, str]]]:
    """A temporary folder with the pipe of `channel`, and the environment that leads to it.

    Set TMPDIR to choose the disk.
    """
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as name:
        os.mkfifo(Path(name) / "done")
        yield (
            Path(name),
            {
                **os.environ,
                "BENCH_FOLDER": name,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": name,  # what a killed process leaves behind goes with the folder
            },
        )


@contextmanager
def process(
    arguments: Sequence[str], folder: Path, variables: Mapping[str, str], *, pipe: bool = False
) -> Iterator[Process]:
    """A process that is killed, with its children, at the end: nothing it holds is needed.

    It talks to the folder's log; with ``pipe`` one can write to it and read what it prints.
    """
    with (folder / "log").open("ab") as log:
        started = subprocess.Popen(
            arguments,
            cwd=folder,
            env=variables,
            stdin=subprocess.PIPE if pipe else subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else log,
            stderr=log,
            start_new_session=True,  # so that its children are in its group, and no one else
        )
    with started:
        try:
            yield started
        finally:
            with suppress(ProcessLookupError):
                os.killpg(started.pid, signal.SIGKILL)


@contextmanager
def redis(folder: Path, variables: Mapping[str, str], seconds: float = 10.0) -> Iterator[Process]:
    """A redis-server on a socket in the folder."""
    with process(REDIS, folder, variables) as started:
        end = time.monotonic() + seconds
        with socket.socket(socket.AF_UNIX) as client:
            while client.connect_ex(str(folder / "redis.sock")):
                if time.monotonic() > end:
                    raise TimeoutError(f"redis-server did not listen in {seconds} s")
                time.sleep(0.01)
        yield started


def log_of(folder: Path, lines: int = 30) -> str:
    """The end of what the processes had to say."""
    return "\n".join((folder / "log").read_text(errors="replace").splitlines()[-lines:])
