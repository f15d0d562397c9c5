"""What each side needs, whether it can be had here, and its turn."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, NamedTuple

from attrs import frozen, mutable

from benchmarks.peers.processes import Process, folder_of, log_of, process

__all__ = ["BARE", "BROADCAST", "LOOP", "OURS", "SIDES", "Figures", "Side", "Work"]

FIRST = 50  # connections before memory is looked at: what is imported late is there then
WARM_UP = 5  # changes


class Work(NamedTuple):
    """What a side is asked to do in its turn."""

    subscribers: int
    paced: int  # changes …
    pause: float  # … one each so many seconds
    crammed: int  # changes one after the other


class Figures(NamedTuple):
    """Of one turn. Latencies are of the paced changes; a delivery is a change at one client."""

    per_cpu: float  # deliveries for each second of a core, paced
    crammed_per_cpu: float  # … and one after the other
    crammed_rate: float  # deliveries a second, one after the other
    p50_ms: float
    p99_ms: float
    memory: float  # bytes that stay resident for a connection that has joined and is idle
    busy: float  # the part of the time that the crowd had a core, paced …
    crammed_busy: float  # … and one after the other

    @property
    def cost_us(self) -> float:
        """Microseconds of a core for each delivery, one after the other."""
        return 1e6 / self.crammed_per_cpu


@mutable
class Talk:
    """A process that answers lines with lines."""

    name: str
    process: Process

    def ask(self, *words: object) -> Any:
        """Its answer, when it comes."""
        self.tell(*words)
        return json.loads(self.line())

    def tell(self, *words: object) -> None:
        """Have it do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)).encode() + b"\n")
        self.process.stdin.flush()

    def line(self) -> bytes:
        """What it prints next."""
        assert self.process.stdout is not None
        if not (line := self.process.stdout.readline()):
            raise EOFError(f"the {self.name} ended")
        return line


@frozen
class Side:
    """A server, and how it is run."""

    name: str
    server: tuple[str, ...]  # arguments of the interpreter
    packages: tuple[str, ...] = ()
    settings: str = ""

    def available(self) -> str | None:
        """Why it cannot be measured here and what to do, or None."""
        missing = [package for package in self.packages if find_spec(package) is None]
        if missing:
            return f"{', '.join(missing)} not installed; uv pip install --group bench"
        return None

    def turn(self, work: Work) -> Figures:
        """Start it and its crowd, measure, stop both.

        Its files are in a temporary folder: set TMPDIR to choose the disk. Raises RuntimeError
        with the end of the processes' log when it did not work.
        """
        with folder_of("crowd-") as (folder, variables):

            @contextmanager
            def talk(name: str, *arguments: str) -> Iterator[Talk]:
                command = [sys.executable, *arguments]
                with process(command, folder, variables, pipe=True) as started:
                    yield Talk(name, started)

            try:
                with talk("server", *self.server) as server:
                    port = int(server.line())
                    with talk("crowd", "-m", "benchmarks.crowd.load", str(port)) as crowd:
                        return _turn(work, server, crowd)
            except (OSError, ValueError, EOFError, subprocess.SubprocessError) as error:
                problem = RuntimeError(f"{self.name}: no figures for {work}: {error!r}")
                problem.add_note(log_of(folder))
                raise problem from error


def _turn(work: Work, server: Talk, crowd: Talk) -> Figures:
    crowd.ask("connect", FIRST)
    empty = server.ask("look")["memory"]
    crowd.ask("connect", work.subscribers - FIRST)
    full = server.ask("look")["memory"]
    numbers = WARM_UP, work.paced, work.crammed
    first = 0
    rounds = []
    for count, pause in zip(numbers, (0.0, work.pause, 0.0), strict=True):
        crowd.ask("expect", first, count)
        before = server.ask("look")["cpu"]
        server.ask("publish", first, count, pause)
        found = json.loads(crowd.line())
        if found["deliveries"] != count * work.subscribers:
            raise ValueError(f"{found['deliveries']:,} deliveries of {count * work.subscribers:,}")
        rounds.append((found, found["deliveries"] / (server.ask("look")["cpu"] - before)))
        first += count
    _, (paced, per_cpu), (crammed, crammed_per_cpu) = rounds
    return Figures(
        per_cpu,
        crammed_per_cpu,
        crammed["deliveries"] / crammed["seconds"],
        paced["p50_ms"],
        paced["p99_ms"],
        (full - empty) / (work.subscribers - FIRST),
        paced["busy"],
        crammed["busy"],
    )


def _side(name: str, module: str, packages: tuple[str, ...] = (), settings: str = "") -> Side:
    run, *arguments = module.split()
    return Side(name, ("-m", f"benchmarks.crowd.{run}", *arguments), packages, settings)


OURS = _side("ours", "ours", settings="each change in SQLite, synchronous=FULL, before it is told")
WRITERS = _side(
    *("ours, 16 writers", "ours 16"),
    settings="the same, and 16 tasks that each publish the next one when theirs is kept",
)
BROADCAST = _side(
    *("broadcast", "on_websockets", ("websockets",)),
    "websockets on asyncio, its broadcast(), with its defaults; keeps nothing",
)
UVLOOP = _side(
    *("broadcast, uvloop", "on_websockets uvloop", ("websockets", "uvloop")),
    "the same on uvloop",
)
LOOP = _side(
    *("loop", "on_trio_websocket", ("trio_websocket",)),
    "trio-websocket, send_message over all connections; keeps nothing",
)
QUART = _side(
    *("Quart", "on_quart", ("quart", "hypercorn")),
    "a queue and a websocket for each client, under hypercorn on asyncio; keeps nothing",
)
BARE = _side("bare write", "bare", settings="a loop of write() of a ready frame; keeps nothing")

SIDES = (BARE, LOOP, BROADCAST, UVLOOP, QUART, OURS, WRITERS)
