"""An open store with short words for what tests ask of it, and what every set of duties shares."""

# assert is how a test speaks
# ruff: noqa: S101

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import trio
from attrs import define, evolve, field

from motia_trio import codec
from motia_trio.messages import Ack, Bury, Failure, Message, Retry, Route
from motia_trio.store import Counts, Opened, Place, Put, Remove, Work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from pathlib import Path

    from motia_trio.messages import Delivery, Outcome
    from motia_trio.store import Change, Committed, Seen, Store, Write
    from motia_trio.store.protocol import Follow, React

__all__ = ["NOW", "Probe", "StoreDuties", "acknowledge", "failure", "in_store", "names"]

T = TypeVar("T")

# the wall time at which every test begins
NOW = 1_000_000.0
# seconds after which a test has failed
TEST_LIMIT = 60.0


def failure(attempt: int, error: str = "ValueError: x") -> Failure:
    """A failed attempt."""
    return Failure(attempt, 1.0, 2.0, error, "steps/a_step.py:1 in handler", "Traceback …")


def names(deliveries: Iterable[Delivery]) -> list[str]:
    """What :meth:`Probe.message` was given for the messages of these deliveries."""
    return [delivery.message.data for delivery in deliveries]


async def acknowledge(store: Store, delivery: Delivery, now: float) -> None:
    """Acknowledge without waiting, where the store does that, and wait until it was told."""
    ended, told = trio.Event(), list[Exception | None]()

    def then(error: Exception | None) -> None:
        told.append(error)
        ended.set()

    if not store.acknowledge(delivery, then):
        assert told == [], "the store would rather be awaited, and has done nothing"
        await store.settle(delivery, Ack(), now)
        return
    await ended.wait()
    assert len(told) == 1
    if told[0] is not None:
        raise told[0]


@define
class Probe:
    """An open store, the time it is, and what the store found when it was opened.

    A message is called by what it carries: its ``name``. ``heard`` is what ``follow`` was told, if
    the store was opened for it to be.
    """

    store: Store
    now: float = NOW
    opened: Opened = field(factory=Opened)
    heard: list[Sequence[Change]] = field(factory=list)

    def message(self, name: str = "m", topic: str = "t", **fields: Any) -> Message:
        """A new message, with what a test does not care for filled in."""
        made = Message(
            id=self.store.new_id(self.now),
            topic=topic,
            payload=codec.encode(name),
            trace_id="0" * 32,
            created_at=self.now,
        )
        return evolve(made, **fields)

    def to(self, step: str = "A", *, after: float = 0.0, **fields: Any) -> Route:
        """A route that is due ``after`` so many seconds."""
        return Route(step, fields.pop("trigger", 0), self.now + after, **fields)

    async def commit(
        self,
        *messages: tuple[Message, Sequence[Route]],
        writes: Sequence[Write] = (),
        seen: Sequence[Seen] = (),
        done: Delivery | None = None,
    ) -> Committed:
        """Have everything kept."""
        return await self.store.commit(Work(messages, writes, seen, done), self.now)

    async def keep(
        self,
        *named: str,
        topic: str = "t",
        key: str | None = None,
        priority: int = 0,
        expires_at: float | None = None,
        **route: Any,
    ) -> list[Delivery]:
        """Have one message for each name kept, all in one commit; give what was taken."""
        bundles = [
            (
                self.message(each, topic, key=key, priority=priority, expires_at=expires_at),
                [self.to(**route)],
            )
            for each in named
        ]
        return list((await self.commit(*bundles)).taken)

    async def take(self, name: str = "m", **fields: Any) -> Delivery:
        """Have one message kept and be given its delivery."""
        (delivery,) = await self.keep(name, take=True, **fields)
        return delivery

    async def lease(
        self, limit: int = 10_000, step: str = "A", lane: str = "queue"
    ) -> list[Delivery]:
        """Lease what can be leased."""
        return list((await self.store.lease(step, limit, self.now, lane)).deliveries)

    async def settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """End a lease."""
        await self.store.settle(delivery, outcome, self.now)

    async def ack(self, *deliveries: Delivery) -> None:
        """Acknowledge deliveries."""
        for delivery in deliveries:
            await self.settle(delivery, Ack())

    async def acknowledge(self, *deliveries: Delivery) -> None:
        """Acknowledge deliveries, all at once."""
        async with trio.open_nursery() as nursery:
            for delivery in deliveries:
                nursery.start_soon(acknowledge, self.store, delivery, self.now)

    async def retry(self, delivery: Delivery, after: float = 0.0) -> None:
        """Let an attempt have failed."""
        await self.settle(delivery, Retry(self.now + after, failure(delivery.attempt)))

    async def bury(self, name: str = "m", reason: str = "why", **fields: Any) -> int:
        """Have a dead letter made of a new message, and give its id."""
        delivery = await self.take(name, **fields)
        await self.settle(delivery, Bury(reason))
        return delivery.id

    def counts(self, step: str = "A") -> Counts:
        """The counts of a step."""
        return self.store.counts(self.now).get(step, Counts())

    async def put(
        self,
        key: str,
        value: Any,
        *,
        group: str = "g",
        space: str = "",
        ttl: float | None = None,
        keep: int | None = None,
    ) -> Committed:
        """Write an item, to be there for ``ttl`` seconds, as one of ``keep`` at the most."""
        expires_at = None if ttl is None else self.now + ttl
        return await self.commit(
            writes=[Put(Place(space, group, key), codec.encode(value), expires_at, keep)]
        )

    async def remove(self, key: str, *, group: str = "g", space: str = "") -> Committed:
        """Remove an item."""
        return await self.commit(writes=[Remove(Place(space, group, key))])

    def read(self, key: str, *, group: str = "g", space: str = "") -> Any:
        """The value of an item, or None."""
        item = self.store.read(Place(space, group, key), self.now)
        return None if item is None else codec.decode(item.value)

    def version(self, key: str, *, group: str = "g", space: str = "") -> int:
        """The version of an item, 0 if there is none."""
        item = self.store.read(Place(space, group, key), self.now)
        return 0 if item is None else item.version

    def items(self, group: str = "g", space: str = "") -> dict[str, Any]:
        """The values of a group, by key."""
        found = self.store.items(space, group, self.now)
        return {key: codec.decode(item.value) for key, item in found.items()}

    def groups(self, space: str = "") -> list[str]:
        """The groups of a space."""
        return list(self.store.groups(space, self.now))


class StoreDuties:
    """What a set of duties is about: a way to make the store. Each test has a folder of its own."""

    durable: ClassVar[bool] = False

    def make_store(self, folder: Path) -> Store:
        """Give a store, not opened; for a durable one, what it keeps lies in ``folder``."""
        raise NotImplementedError(f"{type(self).__qualname__}.make_store gives the store to test")

    def use(
        self,
        folder: Path,
        visit: Callable[[Probe], Awaitable[T]],
        *,
        now: float = NOW,
        react: React | None = None,
        follow: Follow | None = None,
    ) -> T:
        """Open the store in a Trio run of its own, visit it, and leave it in order."""

        async def main() -> T:
            store = self.make_store(folder)
            heard: list[Sequence[Change]] = []
            async with store.opened(now, react, follow or heard.append) as opened:
                with trio.fail_after(TEST_LIMIT):
                    return await visit(Probe(store, now, opened, heard))

        return trio.run(main)


D = TypeVar("D", bound=StoreDuties)


def in_store(test: Callable[[D, Probe], Awaitable[None]]) -> Callable[[D, Path], None]:
    """Make of an async test of an open store one that needs no plugin."""

    def run(self: D, tmp_path: Path) -> None:
        self.use(tmp_path, lambda probe: test(self, probe))

    run.__name__, run.__qualname__, run.__doc__ = test.__name__, test.__qualname__, test.__doc__
    return run
