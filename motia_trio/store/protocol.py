"""The store's contract. Whatever implements it decides what survives; every call is one step.

A *delivery* is one step's claim on a message. It is *waiting* (until its time, or for room), or
*leased* (somebody has it in hand), or gone: done, or buried as a dead letter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from motia_trio.messages import DeadLetter, Delivery, Message, Outcome, Route

__all__ = ["Agenda", "Counts", "Leased", "Store"]


@frozen
class Leased:
    """What :meth:`Store.lease` gives. ``more``: other deliveries of this step are due already."""

    deliveries: Sequence[Delivery]
    more: bool


@frozen
class Agenda:
    """What there is to do.

    ``due``: the steps with a delivery that could be leased now. ``next_due_at``: the wall time at
    which the next one that waits for its time will be due (None: no such).
    """

    due: frozenset[str]
    next_due_at: float | None


@frozen
class Counts:
    """Deliveries of one step: due now or held back by their group, in hand, not due yet, buried."""

    waiting: int = 0
    leased: int = 0
    delayed: int = 0
    dead: int = 0


class Store(Protocol):
    """Keeps messages, deliveries and dead letters.

    Duties of every implementation:

    * Each call is atomic: all of it happened or, if it raised, none of it. A call that was
      cancelled either happened or did not, never half.
    * When a writing call returns, what it wrote is as durable as this store gets.
    * Writing calls may be made by many tasks at once, and take effect in some order that all
      readers agree on. Reading calls do not wait.
    * A delivery is leased to one caller at a time. Leases end by :meth:`settle` alone, or with
      the process: opening a store gives back all that was leased when it was last used.
    * Deliveries of one step and one ``fifo`` group are leased one at a time, in the order in which
      they were appended (those with a later ``due_at``: in which they became due). One that is
      retried or given back stays the head of its group.
    * Other deliveries of a step are leased in the order in which they became due; one that was
      given back comes before those.
    * Times are wall seconds, and always the caller's.

    Any call may raise ``OSError`` (a disk that is full or broken): the caller must not assume that
    the write happened.
    """

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Open the store for the length of a scope. Everything else is used inside it only."""
        ...

    async def append(
        self, batch: Sequence[tuple[Message, Sequence[Route]]], now: float
    ) -> Sequence[Delivery]:
        """Keep messages with a delivery for each route. A checkpoint.

        Routes with ``take`` whose delivery can be leased at ``now`` (due, and the head of its
        group) are leased to the caller in the same step, and given back in order.
        """
        ...

    async def lease(self, step: str, limit: int, now: float) -> Leased:
        """Lease up to ``limit`` due deliveries of one step. A checkpoint."""
        ...

    async def settle(self, delivery: Delivery, outcome: Outcome, now: float) -> None:
        """End a lease with the outcome of the attempt. May wait; can be cancelled before it begins.

        Raises:
            KeyError: the delivery is not leased (it was settled before).
        """
        ...

    def agenda(self, now: float) -> Agenda:
        """Tell which steps have something due, and when the next delayed delivery is."""
        ...

    def counts(self) -> dict[str, Counts]:
        """Tell how many deliveries there are, by step. Steps without any may be missing."""
        ...

    def dead_letters(
        self, *, step: str | None = None, topic: str | None = None
    ) -> Sequence[DeadLetter]:
        """Tell the dead letters, oldest first, of one step or topic or of all."""
        ...
