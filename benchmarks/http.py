"""Requests a second of our steps, beside FastAPI on uvicorn, alone and with Celery or taskiq.

    python benchmarks/http.py [--seconds S] [--rounds N] [--connections 1,16,64] [--only ROW ...]

Each side runs in processes of its own and does the same work for the same requests; the clients
are another process, on keep-alive connections, and compare every answer with what is right. Sides
take turns, and a ratio is of two runs that follow each other. Three tables come of it:

* Requests that an answer is made for at once. Ours runs as `motia-trio run` runs it; FastAPI on one
  process of uvicorn, as its extra `standard` installs it. `function` is a hand-written ASGI function
  on our server, and bounds what a step can reach there.
* Work behind the answer. `enqueue` answers when the order is kept, and the table has how many were
  accepted a second and how many were handled, counted until the last one was. `ask` answers when
  the work is done and its result is there. Ours keeps with one fsync for each commit, in one
  process; beside it Celery and taskiq on Redis, with their workers as in `benchmarks/peers`.
* Our application on its socket and without one, called as hypercorn would call it, in the same
  process: what is between the two is hypercorn, the socket, and a task for each request.

CPU is what all processes of a side take for one request, in microseconds of a core, Redis and
workers included, the clients not. Where there are fewer cores than processes it decides.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its http.py would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
from collections.abc import Iterable, Sequence
from contextlib import ExitStack

from attrs import field, frozen, mutable
from benchmarks.machine import about, syncs
from benchmarks.peers import REDIS_SETTINGS
from benchmarks.table import print_table, ratios, spread
from benchmarks.web.load import Figures
from benchmarks.web.stacks import (
    BARE,
    CELERY,
    FASTAPI,
    OURS,
    STAMPING,
    TASKIQ,
    Direct,
    Server,
    Stack,
)

WARM_UP = 0.3  # seconds
PACKAGES = (
    *("motia-trio", "trio", "hypercorn", "h11", "pydantic", "jsonschema-rs"),
    *("fastapi", "starlette", "uvicorn", "uvloop", "httptools"),
    *("celery", "taskiq", "taskiq-redis", "redis", "hiredis"),
)


@frozen
class Row:
    """One comparison: what ours is asked, who stands beside it, and what they are asked."""

    name: str
    words: str
    ours: str
    beside: tuple[Stack, ...]
    theirs: str


ROWS = (
    Row("function", "GET, beside an ASGI function on our server", "hello", (BARE,), "hello"),
    Row("hello", "GET", "hello", (FASTAPI,), "hello"),
    Row("path", "GET, path parameters", "path", (FASTAPI,), "path"),
    Row("body", "POST, body checked by pydantic", "body", (FASTAPI,), "body"),
    Row("schema", "POST, body checked by JSON Schema", "schema", (FASTAPI,), "body"),
    Row(
        "middleware",
        "GET, middleware, theirs by app.middleware",
        "middleware",
        (STAMPING,),
        "middleware",
    ),
    Row(
        "dependency", "GET, middleware, theirs a dependency", "middleware", (FASTAPI,), "dependency"
    ),
)
WORK = (
    Row("enqueue", "enqueue", "enqueue", (CELERY, TASKIQ), "enqueue"),
    Row("ask", "ask", "ask", (CELERY, TASKIQ), "ask"),
)


@mutable
class Runs:
    """What one side brought in the rounds of one row, or what both did beside each other."""

    ours: list[Figures] = field(factory=list)
    direct: list[Direct] = field(factory=list)
    theirs: dict[str, list[Figures]] = field(factory=dict)


def measure(
    row: Row, ours: Server, beside: Sequence[Server], connections: int, how: Options
) -> Runs:
    """All sides in turns."""
    runs = Runs(theirs={server.name: [] for server in beside})
    for _ in range(how.rounds):
        for server in beside:
            runs.theirs[server.name].append(server.load(row.theirs, connections, how.seconds))
        runs.ours.append(ours.load(row.ours, connections, how.seconds))
        runs.direct.append(ours.drive(row.ours, connections, how.seconds))
    return runs


@frozen
class Options:
    """How long, how often, over how many connections."""

    seconds: float
    rounds: int
    connections: tuple[int, ...]


def run_rows(rows: Iterable[Row], how: Options) -> dict[tuple[Row, int], Runs]:
    """Measure some rows; the servers that these need run at the same time."""
    found: dict[tuple[Row, int], Runs] = {}
    rows = list(rows)
    stacks = {stack for row in rows for stack in row.beside if stack.available() is None}
    with ExitStack() as stack:
        ours = stack.enter_context(OURS.running(rows[0].theirs))
        servers = {each: stack.enter_context(each.running(rows[0].theirs)) for each in stacks}
        for row in rows:
            beside = [servers[each] for each in row.beside if each in servers]
            for server in beside:
                server.load(row.theirs, 16, WARM_UP)
            ours.load(row.ours, 16, WARM_UP)
            for connections in how.connections:
                found[row, connections] = measure(row, ours, beside, connections, how)
    return found


def of(runs: Iterable[Figures | Direct], name: str) -> list[float]:
    """One figure of each run."""
    return [getattr(run, name) for run in runs]


def pair(theirs: Sequence[Figures], ours: Sequence[Figures], name: str) -> tuple[str, str, str]:
    """A figure of theirs and of ours, and the ratio."""
    them, us = of(theirs, name), of(ours, name)
    return spread(them), spread(us), spread(ratios(us, them), 2)


def print_requests(found: dict[tuple[Row, int], Runs]) -> None:
    """The first table."""
    rows = [("row", "connections", "beside", "its rate", "ours", "ours/its", *ENDS)]
    for (row, connections), runs in found.items():
        for name, theirs in runs.theirs.items():
            rates = pair(theirs, runs.ours, "rate")
            rows.append((row.words, str(connections), name, *rates, *ends(theirs, runs.ours)))
    if len(rows) > 1:
        print("\nanswered at once: requests a second, median (range)\n")
        print_table(rows)


ENDS = ("p99 ms", "ours", "CPU µs", "ours")


def ends(theirs: Sequence[Figures], ours: Sequence[Figures]) -> tuple[str, ...]:
    """The last columns."""
    sides = (theirs, ours)
    return (
        *(spread(of(side, "p99_ms"), 1) for side in sides),
        *(spread(of(side, "cpu_us")) for side in sides),
    )


def print_work(found: dict[tuple[Row, int], Runs]) -> None:
    """The second table."""
    rows = [("row", "connections", "beside", "its rate", "ours", "ours/its", *ENDS)]
    for (row, connections), runs in found.items():
        for name, theirs in runs.theirs.items():
            start = (str(connections), name)
            if any(run.handled for run in runs.ours):
                rates = pair(theirs, runs.ours, "rate")
                rows.append(("enqueue: accepted", *start, *rates, *ends(theirs, runs.ours)))
                rates = pair(theirs, runs.ours, "handled")
                rows.append(("enqueue: handled", *start, *rates, "", "", "", ""))
            else:
                rates = pair(theirs, runs.ours, "rate")
                rows.append(("ask: done end to end", *start, *rates, *ends(theirs, runs.ours)))
    if len(rows) > 1:
        print("\nwork behind the answer: orders a second, median (range)\n")
        print_table(rows)


def print_direct(found: dict[tuple[Row, int], Runs]) -> None:
    """The third table."""
    heading = (
        "connections",
        "on a socket",
        "without",
        "on/without",
        "CPU µs",
        "without",
        "server's part",
    )
    rows = [("row", *heading)]
    for (row, connections), runs in found.items():
        if row.name in {"function", "dependency"}:
            continue  # ours was asked the same in another row
        served, direct = of(runs.ours, "rate"), of(runs.direct, "rate")
        cpu, less = of(runs.ours, "cpu_us"), of(runs.direct, "cpu_us")
        rows.append(
            (
                row.words.removesuffix(", theirs by app.middleware"),
                str(connections),
                spread(served),
                spread(direct),
                spread(ratios(served, direct), 2),
                spread(cpu),
                spread(less),
                spread([100 * (1 - part) for part in ratios(less, cpu)]) + " %",
            )
        )
    if len(rows) > 1:
        print("\nour application with and without hypercorn: requests a second, median (range)\n")
        print_table(rows)


def main() -> None:
    """Run and print."""
    names = [row.name for row in (*ROWS, *WORK)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.8, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="1,16,64")
    parser.add_argument("--only", nargs="+", choices=names, metavar="ROW", help=", ".join(names))
    options = parser.parse_args()
    how = Options(options.seconds, options.rounds, tuple(map(int, options.connections.split(","))))
    chosen = options.only or names
    print(about(PACKAGES))
    print(f"fdatasync of 1 kB: {syncs(1):,.0f} a second; redis: {REDIS_SETTINGS}\n")
    for stack in (FASTAPI, CELERY, TASKIQ):
        reason = stack.available()
        print(f"{stack.name}: " + (f"left out: {reason}" if reason else stack.settings))
    found: dict[tuple[Row, int], Runs] = {}
    if rows := [row for row in ROWS if row.name in chosen]:
        found |= run_rows(rows, how)
    for row in WORK:
        if row.name in chosen:
            found |= run_rows([row], how)
    print_requests({key: runs for key, runs in found.items() if key[0] in ROWS})
    print_work({key: runs for key, runs in found.items() if key[0] in WORK})
    print_direct(found)
    busy = max(run.busy for runs in found.values() for run in all_runs(runs))
    print(f"\nthe clients were busy at most {busy:.0%} of the time")


def all_runs(runs: Runs) -> list[Figures]:
    """Those over a socket."""
    return [*runs.ours, *(run for side in runs.theirs.values() for run in side)]


if __name__ == "__main__":
    main()
