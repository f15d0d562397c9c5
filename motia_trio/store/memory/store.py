"""The store that lasts as long as its scope: for tests, and for work that may be lost."""

from __future__ import annotations

from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING

import trio
from attrs import evolve

from motia_trio.messages import Ack, Bury, DeadLetter, Delivery, GiveBack, Retry
from motia_trio.store.ids import MessageIds
from motia_trio.store.log import LOG_ROWS, Log, missed_of, time_of
from motia_trio.store.memory.items import Items
from motia_trio.store.memory.shelf import Claim, Shelf, arrivals_of, counts_of
from motia_trio.store.planning import check_seen, expiries, plan_writes
from motia_trio.store.protocol import (
    KEY_LIFETIME,
    Agenda,
    Counts,
    Leased,
    Opened,
    Snapshot,
    Swept,
    Window,
)
from motia_trio.store.work import Change, Committed, Item, Place

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Callable,
        Collection,
        Mapping,
        Sequence,
    )

    from motia_trio.messages import Message, Origin, Outcome, Route
    from motia_trio.store.protocol import Follow, React
    from motia_trio.store.work import Work

__all__ = ["MemoryStore"]


class MemoryStore:
    """Keeps everything in this process. Nothing survives it.

    ``log``: how many changes of streams it remembers, for those who come back.
    """

    def __init__(self, log: int = LOG_ROWS) -> None:
        self._shelves: dict[tuple[str, str], Shelf] = {}  # by step and lane
        self._dead: dict[int, tuple[DeadLetter, Delivery]] = {}
        self._keys: dict[tuple[str, str], tuple[str, float]] = {}
        self._items = Items()
        self._ids = MessageIds()
        self._version = 0
        self._log = Log(log)
        self._react: React | None = None

    @asynccontextmanager
    async def opened(
        self, now: float, react: React | None = None, follow: Follow | None = None
    ) -> AsyncIterator[Opened]:
        """Open the store; leaving gives back every lease."""
        self._react = react
        latest = time_of(self._log.last) if self._log.last else 0.0
        self._log.follow = follow
        if not self._log.last:
            self._log.begin(self._log.next(now))
        try:
            yield Opened(latest)
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
        # at once, and only then let others run: what is asked for first, at its `now`, comes first
        await trio.lowlevel.checkpoint_if_cancelled()
        committed = self._commit(work, now)
        await trio.lowlevel.cancel_shielded_checkpoint()
        return committed

    def _commit(self, work: Work, now: float) -> Committed:
        if work.done is not None:
            self._leased(work.done)
        check_seen(work.seen, self._items, now)
        planned = plan_writes(
            work.writes, self._items, now, self._new_version, lambda: self._log.next(now)
        )
        following = self._following(planned.changes, work.origin, now)
        arrivals = arrivals_of((*work.messages, *following))  # may raise: before anything is kept
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
        self._tell(planned.changes)
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
        shelf = self._shelf(route.step, route.lane)
        shelf.promote(now)
        take = route.take and route.due_at <= now and not shelf.ready
        claim = Claim(delivery, route.due_at)
        claim.leased = take and (route.fifo is None or route.fifo not in shelf.groups)
        shelf.enter(claim, now)
        return claim.leased

    async def lease(self, step: str, limit: int, now: float, lane: str = "queue") -> Leased:
        """Lease up to ``limit`` due deliveries of one step and lane."""
        await trio.lowlevel.checkpoint()
        shelf = self._shelf(step, lane)
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
        shelf, claim = self._leased(delivery)
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

    def _leased(self, delivery: Delivery) -> tuple[Shelf, Claim]:
        shelf = self._shelf(delivery.step, delivery.lane)
        claim = shelf.claims.get(delivery.id)
        if claim is None or not claim.leased:
            raise KeyError(f"delivery {delivery.id} is not leased")
        return shelf, claim

    def _end(self, delivery: Delivery) -> None:
        shelf, claim = self._leased(delivery)
        shelf.leave(claim)

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
            fresh = evolve(dead, message=message, failures=(), crashes=0)
            shelf = self._shelf(dead.step, dead.lane)
            shelf.dead -= 1
            shelf.enter(Claim(fresh, now), now)
        return found

    async def discard(self, ids: Collection[int]) -> Sequence[int]:
        """Forget dead letters."""
        await trio.lowlevel.checkpoint()
        found = sorted(each for each in set(ids) if each in self._dead)
        for number in found:
            _, dead = self._dead.pop(number)
            self._shelf(dead.step, dead.lane).dead -= 1
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
        """Tell which steps have something due in which lane, and when the next other will have."""
        due: set[Window] = set()
        following = inf
        for pair, shelf in self._shelves.items():
            shelf.promote(now)
            if shelf.ready:
                due.add(Window(*pair))
            elif shelf.later:
                following = min(following, shelf.later[0][0])
        return Agenda(frozenset(due), None if following == inf else following)

    def counts(self, now: float) -> dict[str, Counts]:
        """Tell how many deliveries there are, by step."""
        found: dict[str, Counts] = {}
        for (step, _), shelf in self._shelves.items():
            found[step] = found.get(step, Counts()) + counts_of(shelf, now)
        return found

    def _shelf(self, step: str, lane: str) -> Shelf:
        shelf = self._shelves.get((step, lane))
        if shelf is None:
            shelf = self._shelves[step, lane] = Shelf()
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
        changes = expiries(gone, lambda: self._log.next(now))
        try:
            arrivals = arrivals_of(self._following(changes, None, now))
        except BaseException:
            self._items.take(gone)  # noted again: the next sweep finds them
            raise
        self._items.take(dict.fromkeys(gone))
        for message, claims in arrivals:
            if not self._known(message, now):
                for delivery, route in claims:
                    self._enter(delivery, evolve(route, take=False), now)
        self._tell(changes)
        ends = [until for _, until in self._keys.values()]
        if (expiry := self._items.next_expiry()) is not None:
            ends.append(expiry)
        return Swept(changes, min(ends, default=None))

    def _tell(self, changes: Sequence[Change]) -> None:
        """Changes are kept: tell those of streams."""
        followed = [change for change in changes if change.seq]
        if followed:
            self._log.keep(followed, self._log.excess())

    def snapshot(
        self, space: str, group: str, key: str | None, now: float, since: int | None = None
    ) -> Snapshot:
        """Give the items of a group of a stream, or of one ``key`` alone, as of one change."""
        last = self._log.last
        if key is None:
            items = self._items.items(space, group, now)
        else:
            item = self._items.read(Place(space, group, key), now)
            items = {} if item is None else {key: item}
        if since is None or since not in self._log:
            return Snapshot(last, items)
        rows = self._log.after(since, space, group, key)
        return Snapshot(last, {}, missed_of(rows, items, now))

    def _new_version(self) -> int:
        self._version += 1
        return self._version
