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
import time
from pathlib import Path
from typing import Any

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

_lines = -1
_run = 0
_chance = random.Random()
_failed: set[tuple[str, int]] = set()
_left: Any = None


def _write(what: str, step: str, key: str, number: int) -> None:
    os.write(_lines, f"{_run} {what} {step} {key} {number}\n".encode())


def _fails_first(step: str, number: int, every: int) -> None:
    """Fail the first time that this process has the message in hand."""
    if number % every == 0 and (step, number) not in _failed:
        _failed.add((step, number))
        raise OSError("on purpose")


async def _work(step: str, key: str, number: int, every: int) -> None:
    _write("begin", step, key, number)
    if number % 3:
        # every third run is slow, so that much waits in the store when it is killed
        await trio.sleep(_chance.random() * (0.004 if _run % 3 else 0.06))
    _fails_first(step, number, every)
    _write("end", step, key, number)


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
    _write("begin", "Threaded", "-", data.number)
    _fails_first("Threaded", data.number, 17)
    _write("end", "Threaded", "-", data.number)


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
    await trio.sleep(_chance.random() * 0.002)
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
    _write("begin", "Pay", "-", data.number)
    await ctx.enqueue("paid", {"number": data.number})
    await _count(ctx, "pay", data.number)
    _fails_first("Pay", data.number, 11)
    _write("end", "Pay", "-", data.number)


@step(
    queue("paid", infrastructure={"queue": QUEUE}),
    name="Paid",
    delivery="transactional",
)
async def paid(data: Any, ctx: Any) -> None:
    _write("begin", "Paid", "-", data.number)
    await _count(ctx, "paid", data.number)
    _fails_first("Paid", data.number, 17)
    _write("end", "Paid", "-", data.number)


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
    return {"status": 200, "body": {"left": _left()}}


STEPS = [
    take_plain, plain, threaded, take_fifo, fifo, take_state, watch_state, take_stream,
    watch_stream, take_pay, pay, paid, take_order, ordered, left,
]  # fmt: skip


def make_app(folder: Path) -> App:
    """The service, with its store in a folder. The mailboxes are small, so that much waits."""
    return App(STEPS, root=folder, store="sqlite:///store.db", mailbox=12)


# the process


@attrs.define
class Recorder:
    """Writes down what should not happen."""

    file: int

    def observe(self, event: Event, /) -> None:
        """Note one event."""
        if isinstance(event, AttemptFailed) and event.error == PLANNED:
            return
        if isinstance(
            event,
            (ActorCrashed, AppWarned, AskFailed, AttemptFailed, DeadLettered, HandlerOverdue,
             StoreFailed),
        ):  # fmt: skip
            os.write(self.file, f"run {_run}: {event}\n".encode())


async def _serve(folder: Path, events: int, leash: int) -> None:
    global _left

    async def hold_leash() -> None:
        await trio.lowlevel.wait_readable(leash)
        os._exit(3)  # who started us is gone

    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hold_leash)
            app = make_app(folder)
            async with open_runtime(app, http="127.0.0.1:0", observers=[Recorder(events)]) as rt:

                def count() -> int:
                    found = [actor.deliveries for actor in rt.tree().actors]
                    return sum(each.waiting + each.leased + each.delayed for each in found)

                _left = count
                _say(f"ready {rt.http_url}")
                await anext(signals)
            nursery.cancel_scope.cancel()


def _say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def main(folder: Path, leash: int) -> None:
    """Start a run for each line of stdin, and tell how it ended."""
    global _lines, _run
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    _lines = os.open(folder / "lines", flags)
    events = os.open(folder / "events", flags)
    for line in sys.stdin:
        _run = int(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _say(f"pid {os.getpid()}")
                _chance.seed(time.time_ns())
                trio.run(_serve, folder, events, leash)
                code = 0
            except BaseException:
                import traceback

                os.write(events, f"run {_run}: {traceback.format_exc()}".encode())
            finally:
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        _say(f"ended {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
