"""Rows: what is asked of whom, and the rounds in which all sides of a row take turns."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from attrs import field, frozen, mutable

from benchmarks.web.stacks import OURS, Direct, Server, Stack

if TYPE_CHECKING:
    from benchmarks.web.load import Figures

__all__ = ["Options", "Row", "Runs", "run_rows"]

WARM_UP = 0.3  # seconds


@frozen
class Row:
    """One comparison: what ours is asked, who stands beside it, and what they are asked."""

    name: str
    words: str
    ours: str
    beside: tuple[Stack, ...]
    theirs: str
    direct: bool = True  # whether ours is asked without a socket, too


@frozen
class Options:
    """For how many seconds, how often, over how many connections."""

    seconds: float
    rounds: int
    connections: tuple[int, ...]


@mutable
class Runs:
    """What all sides of a row brought over so many connections, round by round."""

    row: Row
    connections: int
    ours: list[Figures] = field(factory=list)
    direct: list[Direct] = field(factory=list)
    theirs: dict[str, list[Figures]] = field(factory=dict)

    def busiest(self) -> float:
        """The most that clients were busy, as a part of their time."""
        sides = [self.ours, *self.theirs.values()]
        return max(run.busy for side in sides for run in side)


def run_rows(rows: Sequence[Row], options: Options) -> list[Runs]:
    """Measure rows with one set of servers, which all run until the end."""
    found = []
    stacks = {stack for row in rows for stack in row.beside if stack.available() is None}
    with ExitStack() as stack:
        ours = stack.enter_context(OURS.running())
        # who has a queue serves one row, and is told which
        servers = {each: stack.enter_context(each.running(rows[0].theirs)) for each in stacks}
        for row in rows:
            beside = [servers[each] for each in row.beside if each in servers]
            for server in beside:
                server.load(row.theirs, 16, WARM_UP)
            ours.load(row.ours, 16, WARM_UP)
            for connections in options.connections:
                runs = Runs(row, connections, theirs={server.name: [] for server in beside})
                for _ in range(options.rounds):
                    _round(runs, ours, beside, options.seconds)
                found.append(runs)
    return found


def _round(runs: Runs, ours: Server, beside: Sequence[Server], seconds: float) -> None:
    row, connections = runs.row, runs.connections
    for server in beside:
        runs.theirs[server.name].append(server.load(row.theirs, connections, seconds))
    runs.ours.append(ours.load(row.ours, connections, seconds))
    if row.direct:
        runs.direct.append(ours.drive(row.ours, connections, seconds))
