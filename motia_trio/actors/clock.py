"""Wall time, which moves with Trio's clock where that one is not the system's."""

from __future__ import annotations

import time

import trio

__all__ = ["WallClock", "is_virtual"]


def is_virtual() -> bool:
    """Whether the running Trio's clock is a program's own, such as a ``MockClock``."""
    # Trio's default clock has no public type; every other clock is some program's own
    return type(trio.lowlevel.current_clock()).__name__ != "SystemClock"


class WallClock:
    """Seconds since the epoch. Make it inside ``trio.run``.

    On Trio's own clock it is the system's wall clock, steps and all. On any other clock (a
    ``MockClock``) it starts at the system's wall time and advances as Trio's clock does, so that a
    test that moves one has moved both.
    """

    def __init__(self) -> None:
        self._base = time.time() - trio.current_time() if is_virtual() else None

    def now(self) -> float:
        """Give the wall time."""
        return time.time() if self._base is None else self._base + trio.current_time()

    def deadline(self, wall: float) -> float:
        """Give the Trio time at which it will be ``wall``, as far as one can know now."""
        return trio.current_time() + (wall - self.now())
