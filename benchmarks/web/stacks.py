"""The processes of each side: what one needs, whether it can be had here, and how it is loaded."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from attrs import evolve, frozen, mutable

from benchmarks.peers import PEERS, Peer
from benchmarks.peers.processes import Process, folder_of, log_of, process, redis
from benchmarks.web.exchanges import FIRST
from benchmarks.web.load import Figures

__all__ = ["BARE", "CELERY", "FASTAPI", "OURS", "STAMPING", "TASKIQ", "Direct", "Server", "Stack"]


class Direct(NamedTuple):
    """Of one run without a socket: requests a second, and microseconds of a core for each."""

    rate: float
    cpu_us: float


@frozen
class Stack:
    """What serves one side."""

    name: str
    server: tuple[str, ...]  # arguments of the interpreter; it prints its port
    packages: tuple[str, ...] = ()
    queue: Peer | None = None  # its worker, and the Redis between them
    settings: str = ""

    def available(self) -> str | None:
        """Why it cannot be measured here and what to do, or None."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            return f"{', '.join(missing)} not installed; uv pip install --group bench"
        return self.queue.available() if self.queue else None

    @contextmanager
    def running(self, exchange: str = "") -> Iterator[Server]:
        """All its processes, in a folder of their own, until the end."""
        with folder_of("web-") as (folder, variables), ExitStack() as stack:
            variables["BENCH_EXCHANGE"] = exchange
            processes = []
            if self.queue:
                processes.append(stack.enter_context(redis(folder, variables)))
                worker = process([sys.executable, *self.queue.worker], folder, variables)
                processes.append(stack.enter_context(worker))
            arguments = [sys.executable, *self.server]
            started = stack.enter_context(process(arguments, folder, variables, pipe=True))
            server = Server(self.name, folder, variables, started, [*processes, started])
            server.port = int(server.answer())
            yield server


@mutable
class Server:
    """A side that serves."""

    name: str
    folder: Path
    variables: dict[str, str]
    process: Process
    processes: list[Process]
    port: int = 0
    next_number: int = FIRST

    def load(self, exchange: str, connections: int, seconds: float) -> Figures:
        """Have clients ask over so many connections. Raises RuntimeError when it did not work."""
        first, cpu = self.next_number, self._cpu()
        what = (exchange, self.port, connections, seconds, first)
        clients = [sys.executable, "-m", "benchmarks.web.load", *map(str, what)]
        try:
            with process(clients, self.folder, self.variables, pipe=True) as started:
                output, _ = started.communicate(timeout=90 + 8 * seconds)
            figures = Figures(*json.loads(output))
        except (OSError, ValueError, subprocess.TimeoutExpired) as error:
            raise self._problem(f"no figures for {exchange}") from error
        self.next_number = figures.next_number
        return figures._replace(cpu_us=(self._cpu() - cpu) / (self.next_number - first) * 1e6)

    def drive(self, exchange: str, tasks: int, seconds: float) -> Direct:
        """The figures of the same app in the same process, without a socket."""
        assert self.process.stdin is not None
        first, cpu = self.next_number, self._cpu()
        what = (exchange, tasks, seconds, first)
        self.process.stdin.write(" ".join(map(str, what)).encode() + b"\n")
        self.process.stdin.flush()
        rate, self.next_number = json.loads(self.answer())
        return Direct(rate, (self._cpu() - cpu) / (self.next_number - first) * 1e6)

    def answer(self) -> bytes:
        """A line that the server prints."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise self._problem("it ended")
        return line

    def _cpu(self) -> float:
        """Seconds of a core that its processes have had until now; NaN where nobody knows."""
        try:
            import psutil
        except ImportError:
            return math.nan
        parents = [psutil.Process(each.pid) for each in self.processes]
        children = [child for parent in parents for child in parent.children(recursive=True)]
        times = [each.cpu_times() for each in (*parents, *children)]
        return sum(each.user + each.system for each in times)

    def _problem(self, what: str) -> RuntimeError:
        problem = RuntimeError(f"{self.name}: {what}")
        problem.add_note(log_of(self.folder))
        return problem


def _peer(name: str, was: str, now: str) -> Peer:
    """A queue of `benchmarks.peers` with the same worker, but the tasks of another module."""
    peer = next(peer for peer in PEERS if peer.name == name)
    return evolve(peer, worker=tuple(part.replace(was, now) for part in peer.worker))


WEB = ("fastapi", "uvicorn", "uvloop", "httptools")
SERVE = ("-m", "benchmarks.web.on_fastapi")
UVICORN = "uvicorn[standard], one process: uvloop, httptools, no access log"

OURS = Stack("ours", ("-m", "benchmarks.web.ours"))
BARE = Stack("ASGI function", ("-m", "benchmarks.web.bare"))
FASTAPI = Stack("FastAPI", (*SERVE, "benchmarks.web.on_fastapi:plain"), WEB, settings=UVICORN)
STAMPING = Stack("FastAPI", (*SERVE, "benchmarks.web.on_fastapi:stamping"), WEB, settings=UVICORN)
CELERY = Stack(
    "FastAPI, Celery",
    (*SERVE, "benchmarks.web.with_celery:app"),
    WEB,
    _peer("Celery, Redis", "benchmarks.peers.on_celery", "benchmarks.web.celery_tasks:celery"),
    "plain functions in FastAPI's threads; delay(), and get() on the Redis result backend",
)
TASKIQ = Stack(
    "FastAPI, taskiq",
    (*SERVE, "benchmarks.web.with_taskiq:app"),
    WEB,
    _peer("taskiq, Redis", "benchmarks.peers.on_taskiq", "benchmarks.web.taskiq_tasks"),
    "coroutines; kiq(), and wait_result() that looks each 10 ms (its default is 200)",
)
