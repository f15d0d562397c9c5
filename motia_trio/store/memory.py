"""The store that lasts as long as its scope: for tests, and for work that may be lost."""

from __future__ import annotations

import heapq
from bisect import insort
from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING

import trio
from attrs import define, evolve, field

from motia_trio.messages import Ack, Bury, DeadLetter, Delivery, GiveBack, Retry
from motia_trio.store.ids import MessageIds, delivery_id
from motia_trio.store.planning import check_seen, plan_writes
from motia_trio.store.protocol import KEY_LIFETIME, Agenda, Counts, Leased, Swept
from motia_trio.store.work import Change, Committed, Item, Place

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Collection,
        Iterable,
        Mapping,
        Sequence,
    )

    from motia_trio.messages import Message, Origin, Outcome, Route
    from motia_trio.store.protocol import React
    from motia_trio.store.work import Work

__all__ = ["MemoryStore"]


@define(eq=False)
class _Claim:
    """A delivery that is not gone. It may be leased when it is ``head``, due, and not leased."""

    delivery: Delivery
    due_at: float
    head: bool = True
    leased: bool = False
    gone: bool = False

    @property
    def rank(self) -> tuple[float, int]:
        return self.due_at, self.delivery.id

    def open_at(self, due_at: float) -> bool:
        """Whether a heap's note of it, made for ``due_at``, is still true."""
        return self.head and not self.leased and not self.gone and self.due_at == due_at


@define(eq=False)
class _Group:
    """A fifo group: its head, and what stands behind it in the order in which it becomes due."""

    head: _Claim
    behind: list[_Claim] = field(factory=list)


@define(eq=False)
class _Shelf:
    """The deliveries of one step. The heaps may hold notes of claims that are not open any more."""

    ready: list[tuple[int, float, int, _Claim]] = field(factory=list)
    later: list[tuple[float, int, _Claim]] = field(factory=list)
    groups: dict[str, _Group] = field(factory=dict)
    claims: dict[int, _Claim] = field(factory=dict)
    dead: int = 0

    def enter(self, claim: _Claim, now: float) -> None:
        """Take a new claim in, at its place in its group."""
        self.claims[claim.delivery.id] = claim
        fifo = claim.delivery.fifo
        if fifo is not None:
            group = self.groups.get(fifo)
            if group is None:
                self.groups[fifo] = _Group(claim)
            elif self._gives_way(group.head, claim, now):
                group.head.head = False
                insort(group.behind, group.head, key=lambda each: each.rank)
                group.head = claim
            else:
                claim.head = False
                insort(group.behind, claim, key=lambda each: each.rank)
                return
        if not claim.leased:
            self.note(claim)

    @staticmethod
    def _gives_way(head: _Claim, claim: _Claim, now: float) -> bool:
        """A head that has never been due yet gives way to what is due before it."""
        delivery = head.delivery
        begun = head.leased or head.due_at <= now or delivery.failures or delivery.crashes
        return not begun and claim.rank < head.rank

    def note(self, claim: _Claim) -> None:
        """Put an open claim where it will be found when it is due."""
        heapq.heappush(self.later, (*claim.rank, claim))

    def leave(self, claim: _Claim) -> None:
        """A claim is gone: the next one of its group becomes the head."""
        claim.gone = True
        del self.claims[claim.delivery.id]
        fifo = claim.delivery.fifo
        if fifo is None:
            return
        group = self.groups[fifo]
        if group.head is not claim:
            group.behind.remove(claim)
        elif group.behind:
            group.head = group.behind.pop(0)
            group.head.head = True
            self.note(group.head)
        else:
            del self.groups[fifo]

    def promote(self, now: float) -> None:
        """Sort by priority what has become due, and forget notes that are not true any more."""
        while self.later:
            due_at, number, claim = self.later[0]
            if claim.open_at(due_at):
                if due_at > now:
                    break
                entry = (-claim.delivery.message.priority, due_at, number, claim)
                heapq.heappush(self.ready, entry)
            heapq.heappop(self.later)
        while self.ready and not self.ready[0][-1].open_at(self.ready[0][1]):
            heapq.heappop(self.ready)

    def lease(self, now: float) -> Delivery | None:
        """Lease the first that can be, or None."""
        self.promote(now)
        if not self.ready:
            return None
        claim = heapq.heappop(self.ready)[-1]
        claim.leased = True
        return claim.delivery


class MemoryStore:
    """Keeps everything in this process. Nothing survives it."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self._dead: dict[int, tuple[DeadLetter, Delivery]] = {}
        self._keys: dict[tuple[str, str], tuple[str, float]] = {}
        self._items = _Items()
        self._ids = MessageIds()
        self._version = 0
        self._react: React | None = None

    @asynccontextmanager
    async def opened(
        self,
        now: float,  # noqa: ARG002 - the contract's
        react: React | None = None,
    ) -> AsyncIterator[None]:
        """Open the store; leaving gives back every lease."""
        self._react = react
        try:
            yield
        finally:
            for shelf in self._shelves.values():
                for claim in shelf.claims.values():
                    if claim.leased:
                        claim.leased = False
                        shelf.note(claim)

    def new_id(self, now: float) -> str:
        """Give an id for a message."""
        return self._ids.next(now)

    # messages

    async def commit(self, work: Work, now: float) -> Committed:
        """Keep everything in ``work``."""
        await trio.lowlevel.checkpoint()
        if work.done is not None:
            self._leased(work.done)
        check_seen(work.seen, self._items, now)
        planned = plan_writes(work.writes, self._items, now, self._new_version)
        following = self._following(planned.changes, work.origin, now)
        arrivals = _arrivals((*work.messages, *following))  # may raise: before anything is kept
        self._items.take(planned.items)
        taken: list[Delivery] = []
        duplicates: dict[str, str] = {}
        for message, claims in arrivals:
            if known := self._known(message, now):
                duplicates[message.id] = known
                continue
            for delivery, route in claims:
                if self._enter(delivery, route, now):
                    taken.append(delivery)
        if work.done is not None:
            self._end(work.done)
        return Committed(taken, duplicates, planned.changes)

    def _following(
        self, changes: Sequence[Change], origin: Origin | None, now: float
    ) -> Sequence[tuple[Message, Sequence[Route]]]:
        return self._react(changes, origin, now) if self._react and changes else ()

    def _known(self, message: Message, now: float) -> str | None:
        """The id of the message that has this one's key, or None, and now this one has it."""
        if message.key is None:
            return None
        name = (message.topic, message.key)
        known, until = self._keys.get(name, ("", -inf))
        if now < until:
            return known
        self._keys[name] = (message.id, now + KEY_LIFETIME)
        return None

    def _enter(self, delivery: Delivery, route: Route, now: float) -> bool:
        """Take a delivery in. Tells whether it was leased to the caller at once."""
        shelf = self._shelf(route.step)
        shelf.promote(now)
        take = route.take and route.due_at <= now and not shelf.ready
        claim = _Claim(delivery, route.due_at)
        claim.leased = take and (route.fifo is None or route.fifo not in shelf.groups)
        shelf.enter(claim, now)
        return claim.leased

    async def lease(self, step: str, limit: int, now: float) -> Leased:
        """Lease up to ``limit`` due deliveries of one step."""
        await trio.lowlevel.checkpoint()
        shelf = self._shelf(step)
        taken: list[Delivery] = []
        while len(taken) < limit and (delivery := shelf.lease(now)) is not None:
            taken.append(delivery)
        shelf.promote(now)
        return Leased(taken, more=bool(shelf.ready))

    def begin(self, delivery: Delivery) -> None:
        """Nothing to note: this store does not outlive the process."""

    async def settle(self, delivery: Delivery, outcome: Outcome, now: float) -> None:
        """End a lease with the outcome of the attempt."""
        await trio.lowlevel.cancel_shielded_checkpoint()
        claim, shelf = self._leased(delivery), self._shelf(delivery.step)
        match outcome:
            case Ack():
                self._end(delivery)
            case GiveBack():
                claim.leased = False
                shelf.note(claim)
            case Retry(due_at, failure):
                kept = claim.delivery
                claim.delivery = evolve(kept, failures=(*kept.failures, failure))
                claim.due_at = due_at
                claim.leased = False
                shelf.note(claim)
            case Bury(reason, failure):
                kept = claim.delivery
                failures = (*kept.failures, *([failure] if failure else []))
                letter = DeadLetter(kept.id, kept.message, kept.step, reason, failures, now)
                self._dead[kept.id] = (letter, kept)
                shelf.dead += 1
                shelf.leave(claim)

    def acknowledge(self, delivery: Delivery, then: Callable[[Exception | None], None]) -> bool:
        """End a lease."""
        self._end(delivery)
        then(None)
        return True

    def _leased(self, delivery: Delivery) -> _Claim:
        claim = self._shelf(delivery.step).claims.get(delivery.id)
        if claim is None or not claim.leased:
            raise KeyError(f"delivery {delivery.id} is not leased")
        return claim

    def _end(self, delivery: Delivery) -> None:
        self._shelf(delivery.step).leave(self._leased(delivery))

    async def cancel(self, message_id: str, now: float) -> int:  # noqa: ARG002 - the contract's
        """Drop the waiting deliveries of a message."""
        await trio.lowlevel.checkpoint()
        cancelled = 0
        for shelf in self._shelves.values():
            for claim in list(shelf.claims.values()):
                if claim.delivery.message.id == message_id and not claim.leased:
                    shelf.leave(claim)
                    cancelled += 1
        return cancelled

    # dead letters

    async def redrive(self, ids: Collection[int], now: float) -> Sequence[int]:
        """Make dead letters due deliveries again."""
        await trio.lowlevel.checkpoint()
        found = sorted(each for each in set(ids) if each in self._dead)
        for number in found:
            _, dead = self._dead.pop(number)
            message = evolve(dead.message, expires_at=None)
            fresh = Delivery(dead.id, message, dead.step, dead.trigger, dead.fifo)
            shelf = self._shelf(dead.step)
            shelf.dead -= 1
            shelf.enter(_Claim(fresh, now), now)
        return found

    async def discard(self, ids: Collection[int]) -> Sequence[int]:
        """Forget dead letters."""
        await trio.lowlevel.checkpoint()
        found = sorted(each for each in set(ids) if each in self._dead)
        for number in found:
            _, dead = self._dead.pop(number)
            self._shelf(dead.step).dead -= 1
        return found

    def dead_letters(
        self,
        *,
        ids: Collection[int] | None = None,
        step: str | None = None,
        topic: str | None = None,
        died_before: float | None = None,
        after: int = 0,
        limit: int | None = None,
    ) -> Sequence[DeadLetter]:
        """Tell the dead letters in the order of their ids."""
        found = [
            letter
            for number in sorted(self._dead)
            if number > after and (ids is None or number in ids)
            for letter in (self._dead[number][0],)
            if (step is None or letter.step == step)
            and (topic is None or letter.message.topic == topic)
            and (died_before is None or letter.died_at < died_before)
        ]
        return found[:limit]

    # what there is

    def agenda(self, now: float) -> Agenda:
        """Tell which steps have something due, and when the next other one will have."""
        due: set[str] = set()
        following = inf
        for step, shelf in self._shelves.items():
            shelf.promote(now)
            if shelf.ready:
                due.add(step)
            elif shelf.later:
                following = min(following, shelf.later[0][0])
        return Agenda(frozenset(due), None if following == inf else following)

    def counts(self, now: float) -> dict[str, Counts]:
        """Tell how many deliveries there are, by step."""
        return {step: _counts(shelf, now) for step, shelf in self._shelves.items()}

    def _shelf(self, step: str) -> _Shelf:
        shelf = self._shelves.get(step)
        if shelf is None:
            shelf = self._shelves[step] = _Shelf()
        return shelf

    # items

    def read(self, place: Place, now: float) -> Item | None:
        """Give the item at a place."""
        return self._items.read(place, now)

    def items(self, space: str, group: str, now: float) -> Mapping[str, Item]:
        """Give the items of a group by key, in the order of the keys."""
        return self._items.items(space, group, now)

    def groups(self, space: str, now: float) -> Sequence[str]:
        """Give the names of the groups that have an item, in order."""
        return self._items.groups(space, now)

    async def sweep(self, limit: int, now: float) -> Swept:
        """Remove expired items, and keys that are over their time."""
        await trio.lowlevel.checkpoint()
        self._keys = {name: known for name, known in self._keys.items() if now < known[1]}
        gone = self._items.expired(limit, now)
        changes = [Change(place, item.value, None, expired=True) for place, item in gone.items()]
        try:
            arrivals = _arrivals(self._following(changes, None, now))
        except BaseException:
            self._items.take(gone)  # noted again: the next sweep finds them
            raise
        self._items.take(dict.fromkeys(gone))
        for message, claims in arrivals:
            if not self._known(message, now):
                for delivery, route in claims:
                    self._enter(delivery, evolve(route, take=False), now)
        ends = [until for _, until in self._keys.values()]
        if (expiry := self._items.next_expiry()) is not None:
            ends.append(expiry)
        return Swept(changes, min(ends, default=None))

    def _new_version(self) -> int:
        self._version += 1
        return self._version


def _arrivals(
    messages: Iterable[tuple[Message, Sequence[Route]]],
) -> list[tuple[Message, list[tuple[Delivery, Route]]]]:
    """The deliveries of messages; of those that go nowhere nothing is kept, nor is their key."""
    return [
        (
            message,
            [
                (
                    Delivery(
                        delivery_id(int(message.id, 16), n), message, to.step, to.trigger, to.fifo
                    ),
                    to,
                )
                for n, to in enumerate(routes)
            ],
        )
        for message, routes in messages
        if routes
    ]


def _counts(shelf: _Shelf, now: float) -> Counts:
    leased = delayed = 0
    for claim in shelf.claims.values():
        leased += claim.leased
        delayed += not claim.leased and claim.due_at > now
    waiting = len(shelf.claims) - leased - delayed
    return Counts(waiting=waiting, leased=leased, delayed=delayed, dead=shelf.dead)


class _Items:
    """Items by space, group and key, and when they expire."""

    def __init__(self) -> None:
        self._spaces: dict[str, dict[str, dict[str, Item]]] = {}
        self._expiry: list[tuple[float, str, str, str]] = []

    def read(self, place: Place, now: float) -> Item | None:
        space, group, key = place
        item = self._spaces.get(space, {}).get(group, {}).get(key)
        return item if item is not None and item.live(now) else None

    def items(self, space: str, group: str, now: float) -> dict[str, Item]:
        found = self._spaces.get(space, {}).get(group, {})
        return {key: found[key] for key in sorted(found) if found[key].live(now)}

    def groups(self, space: str, now: float) -> list[str]:
        found = self._spaces.get(space, {})
        return sorted(
            name for name, items in found.items() if any(item.live(now) for item in items.values())
        )

    def take(self, items: Mapping[Place, Item | None]) -> None:
        """Write items, and remove those that are None."""
        for place, item in items.items():
            groups = self._spaces.setdefault(place.space, {})
            keys = groups.setdefault(place.group, {})
            if item is None:
                keys.pop(place.key, None)
                if not keys:
                    del groups[place.group]
                continue
            keys[place.key] = item
            if item.expires_at is not None:
                note = (item.expires_at, place.space, place.group, place.key)
                heapq.heappush(self._expiry, note)

    def expired(self, limit: int, now: float) -> dict[Place, Item]:
        """Give up to ``limit`` expired items, the first to expire first, and forget their notes."""
        gone: dict[Place, Item] = {}
        while len(gone) < limit and self._expiry and self._expiry[0][0] <= now:
            found = self._noted(heapq.heappop(self._expiry))
            if found is not None:
                gone[found[0]] = found[1]
        return gone

    def next_expiry(self) -> float | None:
        """The time at which the next item expires or has expired, None if none will."""
        while self._expiry and self._noted(self._expiry[0]) is None:
            heapq.heappop(self._expiry)
        return self._expiry[0][0] if self._expiry else None

    def _noted(self, note: tuple[float, str, str, str]) -> tuple[Place, Item] | None:
        """The item that a note is about, if it is still so."""
        expires_at, space, group, key = note
        item = self._spaces.get(space, {}).get(group, {}).get(key)
        if item is None or item.expires_at != expires_at:
            return None
        return Place(space, group, key), item
