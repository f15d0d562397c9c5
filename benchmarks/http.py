"""Requests a second of our steps, beside FastAPI on uvicorn, alone and with Celery or taskiq.

    python benchmarks/http.py [--seconds S] [--rounds N] [--connections 1,16,64] [--only ROW ...]

Each side runs in processes of its own and does the same work for the same requests. The clients
are another process, on keep-alive connections, and compare every answer with what is right. Sides
take turns, and a ratio is of two runs that follow each other. Three tables come of it:

* Answered at once. Ours runs as `motia-trio run` runs it, with a store in SQLite; FastAPI on one
  process of uvicorn with what its extra `standard` brings. An ASGI function that does nothing, on
  our server, bounds what a step can reach there. A middleware of ours stands beside both ways that
  FastAPI has to add a header: `app.middleware("http")`, which is the same thing, and a dependency,
  which costs it less.
* Work behind the answer. `enqueue` answers when the order is kept, and the table has how many
  orders a second were accepted, and how many were handled, counted until the last one was. `ask`
  answers when the work is done and its result is there. Ours keeps with one fsync for each commit,
  all in one process; beside it are Celery and taskiq on Redis, with workers as in
  `benchmarks/peers`.
* Ours with and without a socket: the same app in the same process, called as hypercorn would call
  it. What is between the two is the server: hypercorn, the socket, and a task for each request.
  Where something is kept it is also that requests come less densely, so that fewer share a commit.

CPU is what all processes of a side had of a core for one request, in microseconds, Redis and
workers included, the clients not. A machine with fewer cores than processes is measured by it.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its http.py would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from benchmarks.machine import about, syncs
from benchmarks.peers import REDIS_SETTINGS
from benchmarks.table import print_table, ratios, spread
from benchmarks.web.stacks import BARE, CELERY, FASTAPI, STAMPING, TASKIQ
from benchmarks.web.turns import Options, Row, Runs, run_rows

if TYPE_CHECKING:
    from benchmarks.web.load import Figures
    from benchmarks.web.stacks import Direct

PACKAGES = (
    *("motia-trio", "trio", "hypercorn", "h11", "pydantic", "jsonschema-rs"),
    *("fastapi", "starlette", "uvicorn", "uvloop", "httptools"),
    *("celery", "taskiq", "taskiq-redis", "redis", "hiredis"),
)
AT_ONCE = (
    Row("function", "GET; an ASGI function", "hello", (BARE,), "hello", direct=False),
    Row("hello", "GET", "hello", (FASTAPI,), "hello"),
    Row("path", "GET, path parameters", "path", (FASTAPI,), "path"),
    Row("body", "POST, pydantic", "body", (FASTAPI,), "body"),
    Row("schema", "POST, JSON Schema", "schema", (FASTAPI,), "body"),
    Row("middleware", "GET, middleware", "middleware", (STAMPING,), "middleware"),
    Row(
        *("dependency", "GET, middleware; a dependency"),
        *("middleware", (FASTAPI,), "dependency"),
        direct=False,
    ),
)
WORK = (
    Row("enqueue", "POST, enqueue", "enqueue", (CELERY, TASKIQ), "enqueue"),
    Row("ask", "POST, ask", "ask", (CELERY, TASKIQ), "ask"),
)
HEADING = ("row", "connections", "beside", "its rate", "ours", "ours/its")
ENDS = ("its p99 ms", "our p99", "its CPU µs", "our CPU")


def of(runs: Iterable[Figures | Direct], name: str) -> list[float]:
    """One figure of each run."""
    return [getattr(run, name) for run in runs]


def rates(theirs: Sequence[Figures], ours: Sequence[Figures], name: str) -> tuple[str, ...]:
    """A rate of theirs and of ours, and the ratio."""
    them, us = of(theirs, name), of(ours, name)
    return spread(them), spread(us), spread(ratios(us, them), 2)


def ends(theirs: Sequence[Figures], ours: Sequence[Figures]) -> tuple[str, ...]:
    """The last columns."""
    return (
        *(spread(of(side, "p99_ms"), 1) for side in (theirs, ours)),
        *(spread(of(side, "cpu_us")) for side in (theirs, ours)),
    )


def print_beside(title: str, found: Iterable[Runs]) -> None:
    """Ours beside the others."""
    table: list[Sequence[str]] = [(*HEADING, *ENDS)]
    for runs in found:
        for name, theirs in runs.theirs.items():
            ours, words = runs.ours, runs.row.words
            start = (str(runs.connections), name)
            line = (*start, *rates(theirs, ours, "rate"), *ends(theirs, ours))
            if any(of(ours, "handled")):
                table.append((f"{words}: accepted", *line))
                table.append((f"{words}: handled", *start, *rates(theirs, ours, "handled")))
            else:
                table.append((words, *line))
    if len(table) > 1:
        print(f"\n{title} a second, median (range)\n")
        print_table([(*line, *[""] * (len(table[0]) - len(line))) for line in table])


def print_direct(found: Iterable[Runs]) -> None:
    """Ours with and without a socket."""
    rows = [
        (
            *("row", "connections", "on a socket", "without", "on/without"),
            *("CPU µs", "without", "the server's part"),
        )
    ]
    for runs in found:
        if runs.direct:
            served, direct = of(runs.ours, "rate"), of(runs.direct, "rate")
            cpu, less = of(runs.ours, "cpu_us"), of(runs.direct, "cpu_us")
            part = [100 * (1 - ratio) for ratio in ratios(less, cpu)]
            rows.append(
                (
                    *(runs.row.words, str(runs.connections)),
                    *(spread(served), spread(direct), spread(ratios(served, direct), 2)),
                    *(spread(cpu), spread(less), f"{spread(part)} %"),
                )
            )
    if len(rows) > 1:
        print("\nours with and without a socket: requests a second, median (range)\n")
        print_table(rows)


def main() -> None:
    """Run and print."""
    names = [row.name for row in (*AT_ONCE, *WORK)]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=0.8, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--connections", default="1,16,64")
    parser.add_argument("--only", nargs="+", choices=names, metavar="ROW", help=", ".join(names))
    given = parser.parse_args()
    connections = tuple(map(int, given.connections.split(",")))
    options = Options(given.seconds, given.rounds, connections)
    chosen = given.only or names
    print(about(PACKAGES))
    print(f"fdatasync of 1 kB: {syncs(1):,.0f} a second; Redis: {REDIS_SETTINGS}")
    for stack in (FASTAPI, CELERY, TASKIQ):
        reason = stack.available()
        print(f"{stack.name}: " + (f"left out: {reason}" if reason else stack.settings))
    rows = [row for row in AT_ONCE if row.name in chosen]
    at_once = run_rows(rows, options) if rows else []
    work = [runs for row in WORK if row.name in chosen for runs in run_rows([row], options)]
    found = [*at_once, *work]
    print_beside("answered at once: requests", at_once)
    print_beside("work behind the answer: orders", work)
    print_direct(found)
    print(f"\nthe clients were busy at most {max(map(Runs.busiest, found)):.0%} of the time")


if __name__ == "__main__":
    main()
