"""The store's verbs over a SQLite file: planned on the Trio thread, carried out by the writer.

Leases, and what is on its way to the disk, are known here and nowhere else; what waits is known to
the file alone, so that memory does not grow with it.
"""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, asynccontextmanager
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import trio
from attrs import evolve

from motia_trio.errors import Conflict
from motia_trio.messages import Ack, Bury, Delivery, GiveBack, Retry
from motia_trio.store.ids import MessageIds, delivery_id, time_of
from motia_trio.store.log import LOG_ROWS, Log
from motia_trio.store.log import time_of as time_of_change
from motia_trio.store.planning import check_seen, expiries, plan_writes
from motia_trio.store.protocol import (
    KEY_LIFETIME,
    MAX_CRASHES,
    Agenda,
    Counts,
    Leased,
    Opened,
    Swept,
    Window,
)
from motia_trio.store.sqlite import rows as row
from motia_trio.store.sqlite.file import connect_reader, connect_writer, make_folder
from motia_trio.store.sqlite.hands import Hands
from motia_trio.store.sqlite.items import Ahead, Items
from motia_trio.store.sqlite.lock import locked
from motia_trio.store.sqlite.plan import Plan
from motia_trio.store.sqlite.reading import Reader
from motia_trio.store.sqlite.shelf import Shelf
from motia_trio.store.sqlite.snapshot import take_snapshot
from motia_trio.store.sqlite.writer import Op, Writer
from motia_trio.store.work import Committed

if TYPE_CHECKING:
    import os
    import sqlite3
    from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

    from motia_trio.messages import DeadLetter, Message, Outcome, Route
    from motia_trio.store.protocol import Follow, React, Snapshot
    from motia_trio.store.sqlite.file import Synchronous
    from motia_trio.store.work import Item, Place, Work

__all__ = ["SqliteStore"]

T = TypeVar("T")

# keys over their time that one sweep forgets
FORGOTTEN_AT_ONCE = 1000


class SqliteStore:
    """Keeps everything in the file at ``path``, whose folder is made if need be.

    ``synchronous="full"`` syncs the disk at each commit; ``"normal"`` leaves that to checkpoints:
    then a power cut, though not the end of the process, may lose the last commits. ``log``: how
    many changes of streams it remembers, for those who come back.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        synchronous: Synchronous = "full",
        log: int = LOG_ROWS,
    ) -> None:
        self.path = Path(path)
        self._log = Log(log)
        self._log_rows = log
        self._synchronous: Synchronous = synchronous
        self._shelves: dict[tuple[str, str], Shelf] = {}  # by step and lane
        self._ids = MessageIds()
        self._keys: dict[tuple[str, str], tuple[str, Plan]] = {}
        self._moving: set[int] = set()
        self._latest = 0.0
        self._react: React | None = None
        self._writer: Writer
        self._reader: Reader
        self._items: Items
        self._ahead: Ahead
        self._hands: Hands

    @asynccontextmanager
    async def opened(
        self, now: float, react: React | None = None, follow: Follow | None = None
    ) -> AsyncIterator[Opened]:
        """Open the file, and close it when the scope is left."""
        self._react = react
        with ExitStack() as stack:
            make_folder(self.path.parent)
            self.path = self.path.resolve()  # one file has one lock, by whatever name it is called
            stack.enter_context(locked(self.path))
            connection = await trio.to_thread.run_sync(connect_writer, self.path, self._synchronous)
            stack.callback(connection.close)
            self._reader = Reader(connect_reader(self.path), self.path)
            stack.callback(self._reader.close)
            self._hands = Hands(self.path.with_name(self.path.name + ".hands"))
            stack.callback(self._hands.close)
            self._items = Items(self._reader)
            self._ahead = Ahead(self._items)
            self._ids = MessageIds(self._reader.last_message())
            self._latest = max(now, time_of(self._reader.last_message()))
            self._log = Log(self._log_rows, self._reader.changes_after(0))
            self._log.follow = follow
            self._shelves = self._reader.shelves()
            self._keys.clear()
            self._moving.clear()
            self._writer = Writer(connection, self._forget_ahead)
            self._writer.start()
            try:
                opened = await self._count_crashes(now)
                await self._begin_log(now)
                yield opened
            finally:
                await self._writer.stop()  # noqa: ASYNC102 - shields itself

    async def _count_crashes(self, now: float) -> Opened:
        """Count what handlers had in hand when the last process died; bury what goes too far."""
        acts: list[row.Row] = []
        buried: list[int] = []
        left = self._reader.undone(self._hands.left)
        for number, step, fifo, crashes in left:
            acts.append(row.crashed_row(number))
            if crashes + 1 >= MAX_CRASHES:
                reason = f"the process died {crashes + 1} times while a handler had it in hand"
                acts.append(row.bury_row(number, step, fifo, reason, now))
                buried.append(number)
        if acts:
            op: Op[None] = Op()
            op.acts = acts
            await self._writer.do(op)
            self._shelves = self._reader.shelves()
        self._hands.clear_left()
        letters = self.dead_letters(ids=buried) if buried else ()
        latest = max(time_of(self._reader.last_message()), time_of_change(self._log.last))
        return Opened(latest, suspects=len(left) - len(buried), buried=letters)

    async def _begin_log(self, now: float) -> None:
        """Give the order of changes its first number, if this file has none yet."""
        if not self._log.last:
            first = self._log.next(now)
            op: Op[None] = Op()
            op.acts = [row.first_row(first)]
            await self._writer.do(op)
            self._log.begin(first)

    def new_id(self, now: float) -> str:
        """Give an id for a message."""
        return self._ids.next(now)

    # messages

    async def commit(self, work: Work, now: float) -> Committed:
        """Keep everything in ``work``."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if work.done is not None:
            self._leased(work.done)
        try:
            check_seen(work.seen, self._ahead, now)
        except Conflict:
            # who runs again must see what was in its way: that may be on its way to the disk
            await self._writer.do(Op())  # noqa: ASYNC120 - who is cancelled runs nothing again
            raise
        planned = plan_writes(
            work.writes,
            self._ahead,
            now,
            lambda: int(self.new_id(now), 16),
            lambda: self._log.next(now),
        )
        messages = work.messages
        if self._react is not None and planned.changes:
            messages = (*messages, *self._react(planned.changes, work.origin, now))
        duplicates: dict[str, str] = {}
        with self._plan() as plan:
            for message, routes in messages:
                self._plan_message(plan, message, routes, duplicates, now)
            if work.done is not None:
                self._plan_done(plan, work.done)
            plan.write(planned.items, planned.changes, self._log)
            if not plan.acts and (self._keys or self._ahead.places):
                # what is told is told of what may be on its way: not before that is kept
                await self._writer.do(Op())
            await self._do(plan)
        return Committed(plan.taken, duplicates, planned.changes)

    def _plan_message(
        self,
        plan: Plan,
        message: Message,
        routes: Sequence[Route],
        duplicates: dict[str, str],
        now: float,
    ) -> None:
        number = int(message.id, 16)
        if message.key is not None and routes:
            name = (message.topic, message.key)
            ahead = self._keys.get(name)
            known = ahead[0] if ahead else self._reader.sent(*name, now)
            if known is not None:
                duplicates[message.id] = known
                return
            plan.know_key(name, message.id)
            plan.acts.append(row.key_row(number, *name, now + KEY_LIFETIME))
        self._latest = max(self._latest, now)
        for index, route in enumerate(routes):
            shelf = self._shelf(route.step, route.lane)
            if not shelf.known:
                plan.acts.append(row.step_row(shelf.number, route.step, route.lane))
                plan.know_step(shelf)
            claim = delivery_id(number, index)
            delivery = Delivery(
                claim, message, route.step, route.trigger, route.fifo, lane=route.lane
            )
            take = route.take and route.due_at <= now and self._free_to_take(shelf, route.fifo, now)
            held = not take and self._held_back(shelf, route, now)
            plan.add(shelf, delivery, route.due_at, self._latest, take=take, held=held)
            if index:
                act = row.delivery_row(delivery.id, message, shelf.number, route, self._latest)
            else:
                act = row.message_row(number, message, shelf.number, route, self._latest)
            plan.acts.append(act)
            plan.size += len(message.payload)

    def _free_to_take(self, shelf: Shelf, fifo: str | None, now: float) -> bool:
        """Whether what comes now may be leased at once: nothing is before it."""
        if shelf.first_arriving <= now or self._earliest(shelf, now) <= now:
            return False
        if fifo is None:
            return True
        return fifo not in shelf.arriving_groups and self._reader.head(shelf.number, fifo) is None

    def _held_back(self, shelf: Shelf, route: Route, now: float) -> bool:
        """Whether what comes now stands behind something of its group that is due; False if unsure.

        Only for what comes after it and is to be taken, so nobody asks where that is settled.
        """
        if route.fifo is None or route.due_at > now or shelf.first_arriving <= now:
            return False
        if any(due_at <= now for _, due_at in shelf.arriving_groups.get(route.fifo, ())):
            return True
        head = self._reader.head(shelf.number, route.fifo)
        if head is None or head[0] in shelf.ending:
            return False
        _, due_at, tried = head
        return tried or due_at <= self._latest

    def _plan_done(self, plan: Plan, delivery: Delivery) -> None:
        shelf = self._shelf(delivery.step, delivery.lane)
        plan.end(shelf, delivery)
        plan.acts.append(
            row.done_row(delivery.id, shelf.number, delivery.fifo, failed=bool(delivery.failures))
        )

    async def lease(self, step: str, limit: int, now: float, lane: str = "queue") -> Leased:
        """Lease up to ``limit`` due deliveries of one step and lane."""
        await trio.lowlevel.checkpoint()
        self._latest = max(self._latest, now)
        shelf = self._shelf(step, lane)
        due: dict[int, float] = {}
        for priority in sorted(shelf.priorities, reverse=True):
            found = self._reader.due(shelf.number, priority, now, limit - len(due) + 1 + shelf.out)
            due |= {number: due_at for due_at, number in found if shelf.free(number)}
            if len(due) > limit:
                break
        loaded = self._reader.load(step, lane, [*due][:limit])
        deliveries = [each for each in loaded if not shelf.may_give_way(each, due[each.id])]
        for delivery in deliveries:
            shelf.leased[delivery.id] = delivery
        shelf.doubt()
        return Leased(deliveries, more=len(due) > len(deliveries))

    def begin(self, delivery: Delivery) -> None:
        """Note that a handler is about to be called with a leased delivery."""
        self._hands.take(delivery.id)

    async def settle(self, delivery: Delivery, outcome: Outcome, now: float) -> None:
        """End a lease with the outcome of the attempt."""
        self._leased(delivery)
        shelf = self._shelf(delivery.step, delivery.lane)
        if isinstance(outcome, GiveBack):
            self._release(shelf, delivery)
            return
        with self._plan() as plan:
            number, acts = delivery.id, plan.acts
            match outcome:
                case Ack():
                    self._plan_done(plan, delivery)
                case Retry(due_at, failure):
                    plan.put_back(shelf, delivery, due_at)
                    acts += (row.retry_row(number, due_at), row.failure_row(number, failure))
                case Bury(reason, last):
                    plan.end(shelf, delivery, dead=1)
                    if last is not None:
                        acts.append(row.failure_row(number, last))
                    acts.append(row.bury_row(number, shelf.number, delivery.fifo, reason, now))
            await self._do(plan)

    def acknowledge(self, delivery: Delivery, then: Callable[[Exception | None], None]) -> bool:
        """Begin to end a lease. On a virtual clock, which must not jump meanwhile, be awaited."""
        if self._writer.virtual:
            return False
        self._leased(delivery)
        with self._plan() as plan:
            self._plan_done(plan, delivery)
            self._submit(plan).then = then
        return True

    def _leased(self, delivery: Delivery) -> None:
        if delivery.id not in self._shelf(delivery.step, delivery.lane).leased:
            raise KeyError(f"delivery {delivery.id} is not leased")

    def _release(self, shelf: Shelf, delivery: Delivery) -> None:
        """Nobody has it in hand any more; the file has had it all the time."""
        del shelf.leased[delivery.id]
        self._hands.put_down(delivery.id)
        shelf.doubt()

    async def cancel(self, message_id: str, now: float) -> int:  # noqa: ARG002 - the contract's
        """Drop the waiting deliveries of a message."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            number = int(message_id, 16)
            ours = f"{number:014x}" == message_id
            deliveries = self._reader.of_message(number) if ours else []
        except (ValueError, OverflowError):  # no id of ours
            deliveries = []
        cancelled = 0
        with self._plan() as plan:
            for number, step, lane, fifo, attempts in deliveries:
                shelf = self._shelf(step, lane)
                if shelf.free(number):
                    cancelled += 1
                    plan.drop(shelf, number)
                    plan.acts.append(row.done_row(number, shelf.number, fifo, failed=attempts > 0))
            await self._do(plan)
        return cancelled

    # dead letters

    async def redrive(self, ids: Collection[int], now: float) -> Sequence[int]:
        """Make dead letters due deliveries again."""
        await trio.lowlevel.checkpoint_if_cancelled()
        found: list[int] = []
        self._latest = max(self._latest, now)
        with self._plan() as plan:
            for letter, lane, trigger, fifo in self._letters(ids):
                if letter.id in self._moving:
                    continue
                found.append(letter.id)
                shelf, priority = self._shelf(letter.step, lane), letter.message.priority
                plan.redrive(shelf, letter, fifo, now, self._latest)
                plan.acts.append(
                    row.redrive_row(
                        letter.id, shelf.number, trigger, fifo, priority, now, self._latest
                    )
                )
            await self._do(plan)
        return found

    async def discard(self, ids: Collection[int]) -> Sequence[int]:
        """Forget dead letters."""
        await trio.lowlevel.checkpoint_if_cancelled()
        found: list[int] = []
        with self._plan() as plan:
            for letter, lane, _, _ in self._letters(ids):
                if letter.id not in self._moving:
                    found.append(letter.id)
                    plan.discard(self._shelf(letter.step, lane), letter)
                    plan.acts.append(row.discard_row(letter.id))
            await self._do(plan)
        return found

    def _letters(self, ids: Collection[int]) -> Sequence[tuple[DeadLetter, str, int, str | None]]:
        return self._reader.dead_letters(ids, None, None, None, 0, None)

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
        found = self._reader.dead_letters(ids, step, topic, died_before, after, limit)
        return [letter for letter, *_ in found]

    # what there is

    def agenda(self, now: float) -> Agenda:
        """Tell which steps have something due in which lane, and when the next other will have."""
        due: set[Window] = set()
        following = inf
        for pair, shelf in self._shelves.items():
            earliest = self._earliest(shelf, now)
            if earliest <= now:
                due.add(Window(*pair))
            else:
                following = min(following, earliest)
        return Agenda(frozenset(due), None if following == inf else following)

    def _earliest(self, shelf: Shelf, now: float) -> float:
        """When the first delivery that the file has may be leased, if before then exactly."""
        if not shelf.sure and shelf.earliest <= now:
            shelf.earliest, shelf.sure = inf, True
            for priority in shelf.priorities:
                found = self._reader.due(shelf.number, priority, inf, 1 + shelf.out)
                free = (due_at for due_at, number in found if shelf.free(number))
                shelf.note(next(free, inf))
        return shelf.earliest

    def counts(self, now: float) -> Mapping[str, Counts]:
        """Tell how many deliveries there are, by step."""
        found: dict[str, Counts] = {}
        for (step, _), shelf in self._shelves.items():
            delayed = 0
            if shelf.undone > shelf.in_hand:
                delayed = self._reader.delayed(shelf.number, shelf.priorities, now)
            found[step] = found.get(step, Counts()) + Counts(
                waiting=max(0, shelf.undone - shelf.in_hand - delayed),
                leased=shelf.in_hand,
                delayed=delayed,
                dead=shelf.dead,
            )
        return found

    def leased(self) -> Mapping[str, int]:
        """Tell how many deliveries of each step are in hand, or on their way out of it."""
        found: Counter[str] = Counter()
        for (step, _), shelf in self._shelves.items():
            found[step] += shelf.out
        return +found

    def _shelf(self, step: str, lane: str) -> Shelf:
        shelf = self._shelves.get((step, lane))
        if shelf is None:
            highest = max((each.number for each in self._shelves.values()), default=0)
            shelf = self._shelves[step, lane] = Shelf(highest + 1)
        return shelf

    # items

    def read(self, place: Place, now: float) -> Item | None:
        """Give the item at a place."""
        # what is on its way may be in the file already, where the other readers would see it
        if place in self._ahead.places:
            return self._items.read_file(place, now)
        return self._items.read(place, now)

    def items(self, space: str, group: str, now: float) -> Mapping[str, Item]:
        """Give the items of a group by key, in the order of the keys."""
        return self._items.items(space, group, now)

    def groups(self, space: str, now: float) -> Sequence[str]:
        """Give the names of the groups that have an item, in order."""
        return self._items.groups(space, now)

    def snapshot(
        self, space: str, group: str, key: str | None, now: float, since: int | None = None
    ) -> Snapshot:
        """Give the items of a group of a stream, or of one ``key`` alone, as of one change."""
        return take_snapshot(self._reader, self._log, space, group, key, now, since)

    async def sweep(self, limit: int, now: float) -> Swept:
        """Remove expired items, and keys that are over their time."""
        await trio.lowlevel.checkpoint_if_cancelled()
        gone = {
            place: item
            for place, item in self._reader.expired(limit, now)
            if place not in self._ahead.places
        }
        changes = expiries(gone, lambda: self._log.next(now))
        with self._plan() as plan:
            if self._react is not None and changes:
                for message, routes in self._react(changes, None, now):
                    untaken = [evolve(route, take=False) for route in routes]
                    self._plan_message(plan, message, untaken, {}, now)
            plan.write(dict.fromkeys(gone), changes, self._log)
            if self._reader.keys_are_over(now):
                plan.acts.append(row.forget_keys_row(FORGOTTEN_AT_ONCE, now))
            await self._do(plan)
        return Swept(changes, self._reader.next_expiry())

    # the way to the disk

    def _plan(self) -> Plan:
        return Plan(self._ahead, self._keys, self._moving, self._hands)

    async def _do(self, plan: Plan) -> None:
        if not plan.acts:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        await self._submit(plan).wait()

    def _submit(self, plan: Plan) -> Plan:
        self._writer.submit(plan)
        plan.submitted = True
        return plan

    async def alone(self, call: Callable[[sqlite3.Connection], T]) -> T | None:
        """Have the writer's thread call something with the connection, between two commits.

        Raises:
            StoreBroken: it raised.
        """
        return await self._writer.do(Op(call))

    def _forget_ahead(self) -> None:
        """A commit failed: what was planned after it, on top of it, fails too."""
        self._ahead.clear()
        self._keys.clear()
