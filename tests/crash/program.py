"""The service that is killed, and a process that starts it again and again.

Run as a program it waits on stdin for a run's number, forks, and the fork serves until it is killed:
so a start costs 50 ms, for everything is imported already. What handlers do is written to a file
that is no part of the store, each line with one `write` before the handler goes on: the kernel has
it when the process is gone.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import attrs
import trio

from motia_trio import App, http, open_runtime, queue, state, step, stream
from motia_trio.events import (
    ActorCrashed,
    AppWarned,
    AskFailed,
    AttemptFailed,
    DeadLettered,
    Event,
    HandlerOverdue,
    StoreFailed,
)

GROUPS = [f"g{number}" for number in range(5)]
KEYS = [f"k{number}" for number in range(3)]
COUNTERS = 3
# what the steps that fail on purpose say
PLANNED = "OSError: on purpose"

QUEUE = {"maxRetries": 50, "backoffType": "fixed", "backoffDelayMs": 1}


@attrs.define
class Run:
    """This process's run: its number, and the files in which it writes things down."""

    number: int = 0
    #: where streams are served: None: nowhere, 0: anywhere
    port: int | None = None
    lines: int = -1
    events: int = -1
    chance: random.Random = attrs.field(factory=random.Random)
    failed: set[tuple[str, int]] = attrs.field(factory=set)
    left: Callable[[], int] = int

    def write(self, what: str, step: str, key: str, number: int) -> None:
        """Note what a handler does."""
        os.write(self.lines, f"{self.number} {what} {step} {key} {number}\n".encode())

    def note(self, what: object) -> None:
        """Note what should not happen."""
        os.write(self.events, f"run {self.number}: {what}\n".encode())

    def fails_first(self, step: str, number: int, every: int) -> None:
        """Fail the first time that this process has the message in hand, in every second run."""
        if number % every == 0 and self.number % 2 and (step, number) not in self.failed:
            self.failed.add((step, number))
            raise OSError("on purpose")


RUN = Run()


async def _work(step: str, key: str, number: int, every: int) -> None:
    RUN.write("begin", step, key, number)
    if number % 3:
        # every third run is slow, so that much waits in the store when it is killed
        await trio.sleep(RUN.chance.random() * (0.004 if RUN.number % 3 else 0.06))
    RUN.fails_first(step, number, every)
    RUN.write("end", step, key, number)


# messages


@step(http("POST", "/plain"), enqueues=["plain"], name="TakePlain")
async def take_plain(req: Any, ctx: Any) -> Any:
    number = req.body.number
    delay = 0.02 if number % 5 == 0 else None
    await ctx.enqueue("plain", {"number": number}, delay=delay, priority=number % 3 - 1)
    return {"status": 202, "body": {}}


@step(queue("plain", infrastructure={"queue": QUEUE}), name="Plain")
async def plain(data: Any, ctx: Any) -> None:
    await _work("Plain", "-", data.number, 11)


@step(queue("plain", infrastructure={"queue": QUEUE}), name="Threaded")
def threaded(data: Any, ctx: Any) -> None:
    RUN.write("begin", "Threaded", "-", data.number)
    RUN.fails_first("Threaded", data.number, 17)
    RUN.write("end", "Threaded", "-", data.number)


@step(http("POST", "/once"), enqueues=["once"], name="TakeOnce")
async def take_once(req: Any, ctx: Any) -> Any:
    """Asked again with the same number, after a kill, it is the same message."""
    number = req.body.number
    await ctx.enqueue("once", {"number": number}, key=f"number {number}")
    return {"status": 202, "body": {}}


@step(queue("once", infrastructure={"queue": QUEUE}), name="Once")
async def once(data: Any, ctx: Any) -> None:
    await _work("Once", "-", data.number, 17)


@step(http("POST", "/fifo"), enqueues=["fifo"], name="TakeFifo")
async def take_fifo(req: Any, ctx: Any) -> Any:
    body = req.body
    data = {"number": body.number, "key": body.key}
    # whatever their priorities are, a group keeps its order
    await ctx.enqueue("fifo", data, group=body.key, priority=body.number % 5 - 2)
    return {"status": 202, "body": {}}


@step(
    queue("fifo", infrastructure={"queue": {**QUEUE, "type": "fifo"}}, config={"concurrency": 3}),
    name="Fifo",
)
async def fifo(data: Any, ctx: Any) -> None:
    await _work("Fifo", data.key, data.number, 13)


# state and streams


@step(http("POST", "/state"), name="TakeState")
async def take_state(req: Any, ctx: Any) -> Any:
    key = req.body.key
    await ctx.state.update("counts", key, [{"type": "increment", "path": "", "by": 1}])
    await ctx.state.set("last", key, req.body.number)
    return {"status": 200, "body": {}}


@step(state(group_id="last"), name="WatchState")
async def watch_state(change: Any, ctx: Any) -> None:
    await _work("WatchState", change.item_id, change.new_value, 1_000_000)


@step(http("POST", "/stream"), name="TakeStream")
async def take_stream(req: Any, ctx: Any) -> Any:
    await ctx.streams.chat.set("room", req.body.key, {"number": req.body.number})
    return {"status": 200, "body": {}}


@step(stream("chat", group_id="room"), name="WatchStream")
async def watch_stream(change: Any, ctx: Any) -> None:
    await _work("WatchStream", change.id, change.event.data.number, 1_000_000)


# transactions


async def _count(ctx: Any, what: str, number: int) -> None:
    """Write what must be there together: a counter that others want too, and an item."""
    counter = str(number % COUNTERS)
    await ctx.state.update(what, counter, [{"type": "increment", "path": "", "by": 1}])
    await trio.sleep(RUN.chance.random() * 0.002)
    await ctx.streams[what].set("all", str(number), {"number": number})


@step(http("POST", "/pay"), enqueues=["pay"], name="TakePay")
async def take_pay(req: Any, ctx: Any) -> Any:
    await ctx.enqueue("pay", {"number": req.body.number})
    return {"status": 202, "body": {}}


@step(
    queue("pay", infrastructure={"queue": QUEUE}),
    name="Pay",
    enqueues=["paid"],
    delivery="transactional",
)
async def pay(data: Any, ctx: Any) -> None:
    RUN.write("begin", "Pay", "-", data.number)
    await ctx.enqueue("paid", {"number": data.number})
    await _count(ctx, "pay", data.number)
    RUN.fails_first("Pay", data.number, 11)
    RUN.write("end", "Pay", "-", data.number)


@step(
    queue("paid", infrastructure={"queue": QUEUE}),
    name="Paid",
    delivery="transactional",
)
async def paid(data: Any, ctx: Any) -> None:
    RUN.write("begin", "Paid", "-", data.number)
    await _count(ctx, "paid", data.number)
    RUN.fails_first("Paid", data.number, 17)
    RUN.write("end", "Paid", "-", data.number)


@step(http("POST", "/order"), enqueues=["ordered"], name="TakeOrder", delivery="transactional")
async def take_order(req: Any, ctx: Any) -> Any:
    """A request's transaction is kept before it is answered."""
    number = req.body.number
    await ctx.enqueue("ordered", {"number": number})
    await ctx.state.set("order", str(number), {"number": number})
    await ctx.streams.order.set("all", str(number), {"number": number})
    return {"status": 201, "body": {}}


@step(queue("ordered", infrastructure={"queue": QUEUE}), name="Ordered")
async def ordered(data: Any, ctx: Any) -> None:
    await _work("Ordered", "-", data.number, 17)


@step(http("GET", "/left"), name="Left")
async def left(req: Any, ctx: Any) -> Any:
    return {"status": 200, "body": {"left": RUN.left()}}


STEPS = [
    take_plain, plain, threaded, take_once, once, take_fifo, fifo, take_state, watch_state, take_stream,
    watch_stream, take_pay, pay, paid, take_order, ordered, left,
]  # fmt: skip
STREAMS = [{"name": name} for name in ("chat", "pay", "paid", "order")]


def make_app(folder: Path) -> App:
    """The service, with its store in a folder. The mailboxes are small, so that much waits."""
    return App(STEPS, streams=STREAMS, root=folder, store="sqlite:///store.db", mailbox=12)


# the process


class Recorder:
    """Writes down what should not happen."""

    def observe(self, event: Event, /) -> None:
        """Note one event."""
        if isinstance(event, AttemptFailed) and event.error == PLANNED:
            return
        if isinstance(
            event,
            (ActorCrashed, AppWarned, AskFailed, AttemptFailed, DeadLettered, HandlerOverdue,
             StoreFailed),
        ):  # fmt: skip
            RUN.note(event)


async def _serve(folder: Path, leash: int, make: Callable[[Path], App]) -> None:
    async def hold_leash() -> None:
        await trio.lowlevel.wait_readable(leash)
        os._exit(3)  # who started us is gone

    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_leash)
            app = make(folder)
            streams = None if RUN.port is None else f"127.0.0.1:{RUN.port}"
            async with open_runtime(
                app, http="127.0.0.1:0", streams=streams, observers=[Recorder()]
            ) as rt:

                def count() -> int:
                    found = [actor.deliveries for actor in rt.tree().actors]
                    return sum(each.waiting + each.leased + each.delayed for each in found)

                RUN.left = count
                _say(f"ready {rt.http_url} {rt.streams_url}")
                await anext(signals)
            nursery.cancel_scope.cancel()


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main(folder: Path, leash: int, make: Callable[[Path], App] = make_app) -> None:
    """Start a run for each line of stdin, and tell how it ended.

    A line has the number of the run and, to serve streams, their port.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    RUN.lines = os.open(folder / "lines", flags)
    RUN.events = os.open(folder / "events", flags)
    for line in sys.stdin:
        number, *port = line.split()
        RUN.number, RUN.port = int(number), int(port[0]) if port else None
        pid = os.fork()
        if pid == 0:
            _run(folder, leash, make)
        _, status = os.waitpid(pid, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


def _run(folder: Path, leash: int, make: Callable[[Path], App]) -> NoReturn:
    """Serve, in a process of its own, and end it."""
    code = 1
    try:
        _say(f"pid {os.getpid()}")
        trio.run(_serve, folder, leash, make)
        code = 0
    except BaseException:
        RUN.note(traceback.format_exc())
        raise
    finally:
        os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
