"""A bounded mailbox with lanes: what waits, for whom, and how much of it may be in hand at once."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

import trio
from attrs import field, frozen
from attrs.validators import ge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Lane", "Mailbox", "MailboxStatistics"]

T = TypeVar("T")


@frozen
class Lane:
    """One kind of entry: ``limit`` of them may be in hand at once, ``share`` may wait.

    ``kept`` places are its own: other lanes leave them free.
    """

    limit: int = field(validator=ge(1))
    share: int = field(validator=ge(1))
    kept: int = field(default=0, validator=ge(0))


@frozen
class MailboxStatistics:
    """Figures of one mailbox. ``oldest_age`` is in seconds, 0 when nothing waits."""

    capacity: int
    used: int
    peak: int
    received: int
    refused: int
    oldest_age: float


class _Queue(Generic[T]):
    """One lane's entries, with the time at which each came."""

    __slots__ = ("entries", "in_hand", "lane", "name", "reserved")

    def __init__(self, name: str, lane: Lane) -> None:
        self.name = name
        self.lane = lane
        self.entries: deque[tuple[float, T, int]] = deque()
        self.in_hand = 0
        self.reserved = 0

    @property
    def used(self) -> int:
        return len(self.entries) + self.reserved

    @property
    def kept_free(self) -> int:
        """How many of its own places nothing is in."""
        return max(0, self.lane.kept - self.used)

    def put(self, item: T, priority: int) -> None:
        entries = self.entries
        at = len(entries)
        while at and entries[at - 1][2] < priority:
            at -= 1
        entries.insert(at, (trio.current_time(), item, priority))


class Mailbox(Generic[T]):
    """Entries in lanes, ``capacity`` of them in all. Nothing here waits; a ``Crew`` does."""

    def __init__(self, capacity: int, lanes: Mapping[str, Lane]) -> None:
        if capacity < 1:
            raise ValueError(f"a mailbox holds at least 1 entry, not {capacity}")
        kept = sum(lane.kept for lane in lanes.values())
        if kept > capacity:
            raise ValueError(f"{kept} places are kept for lanes of a mailbox that has {capacity}")
        self.capacity = capacity
        self.on_entry: Callable[[], None] = lambda: None
        self._queues = {name: _Queue[T](name, lane) for name, lane in lanes.items()}
        self._turns = list(self._queues.values())
        self._anybodys = capacity - kept
        self._used = 0
        self._waiting = 0
        self._peak = 0
        self._received = 0
        self._refused = 0

    def room(self, lane: str) -> int:
        """How many more entries this lane may take now."""
        queue = self._queues[lane]
        return max(0, min(self._free_for(queue), queue.lane.share - queue.used))

    def _free_for(self, queue: _Queue[T]) -> int:
        """How many places there are, but for those that are kept for others."""
        kept = sum(other.kept_free for other in self._turns if other is not queue)
        return self.capacity - self._used - kept

    def has(self, lane: str) -> bool:
        """Whether there is such a lane."""
        return lane in self._queues

    def share(self, lane: str) -> int:
        """How many entries of this lane may wait."""
        return self._queues[lane].lane.share

    def used(self, lane: str) -> int:
        """How many places of this lane are taken or reserved."""
        return self._queues[lane].used

    def offer(self, lane: str, item: T) -> bool:
        """Put an entry in, or give False (and count it as refused) when there is no room."""
        if not self.reserve(lane):
            self._refused += 1
            return False
        self.fill(lane, item)
        return True

    def reserve(self, lane: str) -> bool:
        """Keep a place for an entry that is about to come; :meth:`fill` or :meth:`free` it."""
        queue = self._queues[lane]
        if queue.used >= queue.lane.share:
            return False
        if self._used >= self._anybodys and self._free_for(queue) <= 0:
            return False
        queue.reserved += 1
        self._used += 1
        return True

    def fill(self, lane: str, item: T, priority: int = 0) -> None:
        """Put an entry into a place that was reserved: before those of lower ``priority``."""
        queue = self._queues[lane]
        queue.reserved -= 1
        queue.put(item, priority)
        self._received += 1
        self._waiting += 1
        self._peak = max(self._peak, self._waiting)
        if queue.in_hand < queue.lane.limit:
            self.on_entry()

    def free(self, lane: str) -> None:
        """Give back a place that was reserved."""
        self._queues[lane].reserved -= 1
        self._used -= 1

    def take(self, *, only: int | None = None) -> tuple[str, T] | None:
        """Take the next entry in hand, lanes in turn; None if none may be taken now.

        ``only`` bounds how many may be in hand in all, over the limits of the lanes.
        """
        if only is not None and self.in_hand >= only:
            return None
        for index, queue in enumerate(self._turns):
            if queue.entries and queue.in_hand < queue.lane.limit:
                _, item, _ = queue.entries.popleft()
                queue.in_hand += 1
                self._used -= 1
                self._waiting -= 1
                if len(self._turns) > 1:  # the lane that had its turn goes last
                    self._turns.append(self._turns.pop(index))
                return queue.name, item
        return None

    def takeable(self) -> bool:
        """Whether :meth:`take` would give an entry."""
        return any(q.entries and q.in_hand < q.lane.limit for q in self._queues.values())

    def done(self, lane: str) -> None:
        """Say that an entry of this lane is no longer in hand."""
        self._queues[lane].in_hand -= 1

    def waiting(self) -> list[T]:
        """What waits, without taking it."""
        return [item for queue in self._queues.values() for _, item, _ in queue.entries]

    def withdraw(self, lane: str, which: Callable[[T], bool]) -> list[T]:
        """Take out for good the entries of a lane that fit."""
        queue = self._queues[lane]
        out = [item for _, item, _ in queue.entries if which(item)]
        if out:
            queue.entries = deque(entry for entry in queue.entries if not which(entry[1]))
            self._used -= len(out)
            self._waiting -= len(out)
        return out

    def drain(self, *lanes: str) -> list[T]:
        """Take out for good what waits in some lanes, or in all."""
        drained: list[T] = []
        for queue in self._queues.values():
            if not lanes or queue.name in lanes:
                drained += (item for _, item, _ in queue.entries)
                queue.entries.clear()
        self._used -= len(drained)
        self._waiting -= len(drained)
        return drained

    @property
    def in_hand(self) -> int:
        """How many entries are being worked on."""
        return sum(queue.in_hand for queue in self._queues.values())

    def statistics(self) -> MailboxStatistics:
        """Give the figures as they are now."""
        oldest = [entry[0] for queue in self._queues.values() for entry in queue.entries]
        return MailboxStatistics(
            capacity=self.capacity,
            used=self._waiting,
            peak=self._peak,
            received=self._received,
            refused=self._refused,
            oldest_age=trio.current_time() - min(oldest) if oldest else 0.0,
        )
