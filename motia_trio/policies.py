"""Decisions that are pure: when to try a message again, and when to start an actor again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from attrs import field, frozen
from attrs.validators import ge, gt, in_

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Quarantine", "Restart", "RestartPolicy", "RetryPolicy"]

BackoffKind = Literal["exponential", "fixed"]


@frozen
class RetryPolicy:
    """How often a failed message is tried again, and after how many seconds.

    ``max_retries`` counts retries, so a message has ``max_retries + 1`` attempts. The wait before
    retry *n* is ``delay * rate ** (n - 1)`` seconds, spread by a quarter to either side so that
    what failed together does not come back together, and never more than ``cap``. A ``fixed``
    backoff waits ``delay`` seconds every time, whatever the cap. Source: the defaults
    are those measured on Motia.
    """

    max_retries: int = field(default=3, validator=ge(0))
    kind: BackoffKind = field(default="exponential", validator=in_(("exponential", "fixed")))
    delay: float = field(default=1.0, validator=ge(0))
    rate: float = field(default=2.0, validator=ge(1))
    cap: float = field(default=60.0, validator=gt(0))

    @property
    def attempts(self) -> int:
        """How many attempts a message has in all."""
        return self.max_retries + 1

    def wait_after(self, attempt: int, chance: float) -> float | None:
        """Seconds to wait after failed attempt number ``attempt`` (from 1); None: no attempt left.

        ``chance`` is a random number in [0, 1): the caller's, so that this stays pure.
        """
        if attempt >= self.attempts:
            return None
        if self.kind == "fixed":
            return self.delay
        try:
            wait = self.delay * self.rate ** (attempt - 1)
        except OverflowError:
            return self.cap if self.delay else 0.0
        return min(self.cap, wait * (0.75 + chance / 2))


@frozen
class Restart:
    """Start the actor again after ``wait`` seconds."""

    wait: float


@frozen
class Quarantine:
    """Leave the actor down for ``cool_down`` seconds, then let one probe in."""

    cool_down: float


@frozen
class RestartPolicy:
    """Restart intensity: up to ``max_restarts`` within ``window`` seconds, then quarantine.

    The n-th restart of a window waits ``delay * 2 ** (n - 1)`` seconds. A quarantine lasts
    ``cool_down`` seconds and doubles, up to ``cool_down_cap``, each time the probe fails.
    """

    max_restarts: int = field(default=3, validator=ge(0))
    window: float = field(default=5.0, validator=gt(0))
    delay: float = field(default=0.1, validator=ge(0))
    cool_down: float = field(default=5.0, validator=gt(0))
    cool_down_cap: float = field(default=300.0, validator=gt(0))

    def after_crash(
        self, crashes: Sequence[float], failed_probes: int, *, was_probe: bool
    ) -> Restart | Quarantine:
        """Decide what follows the crash at ``crashes[-1]`` (times in seconds, oldest first)."""
        if not was_probe:
            recent = sum(1 for at in crashes if at > crashes[-1] - self.window)
            if recent <= self.max_restarts:
                return Restart(self.delay * 2.0 ** min(recent - 1, 32))
        return Quarantine(min(self.cool_down_cap, self.cool_down * 2.0 ** min(failed_probes, 32)))
