"""The service of the crowds' test, in a process of its own: does what it is told by lines on stdin.

`look` tells what is open; `write N` writes N changes a second from then on, 0 none; the end of stdin
ends it in order. Each answer is a line of JSON.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import Counter
from typing import Any

import attrs
import psutil
import trio

from motia_trio import App, Service, open_runtime
from motia_trio.cli.garbage import collect_rarely
from motia_trio.events import (
    Event,
    StreamClientClosed,
    StreamClientRefused,
    StreamConnectionFailed,
)

ITEMS = 50
MIB = 1024 * 1024
PADDING = "x" * 120
# an event for those who follow another group, and never read: no socket holds many
NOISE = "x" * 50_000


@attrs.define
class Record:
    """Counts how connections ended, and keeps what should not happen."""

    ended: Counter[str] = attrs.field(factory=Counter)
    failures: list[str] = attrs.field(factory=list)

    def observe(self, event: Event, /) -> None:
        """Note one event."""
        if isinstance(event, StreamClientClosed):
            self.ended[str(event.code)] += 1
        elif isinstance(event, StreamClientRefused):
            self.ended[f"refused {event.status}"] += 1
        elif isinstance(event, StreamConnectionFailed):
            self.failures.append(event.traceback)
        elif "Failed" in type(event).__name__ or "Crashed" in type(event).__name__:
            self.failures.append(repr(event))


@attrs.define
class Pen:
    """Writes changes at a pace; each tells when it was asked for, and its number."""

    rt: Service
    pace: float = 0
    number: int = 0
    _change: trio.Event = attrs.field(factory=trio.Event)

    def turn_to(self, pace: float) -> None:
        self.pace = pace
        self._change.set()
        self._change = trio.Event()

    async def run(self) -> None:
        room = self.rt.streams.chat
        due = trio.current_time()
        while True:
            if not (pace := self.pace):
                await self._change.wait()
                due = trio.current_time()
                continue
            await trio.sleep_until(due)
            due = max(due + 1 / pace, trio.current_time() - 1)
            self.number += 1
            item = {"n": self.number, "sent": time.monotonic(), "text": PADDING}
            await room.set("room", f"i{self.number % ITEMS}", item)
            if self.number % 2:
                await room.send("loud", {"type": "noise", "data": NOISE})


def _look(rt: Service, record: Record) -> dict[str, Any]:
    process = psutil.Process()
    return {
        "connections": rt.crowd.connections,
        "subscriptions": rt.crowd.subscriptions,
        "present": rt.shared.hub.presence("chat", "room"),
        "files": process.num_fds(),
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "rss": process.memory_info().rss,
        "cpu": time.process_time(),
        "ended": record.ended,
        "failures": record.failures,
    }


async def _serve(store: str) -> None:
    record = Record()
    app = App(streams=[{"name": "chat"}], store=store)
    async with trio.open_nursery() as nursery:
        async with open_runtime(
            app, streams="127.0.0.1:0", observers=[record], stream_buffer_bytes=MIB
        ) as rt:
            pen = Pen(rt)
            nursery.start_soon(pen.run)
            collect_rarely()  # as the command does
            _say({"url": rt.streams_url})
            heard = b""
            stdin = trio.lowlevel.FdStream(os.dup(0))
            while more := await stdin.receive_some():
                *lines, heard = (heard + more).split(b"\n")
                for line in lines:
                    word, *number = line.decode().split()
                    if word == "write":
                        pen.turn_to(float(number[0]))
                    _say(_look(rt, record) | {"written": pen.number})
            pen.turn_to(0)
        nursery.cancel_scope.cancel()


def _say(what: dict[str, Any]) -> None:
    assert not any(isinstance(each, float) and math.isnan(each) for each in what.values())
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    trio.run(_serve, sys.argv[1])
