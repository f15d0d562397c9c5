"""One change told to a crowd of web sockets: ours, with its commit, beside those who keep nothing.

    python benchmarks/streams.py [--subscribers 100,1000,3000] [--rounds N] [--only SIDE ...]

Subscribers have all joined one group. An item has 200 bytes, its message about 370 on every side.
The server has a process of its own, with the publisher in it; the crowd is another process, on real
sockets, and sees that each client gets each change once and in order. A turn starts both, joins the
crowd, publishes at a fixed pace, at which none is at its limit, then one change after the other,
and stops both. All sides take turns, and a ratio is of two turns of one round.

* Deliveries for each second of a core: CPU is of the server's process, with all its threads and
  what the kernel did for it, from the first change until every client has the last one.
* Latency: from the call that publishes (ours commits in it) until the client's system call has
  returned with the message. Client and server share the machine; see how busy the crowd was.
* Memory: what the server's resident memory grew by, for each client that joined and is idle.

``bare write`` knows no protocol and keeps no state: it bounds what a Python server that calls the
system once for each delivery can reach, and shows that the crowd is not what bounds the others.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its files would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from benchmarks.crowd.sides import BROADCAST, LOOP, OURS, SIDES, Figures, Work
from benchmarks.machine import about, syncs
from benchmarks.table import print_table, ratios, spread

PACKAGES = (
    *("motia-trio", "trio", "trio-websocket", "wsproto"),
    *("websockets", "uvloop", "quart", "hypercorn"),
)
RATE = 10_000  # deliveries a second at the pace
SLOWER = 1.5  # how much more a delivery may cost among three times as many

Turns = dict[tuple[str, int], list[Figures]]  # by side and subscribers, round by round


def of(turns: Iterable[Figures], name: str) -> list[float]:
    """One figure of each turn."""
    return [getattr(turn, name) for turn in turns]


def work_for(subscribers: int, changes: int, seconds: float) -> Work:
    """As many deliveries as these changes are for 1,000 subscribers."""
    pause = subscribers / RATE
    crammed = max(1, changes * 1000 // subscribers)
    return Work(subscribers, max(1, round(seconds / pause)), pause, crammed)


def print_figures(turns: Mapping[tuple[str, int], Sequence[Figures]]) -> None:
    """Each side."""
    rows: list[Sequence[str]] = [
        (
            *(
                "subscribers",
                "side",
                "deliveries/CPU s: paced",
                "in a row",
                "deliveries/s in a row",
            ),
            *("p50 ms", "p99 ms", "bytes/connection"),
        )
    ]
    for (name, subscribers), figures in turns.items():
        counts = ("per_cpu", "crammed_per_cpu", "crammed_rate")
        rows.append(
            (
                *(f"{subscribers:,}", name),
                *(spread(of(figures, each)) for each in counts),
                *(spread(of(figures, each), 1) for each in ("p50_ms", "p99_ms")),
                spread(of(figures, "memory")),
            )
        )
    print("\nmedian (range); latency at the pace\n")
    print_table(rows)


def print_ratios(turns: Mapping[tuple[str, int], Sequence[Figures]]) -> None:
    """Ours by each other."""
    rows: list[Sequence[str]] = [
        ("subscribers", "ours by", "deliveries/CPU s: paced", "in a row", "p50", "p99")
    ]
    for (name, subscribers), theirs in turns.items():
        if not name.startswith(OURS.name) and (ours := turns.get((OURS.name, subscribers))):
            names = ("per_cpu", "crammed_per_cpu", "p50_ms", "p99_ms")
            found = [spread(ratios(of(ours, each), of(theirs, each)), 2) for each in names]
            rows.append((f"{subscribers:,}", name, *found))
    if len(rows) > 1:
        print("\nours by the others, turn by turn, median (range)\n")
        print_table(rows)


def print_growth(turns: Mapping[tuple[str, int], Sequence[Figures]], sizes: Sequence[int]) -> None:
    """What a delivery costs in a larger crowd."""
    rows: list[Sequence[str]] = [("side", "between", "cost by cost")]
    for name in dict.fromkeys(name for name, _ in turns):
        for small, large in pairwise(sizes):
            costs = [of(turns[name, size], "cost_us") for size in (large, small)]
            rows.append((name, f"{large:,} and {small:,}", spread(ratios(*costs), 2)))
    if len(rows) > 1:
        print("\nwhat a delivery costs in the larger crowd by in the smaller, in a row\n")
        print_table(rows)


def print_goals(turns: Mapping[tuple[str, int], Sequence[Figures]]) -> None:
    """What was to be reached."""
    rows: list[Sequence[str]] = [("goal", "reached, median (range)")]

    def beside(words: str, name: str) -> None:
        theirs, ours = turns.get((name, 1000)), turns.get((OURS.name, 1000))
        if theirs and ours:
            for each, how in (("per_cpu", "paced"), ("crammed_per_cpu", "in a row")):
                found = ratios(of(ours, each), of(theirs, each))
                rows.append((f"{words}, {how}", spread(found, 2)))

    beside("≥ 1.0 times broadcast() among 1,000", BROADCAST.name)
    beside("≥ 8 times the loop among 1,000", LOOP.name)
    small, large = (turns.get((OURS.name, size)) for size in (1000, 3000))
    if large:
        if small:
            growth = ratios(of(large, "cost_us"), of(small, "cost_us"))
            words = f"≤ {SLOWER} times the cost of a delivery among 3,000 as among 1,000"
            rows.append((words, spread(growth, 2)))
        rows.append(("≤ 25,000 bytes for an idle connection", spread(of(large, "memory"))))
    if len(rows) > 1:
        print("\ngoals\n")
        print_table(rows)


def main() -> None:
    """Run and print."""
    names = {side.name: side for side in SIDES}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subscribers", default="100,1000,3000", help="at least 51 each")
    parser.add_argument("--rounds", type=int, default=3)
    help_changes = "in a row, among 1,000 subscribers; among others, as many deliveries"
    parser.add_argument("--changes", type=int, default=100, help=help_changes)
    parser.add_argument("--seconds", type=float, default=3.0, help="of publishing at the pace")
    parser.add_argument("--only", nargs="+", choices=names, metavar="SIDE", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="1 round, shorter: a look, no figures")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.changes, given.seconds = 1, 20, 1.0
    sizes = sorted(map(int, given.subscribers.split(",")))
    print(about(PACKAGES))
    print(f"fdatasync of 1 kB: {syncs(1):,.0f} a second")
    chosen = [names[name] for name in given.only or names]
    for side in chosen:
        reason = side.available()
        print(f"{side.name}: " + (f"left out: {reason}" if reason else side.settings))
    chosen = [side for side in chosen if side.available() is None]
    turns: Turns = {(side.name, size): [] for size in sizes for side in chosen}
    for _ in range(given.rounds):
        for size in sizes:
            work = work_for(size, given.changes, given.seconds)
            for side in chosen:
                turns[side.name, size].append(side.turn(work))
    print_figures(turns)
    print_ratios(turns)
    print_growth(turns, sizes)
    print_goals(turns)
    found = [turn for each in turns.values() for turn in each]
    deliveries = sum(
        len(each) * size * (work.paced + work.crammed)
        for (_, size), each in turns.items()
        for work in [work_for(size, given.changes, given.seconds)]
    )
    print(f"\n{deliveries:,} deliveries, none missed, none twice, all in order")
    print(
        f"the crowd was busy at most {max(of(found, 'busy')):.0%} of the time at the pace, "
        f"{max(of(found, 'crammed_busy')):.0%} in a row: above 90 % it bounds what is delivered in "
        "a second, though not what a delivery costs the server"
    )


if __name__ == "__main__":
    main()
