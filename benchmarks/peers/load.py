"""What a publishing process is to do, and the figures it brings."""

from __future__ import annotations

import time
from collections.abc import Sequence

from attrs import frozen

START = 30.0  # seconds until the first message must be done
WARM_UP = 500  # messages
PATIENCE = 10.0  # seconds for what is still outstanding when a loop ends


@frozen
class Figures:
    """Cycles a second, and milliseconds from the call that sends until the task has run."""

    closed_loop: float  # with as many messages outstanding as there are publishers
    open_batch: float  # sent without waiting for any to be done
    p50_ms: float  # of the closed loop
    p99_ms: float

    @property
    def cycles_per_second(self) -> float:
        """The better of the two."""
        return max(self.closed_loop, self.open_batch)


@frozen
class Load:
    """So many messages outstanding, for so many seconds.

    The steps are the same for every library: one message, until the worker is there; a batch to
    warm up; the closed loop; a batch that takes about as long.
    """

    publishers: int
    seconds: float

    def batch(self, warm_up: float, times: Sequence[float]) -> int:
        """How many messages take about so many seconds, by what a second brought until now."""
        return max(WARM_UP, len(times), int(warm_up * self.seconds))

    def batch_end(self) -> float:
        """When to give a batch up, and count what is done of it."""
        return time.perf_counter() + 3 * self.seconds

    def figures(self, times: Sequence[float], open_batch: float) -> Figures:
        """The figures, of the seconds that each cycle of the closed loop took."""
        ordered = sorted(times)
        p50, p99 = (ordered[int((len(ordered) - 1) * part)] * 1000 for part in (0.5, 0.99))
        return Figures(len(times) / self.seconds, open_batch, p50, p99)
