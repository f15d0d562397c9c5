"""A service whose streams people follow, and everything that happens to them.

Whenever it is quiet, everybody knows what there is: that is what :meth:`World.quiet` sees to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from math import inf
from pathlib import Path
from typing import Any

import attrs
import trio
import trio.testing

from motia_trio import App, open_runtime, queue, step
from motia_trio.service import Service
from tests.streams.ends import End, MemoryEnd
from tests.streams.followers import Client, Follow

#: seconds after which it should have become quiet
PATIENCE = 10.0
#: a group of the stream "few" has so many items at the most
FEW = 2
INCREMENT = {"type": "increment", "path": "n"}

Write = tuple[str, str, str, str, int, int]


@attrs.define(eq=False)
class Person:
    """Somebody who follows streams, over all the connections that are needed for it."""

    world: World
    resumes: bool
    follows: dict[str, Follow] = attrs.field(factory=dict)
    client: Client = attrs.field(factory=Client)
    end: End | None = None
    joined: int = 0
    _connecting: trio.Lock = attrs.field(factory=trio.Lock)

    @property
    def is_there(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self.end is not None and self.end.open

    async def connect(self) -> None:
        """Have a connection, and everything joined on it."""
        if self.is_there:
            return
        async with self._connecting:
            if self.is_there:
                return
            client = Client()
            self.end = await self.world.make_end(client)
            self.client = client
            for follow in self.follows.values():
                follow.connect()
                self._join(follow)

    def _join(self, follow: Follow) -> None:
        if self.end is not None and self.end.open:
            self.client.join(follow)
            self.end.say(follow.frame("join"))

    def join(self, stream: str, group: str, key: str | None) -> None:
        """Follow one place more."""
        self.joined += 1
        follow = Follow(f"s{self.joined}", stream, group, key, self.resumes)
        self.follows[follow.id] = follow
        self._join(follow)

    def leave(self, which: int) -> None:
        """Follow one place less."""
        if self.follows:
            name = list(self.follows)[which % len(self.follows)]
            follow, client = self.follows.pop(name), self.client
            if self.end is not None and self.end.open and name in client.follows:
                self.end.say(
                    follow.frame("leave"), lambda: client.leave(follow, self.world.last_change)
                )

    def hang_up(self, *, reset: bool) -> None:
        """Have no connection any more."""
        if self.end is not None and self.end.open:
            self.end.hang_up(reset=reset)


class World:
    """People, and a service that may be started again and again on one store."""

    def __init__(
        self,
        root: Path,
        store: str,
        nursery: trio.Nursery,
        *,
        people: int,
        brief: float,
        pad: int = 0,
        make_end: Callable[[World, Client], Any] = MemoryEnd,
        streams: str | None = None,
        **settings: Any,
    ) -> None:
        """``brief``: seconds for which items of that stream last; ``pad``: bytes of each item."""
        self.rt: Service
        self.connections: trio.Nursery
        self.people = [Person(self, resumes=number % 2 == 1) for number in range(people)]
        self.nursery = nursery
        self._brief = brief
        self._pad = pad
        self._make_end = make_end
        self._streams = streams
        self._stop: trio.Event
        self._scope: trio.CancelScope
        self._over: trio.Event
        self._numbers = 0
        # who should have heard of which event
        self._expected: list[tuple[Client, Follow, int]] = []
        together = step(queue("together"), name="Together", delivery="transactional")(_together)
        declared: list[dict[str, Any]] = [
            {"name": "chat"},
            {"name": "brief", "ttl": brief},
            {"name": "few", "max_items": FEW},
        ]
        self._app = App([together], streams=declared, root=root, store=store, **settings)

    # the service

    async def start(self) -> None:
        """Start it."""
        await self.nursery.start(self._serve)

    async def _serve(self, task_status: trio.TaskStatus[None]) -> None:
        self._stop, self._over = trio.Event(), trio.Event()
        with trio.CancelScope() as self._scope:
            async with open_runtime(self._app, observers=(), streams=self._streams) as self.rt:
                async with trio.open_nursery() as self.connections:
                    task_status.started()
                    await self._stop.wait()
                    if self._streams is None:  # else the edge does that
                        await self.rt.shared.hub.settled()
                        for person in self.people:
                            if isinstance(person.end, MemoryEnd):
                                person.end.stop()
        self._over.set()

    async def restart(self, *, crash: bool) -> None:
        """Stop it, in order or not, and start it again; it takes a second."""
        if crash:
            self._scope.cancel()
        else:
            for person in self.people:  # nobody holds it up
                if person.end is not None and person.end.open:
                    person.end.read(inf)
            self._stop.set()
        await self._over.wait()
        self.pass_time(1)
        await self.start()

    async def stop(self) -> None:
        """Stop it for good."""
        for person in self.people:
            person.hang_up(reset=False)
        self._stop.set()
        await self._over.wait()

    async def make_end(self, client: Client) -> Any:
        """Give a connection."""
        made = self._make_end(self, client)
        return made if isinstance(made, MemoryEnd) else await made

    @staticmethod
    def pass_time(seconds: float) -> None:
        """Let it be later, where a test has the clock."""
        clock = trio.lowlevel.current_clock()
        if isinstance(clock, trio.testing.MockClock):
            clock.jump(seconds)

    # what happens

    async def do(self, what: str, *details: Any) -> None:
        """Have something happen."""
        person = self.people[details[0] % len(self.people)] if details else self.people[0]
        match what:
            case "at once":
                async with trio.open_nursery() as nursery:
                    for each in details[1:]:
                        nursery.start_soon(self.do, *each)
            case "write":
                await self.write(details[1])
            case "together":
                writes = [self._numbered(write) for write in details[1:]]
                await self.rt.enqueue("together", writes)
            case "send":
                await self.send(*details[1:])
            case "connect":
                await person.connect()
            case "join":
                person.join(*details[1:])
            case "leave":
                person.leave(details[1])
            case "hang up":
                person.hang_up(reset=details[1])
            case "read":
                if person.end is not None and person.end.open:
                    person.end.read(details[1])
            case "turn":
                for _ in range(5):
                    await trio.lowlevel.checkpoint()
            case "pass time":
                self.pass_time(details[1] * self._brief)
            case "restart":
                await self.restart(crash=details[1])
            case "be quiet":
                await self.quiet()

    def _numbered(self, write: tuple[str, ...]) -> Write:
        self._numbers += 1
        what, stream, group, key = write
        return what, stream, group, key, self._numbers, self._pad

    async def write(self, write: tuple[str, ...]) -> None:
        """Change an item, or a group."""
        await _apply(self.rt.streams, self._numbered(write))

    async def send(self, stream: str, group: str, key: str | None) -> None:
        """Send an event."""
        self._numbers += 1
        number = self._numbers
        expected = [
            (person.client, follow, number)
            for person in self.people
            if person.is_there
            for follow in person.client.follows.values()
            if follow.live
            and (follow.stream, follow.group) == (stream, group)
            and follow.key in {None, key}
        ]
        channel = {"groupId": group} if key is None else {"groupId": group, "id": key}
        await self.rt.streams[stream].send(channel, {"type": "note", "data": number})
        self._expected += expected

    # what there is

    @property
    def last_change(self) -> int:
        """The number of the last change that is kept."""
        return self.rt.store.snapshot("(test)", "-", "-", 0).seq

    def there(self, follow: Follow) -> Any:
        """What whoever follows something should know."""
        shared = self.rt.shared
        found = shared.store.items(follow.stream, follow.group, shared.clock.now())
        items = {key: {"id": key, **json.loads(item.value)} for key, item in found.items()}
        return items if follow.key is None else items.get(follow.key)

    async def quiet(self) -> None:
        """Have everybody connected and reading, and see that they know what there is."""
        await self.rt.quiesce()
        await self.rt.shared.hub.settled()
        until = time.monotonic() + PATIENCE
        while differences := await self._differences():
            assert time.monotonic() < until, differences
            # the system's clock goes on, and sweeps are no closer together than that
            await trio.to_thread.run_sync(time.sleep, 0.001)
            self.pass_time(0.02)

    async def _differences(self) -> list[Any]:
        differences: list[Any] = []
        for person in self.people:
            await person.connect()
            assert person.end is not None
            person.end.read(inf)
            assert person.client.errors == []
            for follow in person.follows.values():
                there = self.there(follow)
                if not follow.live or follow.state.value != there:
                    differences.append((follow, there))
            if person.client.follows.keys() != person.follows.keys():
                differences.append((person.client.follows, person.follows))
            differences += person.client.waits_for()
        differences += [
            (follow, number)
            for client, follow, number in self._expected
            if number not in client.events
            and any(client is each.client and each.is_there for each in self.people)
            and client.follows.get(follow.id) is follow
        ]
        return differences + self._counts()

    def _counts(self) -> list[Any]:
        """What the service counts, and what that should be, where it is not."""
        follows = [follow for person in self.people for follow in person.follows.values()]
        rooms = {follow.place[:2] for follow in follows}
        hub = self.rt.shared.hub
        statistics = hub.statistics()
        counts: list[tuple[Any, int, int]] = [
            ("connections", statistics.connections, len(self.people)),
            ("places for connections", self.rt.crowd.connections, len(self.people)),
            ("subscriptions", statistics.subscriptions, len(follows)),
            ("places for subscriptions", self.rt.crowd.subscriptions, len(follows)),
            ("groups", statistics.groups, len(rooms)),
            ("waiting", statistics.waiting, 0),
        ]
        for room in rooms:
            present = sum(
                any(follow.place[:2] == room for follow in person.follows.values())
                for person in self.people
            )
            counts.append((room, hub.presence(*room), present))
        return [each for each in counts if each[1] != each[2]]


async def _together(writes: list[Write], ctx: Any) -> None:
    for write in writes:
        await _apply(ctx.streams, write)


async def _apply(streams: Any, write: Write) -> None:
    what, name, group, key, number, pad = write
    stream = streams[name]
    match what:
        case "set":
            await stream.set(group, key, {"n": number, "pad": "x" * pad})
        case "update":
            await stream.update(group, key, INCREMENT)
        case "delete":
            await stream.delete(group, key)
        case "clear":
            await stream.clear(group)
