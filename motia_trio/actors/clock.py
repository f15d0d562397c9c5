"""Wall time, which moves with Trio's clock where that one is not the system's."""

from __future__ import annotations

import time

import trio

__all__ = ["WallClock", "is_virtual"]

# seconds after which somebody who waits for a wall time looks at the clock again
LONGEST_LOOK = 60.0
# seconds by which the system's clock may be ahead before that counts as a step
DRIFT = 0.001


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
        self._base = time.time() - trio.current_time()

    def now(self) -> float:
        """Give the wall time. It never goes back."""
        steady = self._base + trio.current_time()
        if self._virtual:
            return steady
        wall = time.time()
        if wall - steady > DRIFT:  # set forward, or the machine slept
            self._base += wall - steady
        return max(wall, steady)

    def not_before(self, wall: float) -> None:
        """Go on from ``wall``, if that is later than now."""
        self._base += max(0.0, wall - self.now())

    def deadline(self, wall: float) -> float:
        """Give the Trio time at which to look whether it is ``wall``: look again if it is not.

        The system's clock may be set, or the machine sleep: no look is more than a minute away.
        """
        seconds = wall - self.now()
        return trio.current_time() + (seconds if self._virtual else min(seconds, LONGEST_LOOK))
