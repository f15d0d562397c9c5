"""One peer: whether it can be measured here, and the processes that measure it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

from attrs import frozen

from benchmarks.peers.load import Figures

ROOT = Path(__file__).parents[2]

# every second to the disk; ours is at each commit. No snapshot or rewrite forks in a short run.
REDIS_SETTINGS = "--appendonly yes --appendfsync everysec"
REDIS = ["redis-server", "--port", "0", "--unixsocket", "redis.sock", *REDIS_SETTINGS.split()]
REDIS += ["--save", "", "--auto-aof-rewrite-percentage", "0"]


@frozen
class Peer:
    """A product, and how it is run."""

    name: str
    module: str  # of this package: its app, its task, and how it publishes
    packages: tuple[str, ...]  # that must be there to import
    worker: tuple[str, ...]  # arguments of the interpreter
    settings: str  # what a reader of its figures must know
    redis: bool = True
    environment: tuple[tuple[str, str], ...] = ()

    def available(self) -> str | None:
        """Why it cannot be measured here and what to do, or None."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            return f"{', '.join(missing)} not installed; uv pip install --group bench"
        if self.redis and shutil.which("redis-server") is None:
            return "redis-server not installed; apt-get install redis-server"
        return None

    def measure(self, publishers: int, seconds: float) -> Figures:
        """Start all that it needs, measure for about twice so many seconds, stop all.

        Its files are in a temporary folder: set TMPDIR to choose the disk. Raises RuntimeError
        with the end of the processes' log when it did not work.
        """
        with tempfile.TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            os.mkfifo(folder / "done")
            variables = {
                **os.environ,
                **dict(self.environment),
                "BENCH_FOLDER": name,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": name,  # what a killed worker leaves behind goes with the folder
            }
            publish = ["-m", "benchmarks.peers.publish", self.module, str(publishers), str(seconds)]
            try:
                with ExitStack() as stack:
                    if self.redis:
                        stack.enter_context(_process(REDIS, folder, variables))
                        _await_socket(folder / "redis.sock")
                    worker = [sys.executable, *self.worker]
                    stack.enter_context(_process(worker, folder, variables))
                    publisher = _process([sys.executable, *publish], folder, variables, pipe=True)
                    output, _ = stack.enter_context(publisher).communicate(timeout=90 + 8 * seconds)
                return Figures(**json.loads(output))
            except (OSError, ValueError, subprocess.TimeoutExpired) as error:
                log = (folder / "log").read_text(errors="replace")
                problem = RuntimeError(f"{self.name}: no figures for {publishers} publishers")
                problem.add_note("\n".join(log.splitlines()[-30:]))
                raise problem from error


@contextmanager
def _process(
    arguments: Sequence[str], folder: Path, variables: dict[str, str], *, pipe: bool = False
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is killed, with its children, at the end: nothing it holds is needed."""
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            arguments,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if pipe else log,
            stderr=log,
            start_new_session=True,  # so that its children are in its group, and no one else
        )
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _await_socket(path: Path, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    with socket.socket(socket.AF_UNIX) as client:
        while client.connect_ex(str(path)):
            if time.monotonic() > end:
                raise TimeoutError(f"redis-server did not listen in {seconds} s")
            time.sleep(0.01)
