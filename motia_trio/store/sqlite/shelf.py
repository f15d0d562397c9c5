"""What the Trio thread knows of one step's deliveries; the rest is in the file."""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING

from attrs import define, field

if TYPE_CHECKING:
    from motia_trio.messages import Delivery

__all__ = ["Shelf"]


@define(eq=False)
class Shelf:
    """One step's deliveries.

    ``number`` stands for the step in the file, once it is ``known`` there. ``undone`` and ``dead``
    count rows. ``leased`` are in hand, or on their way to the disk and taken already; ``ending``
    are on their way out. ``earliest`` is the due time of the first that could be leased: exactly
    when ``sure``, else it may be too early. ``arriving`` counts what was asked to be kept and was
    not taken, and ``arriving_groups`` those of each group, taken or not.
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
    arriving: int = 0
    arriving_groups: Counter[str] = field(factory=Counter)

    @property
    def out(self) -> int:
        """How many rows of the file are not to be leased now, at the most."""
        return len(self.leased) + len(self.ending)

    def free(self, number: int) -> bool:
        """Whether a row of the file may be leased."""
        return number not in self.leased and number not in self.ending

    def note(self, due_at: float) -> None:
        """Something may be leased from ``due_at`` on."""
        self.earliest = min(self.earliest, due_at)

    def doubt(self) -> None:
        """What could be leased first has changed in a way that only the file tells."""
        self.sure = False
        self.earliest = -inf

    def arrived(self, fifo: str | None) -> None:
        """Something of a group has got to the disk, or never will."""
        if fifo is not None:
            self.arriving_groups[fifo] -= 1
            if not self.arriving_groups[fifo]:
                del self.arriving_groups[fifo]
