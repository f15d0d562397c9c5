"""A million messages: waiting, they cost no memory and no time; gone through, they leave no trace.

    python benchmarks/backlog.py [--messages 1000000]

First so many messages of 200 bytes are put into a store that no step takes from, and it is measured
beside an empty one, in processes of their own: the time to open, resident memory, and enqueues a
second by 16 tasks while all of it waits. Then so many messages go through a running step, and the
file's size is noted on the way.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its files would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import json
import subprocess
import tempfile
import time
from typing import Any

import trio
from benchmarks.table import print_table

from motia_trio import App, open_runtime, queue, step
from motia_trio.outgoing import outgoing
from motia_trio.messages import Origin

TEXT = "x" * 180
STORE = "sqlite:///store.db"
BATCH = 1000
# messages that may wait while they go through: more are a backlog, and that was measured before
AHEAD = 500


@step(queue("work", config={"concurrency": 1}), name="Stuck")
async def stuck(data: Any) -> None:
    """Have the first messages in hand for ever."""
    await trio.sleep_forever()


@step(queue("work"), name="Work")
async def work(data: Any) -> None:
    """Only take it."""


async def fill(folder: str, messages: int) -> float:
    """Enqueue, a thousand in a commit; gives the seconds."""
    began = time.perf_counter()
    async with open_runtime(App([stuck], root=folder, store=STORE), idle=True) as rt:
        router = rt._shared.router  # noqa: SLF001 - ctx.enqueue takes a list, and here is no ctx
        for first in range(0, messages, BATCH):
            batch = outgoing(
                [{"topic": "work", "data": {"n": first + n, "text": TEXT}} for n in range(BATCH)]
            )
            await router.publish(batch, Origin("0" * 32))
            if first % 200_000 == 0:
                print(f"  {first:,} of {messages:,} enqueued", file=sys.stderr, flush=True)
    return time.perf_counter() - began


async def look(folder: str, seconds: float) -> dict[str, float]:
    """Open the store as a service does, and measure."""
    import psutil

    began = time.perf_counter()
    app = App([stuck], root=folder, store=STORE, shutdown_timeout=0)
    async with open_runtime(app, observers=()) as rt:
        opened = time.perf_counter() - began
        await rt.enqueue("work", 1)
        await trio.testing.wait_all_tasks_blocked()
        process = psutil.Process()
        before = process.memory_info().rss / 1e6
        done = 0
        end = time.perf_counter() + seconds

        async def publish() -> None:
            nonlocal done
            while time.perf_counter() < end:
                await rt.enqueue("work", {"n": done, "text": TEXT})
                done += 1

        async with trio.open_nursery() as nursery:
            for _ in range(16):
                nursery.start_soon(publish)
        counts = rt.tree()["Stuck"].deliveries
        return {
            "seconds to open": opened,
            "memory, MB": before,
            "memory after enqueuing, MB": process.memory_info().rss / 1e6,
            "enqueues a second": done / seconds,
            "messages in the store": counts.waiting + counts.leased,
        }


async def go_through(folder: str, messages: int) -> list[tuple[str, ...]]:
    """Have messages handled, and note the sizes of file and log."""
    import psutil

    rows: list[tuple[str, ...]] = []
    app = App([work], root=folder, store=STORE)
    async with open_runtime(app, observers=()) as rt:
        began, sent = time.perf_counter(), 0
        files = [Path(folder, name) for name in ("store.db", "store.db-wal")]

        async def publish() -> None:
            nonlocal sent
            while sent < messages:
                sent += 1
                await rt.enqueue("work", {"n": sent, "text": TEXT})
                while sent - rt.tree()["Work"].mailbox.received > AHEAD:  # noqa: ASYNC110
                    await trio.sleep(0.01)

        async def watch() -> None:
            following = 0
            while True:
                if sent >= following:
                    following += messages // 10
                    sizes = [file.stat().st_size / 1e6 for file in files]
                    memory = psutil.Process().memory_info().rss / 1e6
                    figures = (f"{sent:,}", *(f"{size:,.1f}" for size in sizes), f"{memory:,.0f}")
                    rows.append(figures)
                    print("  handled:", *figures, file=sys.stderr, flush=True)
                await trio.sleep(0.2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            async with trio.open_nursery() as publishers:
                for _ in range(64):
                    publishers.start_soon(publish)
            await rt.quiesce()
            nursery.cancel_scope.cancel()
        took = time.perf_counter() - began
        rows.append((f"{messages:,} in {took:,.0f} s", "", "", ""))
    return rows


def child(*arguments: str) -> dict[str, float]:
    """Measure in a process of its own."""
    ran = subprocess.run(
        [sys.executable, __file__, *arguments], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(ran.stdout)
    return figures


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--look", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.look:
        print(json.dumps(trio.run(look, options.look, options.seconds)))
        return
    with (
        tempfile.TemporaryDirectory(dir=".") as empty,
        tempfile.TemporaryDirectory(dir=".") as full,
    ):
        took = trio.run(fill, full, options.messages)
        size = Path(full, "store.db").stat().st_size / 1e6
        print(f"{options.messages:,} messages enqueued in {took:,.0f} s, {size:,.0f} MB\n")
        seconds = str(options.seconds)
        trio.run(fill, empty, 0)
        few = child("--look", empty, "--seconds", seconds)
        many = child("--look", full, "--seconds", seconds)
    rows = [("", "empty store", "full store")]
    rows += [(name, f"{few[name]:,.2f}", f"{many[name]:,.2f}") for name in few]
    print_table(rows)
    print()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        through = trio.run(go_through, folder, options.messages)
    print_table([("messages handled", "file, MB", "log, MB", "memory, MB"), *through])


if __name__ == "__main__":
    import trio.testing

    main()
