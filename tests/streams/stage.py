"""A store and its hub, and clients: listeners of the hub itself, and what carries their messages."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import attrs
import trio

from motia_trio import codec
from motia_trio.actors import WallClock
from motia_trio.store import Change, MemoryStore, Place, Put, Remove, Snapshot, Work, Write
from motia_trio.streams.hub import Hub
from motia_trio.streams.rooms import Subscription
from motia_trio.streams.wire import Batch, Message
from tests.streams.followers import Client, Follow


@attrs.define(eq=False)
class Listener:
    """A member of the hub that takes everything at once."""

    client: Client = attrs.field(factory=Client)
    subscriptions: dict[str, Subscription] = attrs.field(factory=dict)
    #: messages that it hears before its connection is lost
    room: float = inf

    def push(self, message: Message) -> None:
        if self.room > 0:
            self.room -= 1
            self.client.hear(message.text)

    def push_batch(self, batch: Batch) -> None:
        for message in batch.messages:
            self.push(message)

    def answer(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self.push(message)

    @property
    def told(self) -> list[tuple[str, Any]]:
        """What it was told, in short: the kind, and the key, or the number of an event."""
        return [
            (event["type"], event["event"]["data"] if event["type"] == "event" else each.get("id"))
            for each in self.client.heard
            for event in [each["event"]]
        ]


class Stream:
    """A store and its hub, where the hub may hear late of what is kept."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = WallClock()
        self.hub = Hub(self.store, self.clock)
        self.held: deque[Sequence[Change]] | None = None
        self.reads = 0
        self._numbers = 0
        self._take = self.store.snapshot

        def snapshot(*args: Any) -> Snapshot:
            self.reads += 1
            return self._take(*args)

        self.store.snapshot = snapshot  # type: ignore[method-assign, assignment]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Stream]:
        async with self.store.opened(self.clock.now(), None, self._follow):
            self.hub.start()
            self.reads = 0
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.hub.run)
                yield self
                nursery.cancel_scope.cancel()

    def _follow(self, changes: Sequence[Change]) -> None:
        if self.held is None:
            self.hub.tell(changes)
        else:
            self.held.append(changes)

    def hold(self) -> None:
        """Have the hub not hear of what is kept, as when a thread has just written it."""
        self.held = deque()

    def release(self, number: int = -1) -> None:
        """Tell the hub of the oldest of it, or of all, and hold nothing any more."""
        while self.held and number:
            self.hub.tell(self.held.popleft())
            number -= 1
        if number < 0:
            self.held = None

    async def write(self, *writes: Write, now: float | None = None) -> None:
        await self.store.commit(Work(writes=writes), self.clock.now() if now is None else now)

    def put(self, key: str, group: str = "room", ttl: float | None = None) -> Put:
        self._numbers += 1
        value = codec.encode({"n": self._numbers})
        return Put(
            Place("chat", group, key), value, None if ttl is None else self.clock.now() + ttl
        )

    async def set(self, key: str, group: str = "room", ttl: float | None = None) -> None:
        await self.write(self.put(key, group, ttl))

    async def delete(self, key: str, group: str = "room") -> None:
        await self.write(Remove(Place("chat", group, key)))

    def send(self, number: int, key: str | None = None, group: str = "room") -> None:
        self.hub.send("chat", group, key, codec.encode({"type": "note", "data": number}))

    def join(
        self,
        listener: Listener,
        key: str | None = None,
        group: str = "room",
        since: int | None = None,
        name: str | None = None,
    ) -> Follow:
        name = name or f"{group}/{key}"
        follow = Follow(name, "chat", group, key, resumes=since is not None)
        follow.since = follow.seq = since
        self.rejoin(listener, follow)
        return follow

    def lose(self, listener: Listener) -> None:
        """Have a connection be lost."""
        for subscription in listener.subscriptions.values():
            self.hub.depart(listener, subscription)

    def rejoin(self, listener: Listener, follow: Follow) -> None:
        listener.client.join(follow)
        subscription = Subscription(follow.id, "chat", follow.group, follow.key, follow.since)
        listener.subscriptions[follow.id] = subscription
        self.hub.arrive(listener, subscription)
        self.hub.begin(listener, subscription)

    def leave(self, listener: Listener, follow: Follow) -> None:
        listener.client.leave(follow, self.last)
        self.hub.depart(listener, listener.subscriptions.pop(follow.id))

    @property
    def last(self) -> int:
        """The last change there is, told or not."""
        return self._take("(test)", "-", "-", 0).seq

    def now_in(self, group: str, key: str | None = None) -> Any:
        """What there is, as a client should have it."""
        found = self.store.items("chat", group, self.clock.now())
        items = {name: {"id": name, **json.loads(item.value)} for name, item in found.items()}
        return items if key is None else items.get(key)


@asynccontextmanager
async def open_stream() -> AsyncIterator[Stream]:
    async with Stream().open() as stream:
        yield stream


class Pipe:
    """Carries messages to a client that takes so many of them: a ``Line`` in memory.

    The last that it takes may be cut: then it is blocked until there is room.
    """

    def __init__(self, client: Client, room: float = inf, *, cuts: bool = False) -> None:
        self.client = client
        self.room = room
        self.cuts = cuts
        self.broken = False
        self._rest: Message | None = None
        self._changed = trio.Event()

    def give_room(self, room: float) -> None:
        """Have the client take some more."""
        self.room += room
        self._change()

    def break_off(self) -> None:
        """Have the client be gone."""
        self.broken = True
        self._change()

    def _change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def write(self, message: Message) -> bool:
        """Take a message, if there is room."""
        if self.broken:
            return True
        if self._rest is not None or self.room <= 0:
            return False
        self.room -= 1
        if self.cuts and self.room <= 0:
            self._rest = message
        else:
            self.client.hear(message.text)
        return True

    def write_batch(self, batch: Batch) -> bool:
        """Take messages, if there is room for all."""
        if self._rest is not None or len(batch.messages) > self.room:
            return False
        for message in batch.messages:
            self.write(message)
        return True

    @property
    def is_blocked(self) -> bool:
        """Whether part of a message has yet to go out."""
        return self._rest is not None

    async def flush(self) -> None:
        """Wait for room for the rest."""
        while self._rest is not None:
            await self._room()
            message, self._rest = self._rest, None
            self.client.hear(message.text)

    async def send(self, messages: Sequence[Message]) -> None:
        """Wait for room for all of them, one after the other."""
        for message in messages:
            await self._room()
            self.room -= 1
            self.client.hear(message.text)

    async def _room(self) -> None:
        await trio.lowlevel.checkpoint()
        while self.room <= 0 and not self.broken:
            await self._changed.wait()
        if self.broken:
            raise trio.BrokenResourceError
