"""What the Trio thread knows of the deliveries of one lane of a step; the rest is in the file."""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from motia_trio.messages import Delivery

__all__ = ["Shelf"]


@define(eq=False)
class Shelf:
    """The deliveries of one lane of a step.

    ``number`` stands for both in the file, once they are ``known`` there. ``undone`` and ``dead``
    count rows. ``leased`` are in hand, or on their way to the disk and taken already; ``ending``
    are on their way out. ``earliest`` is the due time of the first that could be leased: exactly
    when ``sure``, else it may be too early.

    What was asked to be kept and is not in the file yet: ``coming`` counts what was taken,
    ``arriving`` what was not; from ``first_arriving`` on, or later, one of those may be leased.
    ``arriving_groups`` has, for each group, when they were asked for and when they are due, in
    their order, taken or not. ``dropping`` counts those of the ``ending`` that nobody has in hand.
    """

    number: int
    known: bool = False
    undone: int = 0
    dead: int = 0
    leased: dict[int, Delivery] = field(factory=dict)
    ending: set[int] = field(factory=set)
    earliest: float = inf
    sure: bool = True
    priorities: set[int] = field(factory=lambda: {0})
    coming: int = 0
    arriving: int = 0
    first_arriving: float = inf
    arriving_groups: dict[str, deque[tuple[float, float]]] = field(factory=dict)
    dropping: int = 0

    @property
    def out(self) -> int:
        """How many rows of the file are not to be leased now, at the most."""
        return len(self.leased) + len(self.ending)

    @property
    def in_hand(self) -> int:
        """How many deliveries that are kept are leased."""
        return self.out - self.coming - self.dropping

    def free(self, number: int) -> bool:
        """Whether a row of the file may be leased."""
        return number not in self.leased and number not in self.ending

    def may_give_way(self, delivery: Delivery, due_at: float) -> bool:
        """Whether something arriving may stand before this head, which was not due when it came."""
        group = self.arriving_groups.get(delivery.fifo) if delivery.fifo is not None else None
        return group is not None and due_at > group[0][0]

    def note(self, due_at: float) -> None:
        """Something may be leased from ``due_at`` on."""
        self.earliest = min(self.earliest, due_at)

    def doubt(self) -> None:
        """What could be leased first has changed in a way that only the file tells."""
        self.sure = False
        self.earliest = -inf

    def await_arrival(
        self, fifo: str | None, due_at: float, now: float, *, take: bool, held: bool
    ) -> None:
        """Something is on its way to the disk. ``held``: what is before it in its group is due."""
        if fifo is not None:
            self.arriving_groups.setdefault(fifo, deque()).append((now, due_at))
        if take:
            self.coming += 1
            return
        self.arriving += 1
        if not held:
            self.first_arriving = min(self.first_arriving, due_at)

    def arrived(self, fifo: str | None, *, take: bool) -> None:
        """It has got there, or never will."""
        if fifo is not None:
            group = self.arriving_groups[fifo]
            group.popleft()
            if not group:
                del self.arriving_groups[fifo]
        if take:
            self.coming -= 1
            return
        self.arriving -= 1
        if not self.arriving:
            self.first_arriving = inf
