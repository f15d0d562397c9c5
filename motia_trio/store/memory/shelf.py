"""The deliveries of one lane of a step, in memory."""

from __future__ import annotations

import heapq
from bisect import insort
from typing import TYPE_CHECKING

from attrs import define, field

from motia_trio.messages import Delivery
from motia_trio.store.ids import delivery_id
from motia_trio.store.protocol import Counts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from motia_trio.messages import Message, Route

# notes that are not true any more, besides as many as there are claims, before they are sorted out
STALE = 100

__all__ = ["Claim", "Group", "Shelf", "arrivals_of", "counts_of"]


@define(eq=False)
class Claim:
    """A delivery that is not gone. It may be leased when it is ``head``, due, and not leased."""

    delivery: Delivery
    due_at: float
    head: bool = True
    leased: bool = False
    gone: bool = False

    @property
    def rank(self) -> tuple[float, int]:
        """Its place in its group."""
        return self.due_at, self.delivery.id

    def open_at(self, due_at: float) -> bool:
        """Whether a heap's note of it, made for ``due_at``, is still true."""
        return self.head and not self.leased and not self.gone and self.due_at == due_at


@define(eq=False)
class Group:
    """A fifo group: its head, and what stands behind it in the order in which it becomes due."""

    head: Claim
    behind: list[Claim] = field(factory=list)


@define(eq=False)
class Shelf:
    """The deliveries of one lane of a step.

    The heaps may hold notes of claims that are not open any more.
    """

    ready: list[tuple[int, float, int, Claim]] = field(factory=list)
    later: list[tuple[float, int, Claim]] = field(factory=list)
    groups: dict[str, Group] = field(factory=dict)
    claims: dict[int, Claim] = field(factory=dict)
    dead: int = 0

    def enter(self, claim: Claim, now: float) -> None:
        """Take a new claim in, at its place in its group."""
        self.claims[claim.delivery.id] = claim
        fifo = claim.delivery.fifo
        if fifo is not None:
            group = self.groups.get(fifo)
            if group is None:
                self.groups[fifo] = Group(claim)
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
    def _gives_way(head: Claim, claim: Claim, now: float) -> bool:
        """A head that has never been due yet gives way to what is due before it."""
        delivery = head.delivery
        begun = head.leased or head.due_at <= now or delivery.failures or delivery.crashes
        return not begun and claim.rank < head.rank

    def note(self, claim: Claim) -> None:
        """Put an open claim where it will be found when it is due."""
        heapq.heappush(self.later, (*claim.rank, claim))
        if len(self.later) > 2 * len(self.claims) + STALE:
            self.later = [note for note in self.later if note[-1].open_at(note[0])]
            heapq.heapify(self.later)

    def leave(self, claim: Claim) -> None:
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


def arrivals_of(
    messages: Iterable[tuple[Message, Sequence[Route]]],
) -> list[tuple[Message, list[tuple[Delivery, Route]]]]:
    """The deliveries of messages; of those that go nowhere nothing is kept, nor is their key."""
    return [
        (
            message,
            [
                (
                    Delivery(
                        delivery_id(int(message.id, 16), n),
                        message,
                        to.step,
                        to.trigger,
                        to.fifo,
                        lane=to.lane,
                    ),
                    to,
                )
                for n, to in enumerate(routes)
            ],
        )
        for message, routes in messages
        if routes
    ]


def counts_of(shelf: Shelf, now: float) -> Counts:
    """Count the deliveries of one lane of a step."""
    leased = delayed = 0
    for claim in shelf.claims.values():
        leased += claim.leased
        delayed += not claim.leased and claim.due_at > now
    waiting = len(shelf.claims) - leased - delayed
    return Counts(waiting=waiting, leased=leased, delayed=delayed, dead=shelf.dead)
