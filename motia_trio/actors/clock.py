"""Wall time, which moves with Trio's clock where that one is not the system's."""

from __future__ import annotations

import time
from math import inf

import trio

__all__ = ["WallClock", "is_virtual"]

# seconds after which somebody who waits for a wall time looks at the clock again
LONGEST_LOOK = 60.0


def is_virtual() -> bool:
    """Whether the running Trio's clock is a program's own, such as a ``MockClock``."""
    # Trio's default clock has no public type; every other clock is some program's own
    return type(trio.lowlevel.current_clock()).__name__ != "SystemClock"


class WallClock:
    """Seconds since the epoch. Make it inside ``trio.run``.

    On Trio's own clock it is the system's wall clock, which it follows forward: when that is set
    back, this one goes on from where it was, so that what became due stays due and what came later
    stays later. On any other clock (a ``MockClock``) it starts at the system's wall time and
    advances as Trio's clock does, so that a test that moves one has moved both.
    """

    def __init__(self) -> None:
        self._virtual = is_virtual()
        self._trio = trio.lowlevel.current_clock()
        self._latest = time.time()
        # wall time less Trio's: of a virtual clock, and of one that was set back
        self._base = self._latest - trio.current_time()

    def now(self) -> float:
        """Give the wall time. It never goes back."""
        if self._virtual:
            return self._base + trio.current_time()
        wall = time.time()
        if wall >= self._latest:
            self._latest = wall
            self._base = -inf
            return wall
        if self._base == -inf:  # set back since the last look: go on from there
            self._base = self._latest - trio.current_time()
        self._latest = max(self._latest, self._base + trio.current_time())
        return self._latest

    def trio_time(self) -> float:
        """Give the time of Trio's clock, in any thread."""
        return self._trio.current_time()

    def not_before(self, wall: float) -> None:
        """Go on from ``wall``, if that is later than now."""
        if wall > self.now():
            self._latest = wall
            self._base = wall - trio.current_time()

    def deadline(self, wall: float) -> float:
        """Give the Trio time at which to look whether it is ``wall``: look again if it is not.

        The system's clock may be set, or the machine sleep: no look is more than a minute away.
        """
        seconds = wall - self.now()
        return trio.current_time() + (seconds if self._virtual else min(seconds, LONGEST_LOOK))
