"""One peer: whether it can be measured here, and the processes that measure it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from contextlib import ExitStack
from importlib.util import find_spec

from attrs import frozen

from benchmarks.peers.load import Figures
from benchmarks.peers.processes import folder_of, log_of, process, redis


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
        with folder_of("peer-") as (folder, variables):
            variables |= dict(self.environment)
            publish = ["-m", "benchmarks.peers.publish", self.module, str(publishers), str(seconds)]
            try:
                with ExitStack() as stack:
                    if self.redis:
                        stack.enter_context(redis(folder, variables))
                    worker = [sys.executable, *self.worker]
                    stack.enter_context(process(worker, folder, variables))
                    publisher = process([sys.executable, *publish], folder, variables, pipe=True)
                    output, _ = stack.enter_context(publisher).communicate(timeout=90 + 8 * seconds)
                return Figures(**json.loads(output))
            except (OSError, ValueError, subprocess.TimeoutExpired) as error:
                problem = RuntimeError(f"{self.name}: no figures for {publishers} publishers")
                problem.add_note(log_of(folder))
                raise problem from error
