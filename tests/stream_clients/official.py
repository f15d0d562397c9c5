"""A program of the official node client's, driven by a test."""

from __future__ import annotations

import json
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

DRIVER = Path(__file__).with_name("driver.mjs")
PATIENCE = 30.0  # seconds: node has to start, on a machine that may be busy


@define(eq=False)
class Official:
    """One process with one client, and all that the client has told, by subscription."""

    _process: trio.Process
    #: what each subscription was, at each of its changes
    states: dict[str, list[Any]] = field(factory=lambda: defaultdict(list))
    #: the events that came to each: their types and data
    events: dict[str, list[tuple[str, Any]]] = field(factory=lambda: defaultdict(list))
    #: errors that the client left to the process
    failures: list[str] = field(factory=list)
    _told: trio.Event = field(factory=trio.Event)

    async def open(self, url: str, protocols: list[str] | None = None) -> None:
        await self._order(do="open", url=url, protocols=protocols)

    async def follow(
        self, name: str, group: str, key: str | None = None, *, as_: str | None = None, **more: Any
    ) -> str:
        """Follow a group, or an item of it; gives the name under which it is told."""
        as_ = as_ or (group if key is None else f"{group}/{key}")
        place = {"name": name, "group": group, **({} if key is None else {"id": key})}
        await self._order(do="follow", as_=as_, **place, **more)
        return as_

    async def unfollow(self, as_: str) -> None:
        await self._order(do="unfollow", as_=as_)

    async def until(self, as_: str, state: Any) -> None:
        """Wait until a subscription is as it should be."""
        await self._until(lambda: self.states[as_][-1:] == [state], f"{as_} to be {state!r}", as_)

    async def changed(self, as_: str, times: int) -> None:
        """Wait until a subscription has changed so often."""
        await self._until(lambda: len(self.states[as_]) >= times, f"{times} changes of {as_}", as_)

    async def heard(self, as_: str, *events: tuple[str, Any]) -> None:
        """Wait until these events have come, and no others before them."""
        wanted = list(events)
        await self._until(lambda: self.events[as_] == wanted, f"{as_} to hear {wanted!r}", as_)

    async def failed(self) -> str:
        """Wait for the next error."""
        await self._until(lambda: bool(self.failures), "a failure", "")
        return self.failures.pop(0)

    async def _until(self, holds: Any, words: str, as_: str) -> None:
        with trio.move_on_after(PATIENCE):
            while not holds():
                await self._told.wait()
            return
        told = f"states {self.states[as_][-3:]!r}, events {self.events[as_][-3:]!r}"
        raise AssertionError(f"waited for {words}; there are {told}, failures {self.failures!r}")

    async def _order(self, **order: Any) -> None:
        order = {key.rstrip("_"): value for key, value in order.items() if value is not None}
        assert self._process.stdin is not None
        await self._process.stdin.send_all(json.dumps(order).encode() + b"\n")

    async def listen(self) -> None:
        """Read what it tells, to the end."""
        assert self._process.stdout is not None
        rest = b""
        async for piece in self._process.stdout:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._note(json.loads(line))
            self._told.set()
            self._told = trio.Event()

    def _note(self, told: dict[str, Any]) -> None:
        if "failed" in told:
            self.failures.append(told["failed"])
        elif "event" in told:
            self.events[told["as"]].append((told["event"], told["data"]))
        else:
            self.states[told["as"]].append(told["state"])


@asynccontextmanager
async def official_client(packages: Path) -> AsyncIterator[Official]:
    """Start node with the client, which is to be told where to connect; kill it in the end."""
    package = packages / "node_modules/@motiadev/stream-client-node"
    module = package / json.loads((package / "package.json").read_text())["module"]
    process = await trio.lowlevel.open_process(
        ["node", str(DRIVER), str(module)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    client = Official(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.listen)
            try:
                yield client
                assert client.failures == []
            finally:
                process.kill()  # what it says ends, and so does who listens to it
    finally:
        # a wait that is cancelled here would hide what the test has failed with
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()
