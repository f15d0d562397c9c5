"""Messages a second, end to end: enqueue, actor, durable acknowledgement.

    python benchmarks/queue.py [--seconds S] [--rounds N] [--publishers 1,16,64,256] [--no-peers]

The whole product runs: router, mailbox, deadline, retries, tracing and log observer. So many
publishers each enqueue a message of 1 kB, and the next one when the first is durable; a step with
a handler that does nothing takes them. Counted are messages whose acknowledgement is durable.
Beside it, in turns in one run:

* log: the same runtime over an append-only log that syncs in batches (``benchmarks/stores.py``),
* hop: the same runtime and file, with a thread hop and a commit for each operation,
* the disk's own fdatasync of 1 kB, one after the other,
* other queues (``benchmarks/peers``), each as its documentation runs it, where installed:
  ``uv pip install --group bench``, and a redis-server.

Latencies are of the whole cycle, from the call of enqueue until the acknowledgement is durable.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its files would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import logging
import tempfile
import time
from typing import Any, NamedTuple

import trio
from benchmarks.machine import syncs
from benchmarks.peers import PEERS, REDIS_SETTINGS
from benchmarks.stores import HopStore, LogStore
from benchmarks.table import print_table, ratios, spread

from motia_trio import App, open_runtime, queue, step
from motia_trio import runtime as runtime_module
from motia_trio.store import MemoryStore
from motia_trio.store.sqlite import SqliteStore

KINDS = {
    "ours": lambda folder: Acknowledged(SqliteStore)(folder / "store.db"),
    "normal": lambda folder: Acknowledged(SqliteStore)(folder / "store.db", "normal"),
    "log": lambda folder: Acknowledged(LogStore)(folder / "log"),
    "hop": lambda folder: Acknowledged(HopStore)(folder / "store.db"),
    "memory": lambda _folder: Acknowledged(MemoryStore)(),
}
TEXT = "x" * 1000


class Figures(NamedTuple):
    """Of one run: messages a second, and the 50th and 99th percentile of the latency in ms."""

    rate: float
    p50: float
    p99: float


def Acknowledged(kind: type[Any]) -> type[Any]:  # noqa: N802 - makes a class
    """The same store, that also tells a publisher when its message is acknowledged."""

    class Telling(kind):  # type: ignore[misc]
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            self.done: dict[str, trio.Event] = {}

        def acknowledge(self, delivery: Any, then: Any) -> bool:
            def kept(error: Exception | None) -> None:
                assert error is None
                then(None)
                self.done.pop(delivery.message.data["name"]).set()

            return super().acknowledge(delivery, kept)  # type: ignore[no-any-return]

    return Telling


async def measure(kind: str, publishers: int, seconds: float) -> Figures:
    """Run the product over one kind of store."""
    latencies: list[float] = []

    @step(queue("bench", config={"concurrency": 100}), name="Bench")
    async def bench(data: Any, ctx: Any) -> None:
        """Do nothing."""

    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = KINDS[kind](Path(folder))
        runtime_module.store_at = lambda *_: store  # type: ignore[assignment]
        async with open_runtime(App([bench], mailbox=1000)) as rt:
            end = time.perf_counter() + seconds

            async def publish(publisher: int) -> None:
                number = 0
                while (at := time.perf_counter()) < end:
                    number += 1
                    name = f"{publisher}.{number}"
                    done = store.done[name] = trio.Event()
                    await rt.enqueue("bench", {"name": name, "text": TEXT})
                    await done.wait()
                    latencies.append(time.perf_counter() - at)

            began = time.perf_counter()
            async with trio.open_nursery() as nursery:
                for publisher in range(publishers):
                    nursery.start_soon(publish, publisher)
            took = time.perf_counter() - began
    latencies.sort()
    count = len(latencies)
    return Figures(count / took, latencies[count // 2] * 1e3, latencies[count * 99 // 100] * 1e3)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--publishers", default="1,16,64,256")
    parser.add_argument("--kinds", default="ours,log,hop", help=f"of {', '.join(KINDS)}")
    parser.add_argument("--no-peers", action="store_true", help="leave other queues out")
    parser.add_argument("--switch-interval", type=float, help="as `motia-trio run` sets it")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, handlers=[logging.NullHandler()])
    if options.switch_interval:
        sys.setswitchinterval(options.switch_interval)
    kinds = options.kinds.split(",")
    print(f"fdatasync of 1 kB: {syncs(1, '.'):,.0f} a second\n")
    rows = [("publishers", *kinds, *(f"ours/{kind}" for kind in kinds[1:]), "p50 ms", "p99 ms")]
    counts = list(map(int, options.publishers.split(",")))
    for publishers in counts:
        runs: dict[str, list[Figures]] = {kind: [] for kind in kinds}
        for _ in range(options.rounds):
            for kind in kinds:
                runs[kind].append(trio.run(measure, kind, publishers, options.seconds))
        rates = {kind: [each.rate for each in runs[kind]] for kind in kinds}
        mine = runs[kinds[0]]
        rows.append(
            (
                str(publishers),
                *(spread(rates[kind]) for kind in kinds),
                *(spread(ratios(rates[kinds[0]], rates[kind]), 2) for kind in kinds[1:]),
                spread([each.p50 for each in mine], 2),
                spread([each.p99 for each in mine], 2),
            )
        )
    print("messages a second, median (range)\n")
    print_table(rows)
    if not options.no_peers:
        beside_peers(counts, options.seconds, options.rounds)


def beside_peers(counts: list[int], seconds: float, rounds: int) -> None:
    """Ours and each other queue, in turns."""
    present = []
    print("\nother queues; more durable than ours is none of them: see benchmarks/peers\n")
    for peer in PEERS:
        if reason := peer.available():
            print(f"{peer.name}: left out: {reason}")
        else:
            present.append(peer)
            print(f"{peer.name}: {peer.settings}")
    print(f"redis: {REDIS_SETTINGS}\n")
    rows = [("publishers", "queue", "messages a second", "ours/it", "p50 ms", "p99 ms")]
    for publishers in counts:
        for peer in present:
            mine, theirs = [], []
            for _ in range(rounds):
                mine.append(trio.run(measure, "ours", publishers, seconds).rate)
                theirs.append(peer.measure(publishers, seconds))
            rates = [each.cycles_per_second for each in theirs]
            rows.append(
                (
                    str(publishers),
                    peer.name,
                    spread(rates),
                    spread(ratios(mine, rates), 1),
                    spread([each.p50_ms for each in theirs], 1),
                    spread([each.p99_ms for each in theirs], 1),
                )
            )
    print_table(rows)


if __name__ == "__main__":
    main()
