"""How an invocation reaches the store: at once, or gathered into one commit at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import trio
from attrs import evolve

from motia_trio.errors import AskInvalid, Closed, ValueTooLarge
from motia_trio.store import KEY_LIFETIME, Put, Remove, Seen, Update, Work
from motia_trio.store.planning import plan_writes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from motia_trio.messages import Delivery, Origin
    from motia_trio.outgoing import Outgoing
    from motia_trio.router import Bundle
    from motia_trio.shared import Shared
    from motia_trio.steps import Step
    from motia_trio.store import Change, Item, Place, Write
    from motia_trio.store.work import Mark

__all__ = ["Access", "Direct", "Transaction"]

# bytes of payloads and values that one transaction may gather
TRANSACTION_LIMIT = 64 * 1024 * 1024


class Access(Protocol):
    """What ``ctx`` and the runtime do to the store. Reads do not wait."""

    async def publish(self, batch: Sequence[Outgoing]) -> list[str]:
        """Keep messages and give their ids."""
        ...

    async def ask(self, message: Outgoing, deadline: float) -> Any:
        """Keep a message and give what its handler returns, until a Trio time."""
        ...

    async def write(self, write: Write) -> Sequence[Change]:
        """Change items, and tell what that did."""
        ...

    async def send(self, stream: str, group: str, key: str | None, event: bytes) -> None:
        """Tell of an event those who follow a group of a stream, or an item of it."""
        ...

    def presence(self, stream: str, group: str) -> int:
        """Give how many connections follow a group of a stream now."""
        ...

    def read(self, place: Place) -> Item | None:
        """Give the item at a place."""
        ...

    def items(self, space: str, group: str) -> Mapping[str, Item]:
        """Give the items of a group by key, in order."""
        ...

    def groups(self, space: str) -> Sequence[str]:
        """Give the groups that have an item, in order."""
        ...


class Direct:
    """Everything takes effect, and is durable, when the call returns."""

    __slots__ = ("_origin", "_shared", "_step")

    def __init__(self, shared: Shared, origin: Origin, step: Step | None = None) -> None:
        self._shared = shared
        self._origin = origin
        self._step = step

    async def publish(self, batch: Sequence[Outgoing]) -> list[str]:
        """Keep messages and give their ids."""
        return await self._shared.router.publish(batch, self._origin, self._step)

    async def ask(self, message: Outgoing, deadline: float) -> Any:
        """Keep a message and give what its handler returns, until a Trio time."""
        return await self._shared.asks.ask(message, self._origin, deadline, self._step)

    async def write(self, write: Write) -> Sequence[Change]:
        """Change items, and tell what that did."""
        shared = self._shared
        work = Work(writes=(write,), origin=self._origin)
        shared.activity.enter()
        try:
            committed = await shared.store.commit(work, shared.clock.now())
        finally:
            shared.activity.leave()
        _tell(shared, (write,), committed.changes)
        if shared.hub.is_crowded:
            await shared.hub.wait_for_turn()
        return committed.changes

    async def send(self, stream: str, group: str, key: str | None, event: bytes) -> None:
        """Tell of an event: the steps first, as what they get is kept, and then the clients."""
        shared = self._shared
        now = shared.clock.now()
        bundles = shared.router.tell_of(stream, group, key, event, self._origin, now)
        if bundles:
            shared.activity.enter()
            try:
                await shared.store.commit(Work(messages=bundles), now)
            finally:
                shared.activity.leave()
            shared.router.tell_feeder(bundles, now)
        else:
            await trio.lowlevel.checkpoint()  # as any write is: else a loop of them never ends
        shared.hub.send(stream, group, key, event)
        if shared.hub.is_crowded:
            await shared.hub.wait_for_turn()

    def presence(self, stream: str, group: str) -> int:
        """Give how many connections follow a group of a stream now."""
        return self._shared.hub.presence(stream, group)

    def read(self, place: Place) -> Item | None:
        """Give the item at a place."""
        shared = self._shared
        return shared.store.read(place, shared.clock.now())

    def items(self, space: str, group: str) -> Mapping[str, Item]:
        """Give the items of a group by key, in order."""
        return self._shared.store.items(space, group, self._shared.clock.now())

    def groups(self, space: str) -> Sequence[str]:
        """Give the groups that have an item, in order."""
        return self._shared.store.groups(space, self._shared.clock.now())


class Transaction:
    """Nothing takes effect until :meth:`commit`; then all of it, together with the acknowledgement.

    Reads see the transaction's own writes over what is committed. What was read is remembered, and
    the commit is refused if another has changed it meanwhile: then the handler has to run again.
    """

    __slots__ = (
        "_bundles", "_events", "_new", "_origin", "_over", "_seen", "_shared", "_size", "_step",
        "_writes",
    )  # fmt: skip

    def __init__(self, shared: Shared, origin: Origin, step: Step) -> None:
        self._shared = shared
        self._origin = origin
        self._step = step
        self._bundles: list[Bundle] = []
        self._writes: list[Write] = []
        self._events: list[tuple[str, str, str | None, bytes]] = []
        self._new: dict[Place, Item | None] = {}
        self._seen: dict[tuple[str, str | None, str | None], Mark] = {}
        self._size = 0
        self._over = False

    async def publish(self, batch: Sequence[Outgoing]) -> list[str]:
        """Keep messages and give the ids that they will have."""
        await trio.lowlevel.checkpoint()  # as any write is: else a loop of them could not be ended
        self._check_open()
        now = self._shared.clock.now()
        ids, bundles = self._shared.router.address(batch, self._origin, self._step, now)
        self._grow(sum(len(message.payload) for message, _ in bundles))
        self._bundles += bundles
        return ids

    async def ask(self, message: Outgoing, deadline: float) -> Any:
        """Refuse: the message would be kept only when the handler has ended."""
        del deadline
        await trio.lowlevel.checkpoint()
        raise AskInvalid(
            f"ask({message.topic!r}): step {self._step.name!r} is transactional, so that its "
            "messages are kept when it ends: there would be no answer"
        )

    async def write(self, write: Write) -> Sequence[Change]:
        """Change items, and tell what that will do."""
        await self._wait_for_turn()
        self._check_open()
        keep = None
        if isinstance(write, (Put, Update)):
            # which items are the oldest is told at the commit: others make some meanwhile
            keep, write = write.keep, evolve(write, keep=None)
        planned = plan_writes((write,), _Raw(self), self._shared.clock.now(), lambda: 0)
        self._grow(sum(len(item.value) for item in planned.items.values() if item))
        self._new.update(planned.items)
        # what the handler was told is what is kept, whatever time it is by then
        for place, item in planned.items.items():
            self._writes.append(
                Remove(place)
                if item is None
                else Put(place, item.value, item.expires_at, keep=keep)
            )
        return planned.changes

    async def send(self, stream: str, group: str, key: str | None, event: bytes) -> None:
        """Note an event, of which is told when everything is kept."""
        await self._wait_for_turn()
        self._check_open()
        self._grow(len(event))
        router, now = self._shared.router, self._shared.clock.now()
        self._bundles += router.tell_of(stream, group, key, event, self._origin, now)
        self._events.append((stream, group, key, event))

    def presence(self, stream: str, group: str) -> int:
        """Give how many connections follow a group of a stream now."""
        return self._shared.hub.presence(stream, group)

    def close(self) -> None:
        """The handler has ended: what is asked for from here on would be kept by nobody."""
        self._over = True

    async def _wait_for_turn(self) -> None:
        """Wait as all who write do where crowds are told: not at the commit, which is shielded."""
        await trio.lowlevel.checkpoint()
        if self._shared.hub.is_crowded:
            await self._shared.hub.wait_for_turn()

    def _check_open(self) -> None:
        if self._over:
            raise Closed(
                f"step {self._step.name!r}: its handler has ended, and its transaction with "
                "it; use ctx before it returns"
            )

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > TRANSACTION_LIMIT:
            raise ValueTooLarge(
                f"step {self._step.name!r}: its transaction has gathered over {TRANSACTION_LIMIT} "
                "bytes; split the work, or use delivery 'immediate'"
            )

    async def commit(self, done: Delivery | None = None) -> None:
        """Have everything kept in one step, with the acknowledgement of ``done``. A checkpoint.

        Raises:
            Conflict: another has changed what was read. Nothing was kept.
        """
        shared = self._shared
        now = shared.clock.now()
        seen = [Seen(*where, mark) for where, mark in self._seen.items()]
        work = Work(self._bundles, self._writes, seen, done, self._origin)
        committed = await shared.store.commit(work, now)
        shared.router.tell_feeder(self._bundles, now)
        if any(message.key is not None for message, _ in self._bundles):
            shared.sweeper.expect(now + KEY_LIFETIME)
        _tell(shared, self._writes, committed.changes)
        for event in self._events:
            shared.hub.send(*event)

    # reads

    def read(self, place: Place) -> Item | None:
        """Give the item at a place."""
        now = self._shared.clock.now()
        if place in self._new:
            item = self._new[place]
            return item if item is not None and item.live(now) else None
        item = self._shared.store.read(place, now)
        self._seen.setdefault(place, item.version if item is not None else 0)
        return item

    def items(self, space: str, group: str) -> Mapping[str, Item]:
        """Give the items of a group by key, in order."""
        now = self._shared.clock.now()
        found = dict(self._shared.store.items(space, group, now))
        mark = {key: item.version for key, item in found.items()}
        self._seen.setdefault((space, group, None), mark)
        for place, item in self._new.items():
            if (place.space, place.group) == (space, group):
                found.pop(place.key, None)
                if item is not None and item.live(now):
                    found[place.key] = item
        return dict(sorted(found.items()))

    def groups(self, space: str) -> Sequence[str]:
        """Give the groups that have an item, in order."""
        now = self._shared.clock.now()
        names = set(self._shared.store.groups(space, now))
        self._seen.setdefault((space, None, None), frozenset(names))
        for group in {place.group for place in self._new if place.space == space}:
            if self.items(space, group):
                names.add(group)
            else:
                names.discard(group)
        return sorted(names)


class _Raw:
    """A transaction as :func:`plan_writes` reads it: what has expired is not there."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def read(self, place: Place, now: float) -> Item | None:
        del now  # -infinity asks for what has expired too: here that is told at the commit
        return self._transaction.read(place)

    def items(self, space: str, group: str, now: float) -> Mapping[str, Item]:
        del now
        return self._transaction.items(space, group)

    def groups(self, space: str, now: float) -> Sequence[str]:
        del now
        return self._transaction.groups(space)

    def ages(self, space: str, group: str, now: float) -> Mapping[str, object]:
        del space, group, now  # what is too old is told at the commit
        return {}


def _tell(shared: Shared, writes: Sequence[Write], changes: Sequence[Change]) -> None:
    """Tell whom it concerns that writes are kept."""
    shared.router.tell_changes(changes)
    for write in writes:
        if isinstance(write, (Put, Update)) and write.expires_at is not None:
            shared.sweeper.expect(write.expires_at)
