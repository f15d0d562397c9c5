"""Messages a second through mailbox, deadline and a no-op handler, beside a bare channel.

    python benchmarks/mailbox.py [--messages N] [--rounds N]

The reference is what a Trio program would write by hand: ``await send`` and ``await receive`` on
a memory channel of the same capacity, with a ``move_on_after`` around the handler for each
message. Ours is a ``Mailbox`` and a ``Crew``: the entry is offered, a hand takes it, gives it a
deadline, drives the handler and lifts the deadline. A deadline costs something only for a handler
that waits, so both are measured with one that does nothing and with one that waits once. Both in
turns in one process. Then: what an idle actor of a running runtime costs in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

# run as a script, this folder must not be searched: its http.py would hide the library's
sys.path[0] = str(Path(__file__).parents[1])

import argparse
import gc
import time
import tracemalloc
from collections.abc import Callable, Coroutine
from typing import Any

import trio
from benchmarks.table import print_table, ratios, spread

from motia_trio import App, open_runtime, queue, step
from motia_trio.actors import Crew, Hand, Lane, Mailbox, drive

CAPACITY = 100
TIMEOUT = 30.0


Handler = Callable[[int], Coroutine[Any, Any, None]]


async def noop(message: int) -> None:
    """Do nothing."""


async def waits(message: int) -> None:
    """Wait once, as shortly as one can."""
    await trio.lowlevel.checkpoint()


async def bare(messages: int, handler: Handler) -> float:
    """Messages a second of the channel."""
    sender, receiver = trio.open_memory_channel[int](CAPACITY)

    async def receive() -> None:
        async for message in receiver:
            with trio.move_on_after(TIMEOUT):
                await handler(message)

    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        async with sender:
            for message in range(messages):
                await sender.send(message)
    return messages / (time.perf_counter() - began)


async def ours(messages: int, handler: Handler) -> float:
    """Messages a second of mailbox and crew."""
    done = trio.Event()
    count = 0

    async def work(hand: Hand, message: int) -> None:
        nonlocal count
        hand.bind(trio.current_time() + TIMEOUT)
        await drive(handler(message), hand.arm)
        hand.unbind()
        count += 1
        if count == messages:
            done.set()

    mailbox = Mailbox[int](CAPACITY, {"queue": Lane(limit=10, share=CAPACITY)})
    began = time.perf_counter()
    async with trio.open_nursery() as nursery:
        crew = Crew(mailbox, work)
        crew.start(nursery)
        for message in range(messages):
            while not mailbox.offer("queue", message):
                await trio.lowlevel.checkpoint()
        await done.wait()
        crew.stop()
    return messages / (time.perf_counter() - began)


async def _idle(input: object) -> None:
    """Never run."""


async def idle_cost(actors: int) -> float:
    """Bytes for each idle actor of a running runtime."""

    def app(count: int) -> App:
        return App([step(queue(f"topic.{i}"), name=f"Step{i}")(_idle) for i in range(count)])

    async with open_runtime(app(1), observers=()):  # what is made once only
        await trio.testing.wait_all_tasks_blocked()
    some = app(actors)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    async with open_runtime(some, observers=()) as runtime:
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        used = tracemalloc.get_traced_memory()[0] - before
        assert all(actor.state == "running" for actor in runtime.tree().actors)
    tracemalloc.stop()
    return used / actors


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows = [("handler", "bare channel, move_on_after", "mailbox, deadline", "ratio")]
    for name, handler in (("no-op", noop), ("waits once", waits)):
        trio.run(bare, 1000, handler)
        trio.run(ours, 1000, handler)
        references, mine = [], []
        for _ in range(options.rounds):
            references.append(trio.run(bare, options.messages, handler))
            mine.append(trio.run(ours, options.messages, handler))
        rows.append((name, spread(references), spread(mine), spread(ratios(mine, references), 2)))
    print("messages a second, median (range)\n")
    print_table(rows)
    print(f"\none idle actor: {trio.run(idle_cost, 500) / 1000:.1f} kB")


if __name__ == "__main__":
    import trio.testing

    main()
