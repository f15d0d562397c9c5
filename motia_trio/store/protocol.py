"""The store's contract. Whatever implements it decides what survives; every call is one step.

A *delivery* is one step's claim on a message. It is *waiting* (until its time, for room, or behind
the head of its group), or *leased* (somebody has it in hand), or gone: done, or buried as a dead
letter. Its *lane* is the kind of the trigger that it is for: the deliveries of one step are in as
many queues as it has lanes. An *item* is a value of the state or of a stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from motia_trio.messages import DeadLetter, Delivery, Message, Origin, Outcome, Route
    from motia_trio.store.work import Change, Committed, Item, Kind, Place, Work

__all__ = [
    "KEY_LIFETIME",
    "MAX_CRASHES",
    "Agenda",
    "Counts",
    "Follow",
    "Leased",
    "Missed",
    "Opened",
    "React",
    "Snapshot",
    "Store",
    "Swept",
    "Window",
]

# seconds for which a topic knows the key of a message. Source: motia-contract §8, "for a day"
KEY_LIFETIME = 86_400.0
# a delivery that was in a handler's hands so many times when the process died is buried
MAX_CRASHES = 3


class Window(NamedTuple):
    """One lane of one step: what is leased together, in one order."""

    step: str
    lane: str = "queue"


@frozen
class Leased:
    """What :meth:`Store.lease` gives. ``more``: others of this step and lane are due already.

    ``more`` and no deliveries: what is due may have to stand behind something that is on its way
    to be kept; ask again soon.
    """

    deliveries: Sequence[Delivery]
    more: bool


@frozen
class Agenda:
    """What there is to do.

    ``due``: the steps and lanes with a delivery that could be leased now. ``next_due_at``: the wall
    time at which the first of the others will have one (None: no such).
    """

    due: frozenset[Window]
    next_due_at: float | None


@frozen
class Counts:
    """Deliveries of one step, in all its lanes: due now, in hand, not due yet, buried.

    What its group holds back is ``waiting`` or ``delayed`` like all others: by its own time.
    """

    waiting: int = 0
    leased: int = 0
    delayed: int = 0
    dead: int = 0

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        return Counts(
            self.waiting + other.waiting,
            self.leased + other.leased,
            self.delayed + other.delayed,
            self.dead + other.dead,
        )


@frozen
class Swept:
    """What :meth:`Store.sweep` did. ``next_at``: when the next item or key expires, or None."""

    changes: Sequence[Change] = ()
    next_at: float | None = field(default=None)


@frozen
class Missed:
    """What became of one item while somebody did not follow.

    ``create``: it was not there before, and is now. ``update``: it was all the time, and is.
    ``delete``: it was, and then was not (``item`` is None); a ``create`` follows if it is there
    again. ``seq`` is that of its last change, or of the one that first removed it.
    """

    seq: int
    key: str
    kind: Kind
    item: Item | None


@frozen
class Snapshot:
    """The items of a group, or one of them, at one moment; or what changed up to it.

    ``seq`` is that of the last change of any stream that had been kept. ``items`` are all by key,
    in order, if ``missed`` is None. Else it has what changed since the change that was asked for,
    merged by key, in the order of ``Missed.seq``; and ``items`` is empty.
    """

    seq: int
    items: Mapping[str, Item]
    missed: Sequence[Missed] | None = None


@frozen
class Opened:
    """What a store found of the process that had it open before.

    ``latest``: the wall time of its newest message or change of a stream, or later; 0 without any.
    If it died: ``suspects`` counts the deliveries that are handled again, one at a time, and
    ``buried`` are the dead letters of those that handlers had in hand too often when it did.
    """

    latest: float = 0.0
    suspects: int = 0
    buried: Sequence[DeadLetter] = ()


# gives the messages that follow from changes; called with their origin and the wall time
React: TypeAlias = (
    "Callable[[Sequence[Change], Origin | None, float], Sequence[tuple[Message, Sequence[Route]]]]"
)

# is told the changes of streams; returns at once, and does not raise
Follow: TypeAlias = "Callable[[Sequence[Change]], None]"


class Store(Protocol):
    """Keeps messages, deliveries, dead letters and items.

    Duties of every implementation:

    * Each call is atomic: all of it happened or, if it raised, none of it. A writing
      call that is cancelled has not begun; one that has begun goes to its end, shielded, so that
      its caller can tell others of what is kept.
    * When a writing call returns, what it wrote is as durable as this store gets.
    * Writing calls may be made by many tasks at once, and take effect in some order that all
      readers agree on. Reading calls do not wait, and tell of nothing that is not kept.
    * A delivery is leased to one caller at a time. Leases end by :meth:`settle` or :meth:`commit`
      alone, or with the process: opening a store gives back all that was leased.
    * Deliveries of one step and lane are leased by priority, those of one priority in the order of
      the times at which they are due, those of one time in the order of their messages' ids and
      then of their routes. One that was given back has kept its place.
    * Deliveries of one step, lane and ``fifo`` group are leased one at a time, in that order but
      whatever their priority. The first is the head of its group from when it is due until it is
      gone, through retries, leases and restarts, whatever comes after it with an earlier time. One
      that is not due yet gives way to what is due before it.
    * What waits, or is leased, in one lane of a step is nothing to its other lanes: groups of one
      name in two lanes are two groups.
    * A delivery has one id for good, and the dead letter that it becomes has the same.
    * A delivery that a handler had in hand (:meth:`begin`) when the process died has that counted,
      if the store outlives the process; at :data:`MAX_CRASHES` it is buried when it is opened.
    * Every change of a stream has a place in one order of all of them (``Change.seq``), in the
      order of the commits, which goes on in the next process. A store begins it with a number that
      it made of the time, so that two stores do not have the same ones.
    * The last of these changes, about as many as it was made for (``log``), can be told by
      :meth:`snapshot` as what was missed. They are in the same commit as what they changed.
    * Times are wall seconds, and always the caller's. Where a clock goes back, a store may take it
      to stand still.
    * Names are any text that UTF-8 can write, each another than all others. What it cannot write of
      the words of a failure or a reason may be kept in other words.

    Any call may raise ``OSError`` (a disk that is full or broken): nothing of it happened then.
    """

    def opened(
        self, now: float, react: React | None = None, follow: Follow | None = None
    ) -> AbstractAsyncContextManager[Opened]:
        """Open the store for the length of a scope. Everything else is used inside it only.

        Gives what is left of a process that died with it open.

        ``react`` is asked for the messages that follow from changes of items, and may not wait:
        they are kept in the same step as the changes.

        ``follow`` is told the changes of streams, those of each commit and each sweep that has any,
        in the order of their numbers, on the Trio thread: once readers see them, and before whoever
        waits for that call goes on. It may not wait, raise, or write.

        Raises:
            StoreLocked, StoreDamaged, StoreTooNew, OSError: it cannot be opened; it was not
                changed.
        """
        ...

    def new_id(self, now: float) -> str:
        """Give an id for a message, greater than all that messages of this store have had."""
        ...

    async def commit(self, work: Work, now: float) -> Committed:
        """Keep everything in ``work`` in one step. A checkpoint.

        Messages and writes are kept in their order, then ``done`` is acknowledged. A message
        without routes is not kept, nor is its key.

        Routes with ``take`` whose delivery can be leased at ``now`` (it is due, nothing of its step
        and lane waits that could be leased, and its group has no other) are leased to the caller in
        the same step. While other calls are under way, a store may leave it waiting instead.

        Raises:
            Conflict: something in ``work.seen`` is not so any more.
            UpdateInvalid, ValueTooLarge: an update does not fit what is there, or makes too much.
            DoesNotFit: an update's ``check`` refuses what it would make.
            KeyError: ``work.done`` is not leased (it was settled before).
        """
        ...

    async def lease(self, step: str, limit: int, now: float, lane: str = "queue") -> Leased:
        """Lease up to ``limit`` due deliveries of one step and lane. A checkpoint."""
        ...

    def begin(self, delivery: Delivery) -> None:
        """Note that a handler is about to be called with a leased delivery. Returns at once."""
        ...

    async def settle(self, delivery: Delivery, outcome: Outcome, now: float) -> None:
        """End a lease with the outcome of the attempt. Once called it goes to its end, shielded.

        Raises:
            KeyError: the delivery is not leased (it was settled before).
        """
        ...

    def acknowledge(self, delivery: Delivery, then: Callable[[Exception | None], None]) -> bool:
        """Begin to end a lease with :class:`Ack`, and return at once.

        ``then`` is called on the Trio thread, soon or before this returns: with None when it is
        kept, with what :meth:`settle` would have raised when it is not. Gives False, and has done
        nothing, if this store would rather be awaited: call :meth:`settle` then.

        Raises:
            KeyError: the delivery is not leased (it was settled before).
        """
        ...

    async def cancel(self, message_id: str, now: float) -> int:
        """Drop the waiting deliveries of a message, and give how many. A checkpoint.

        Leased ones are the caller's, and dead letters stay.
        """
        ...

    async def redrive(self, ids: Collection[int], now: float) -> Sequence[int]:
        """Make dead letters due deliveries again, and give the ids of those there were, in order.

        They begin anew: no attempts, no crashes, no expiry. A checkpoint.
        """
        ...

    async def discard(self, ids: Collection[int]) -> Sequence[int]:
        """Forget dead letters, and give the ids of those there were, in order. A checkpoint."""
        ...

    async def sweep(self, limit: int, now: float) -> Swept:
        """Remove up to ``limit`` expired items, and keys that are over their time. A checkpoint.

        The first to expire go first. What follows from the changes is not taken: it waits.
        """
        ...

    def agenda(self, now: float) -> Agenda:
        """Tell which steps have something due in which lane, and when the next other will have."""
        ...

    def counts(self, now: float) -> Mapping[str, Counts]:
        """Tell how many deliveries there are, by step; of all its lanes.

        Steps without any may be missing.
        """
        ...

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
        """Tell the dead letters in the order of their ids, those that fit every filter.

        ``after`` is an id: page with the last one of the page before.
        """
        ...

    def read(self, place: Place, now: float) -> Item | None:
        """Give the item at a place."""
        ...

    def items(self, space: str, group: str, now: float) -> Mapping[str, Item]:
        """Give the items of a group by key, in the order of the keys."""
        ...

    def groups(self, space: str, now: float) -> Sequence[str]:
        """Give the names of the groups that have an item, in order."""
        ...

    def snapshot(
        self, space: str, group: str, key: str | None, now: float, since: int | None = None
    ) -> Snapshot:
        """Give the items of a group of a stream, or of one ``key`` alone, as of one change.

        Everything up to ``Snapshot.seq`` is in it, and nothing after. That may be more than
        ``follow`` was told by now: the rest is told soon.

        ``since`` is the ``seq`` of a change, or of an earlier snapshot. If the log still has just
        that number, what was missed is given instead of the items.
        """
        ...
