"""How long to wait before connecting again. Pure."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import ge, gt

__all__ = ["Backoff"]


@frozen
class Backoff:
    """Seconds between attempts to connect: doubled each time, and spread.

    Before attempt *n* (from 1) after a connection was lost or could not be had, the wait is a
    random part, between a half and the whole, of ``first * 2 ** (n - 1)`` seconds, and never more
    than ``longest``. A connection that lasted for ``stable`` seconds lets the count begin anew:
    one that is lost sooner does not, so that a server in trouble is asked less and less often.
    """

    first: float = field(default=0.2, validator=gt(0))
    longest: float = field(default=30.0, validator=gt(0))
    stable: float = field(default=10.0, validator=ge(0))

    def wait_before(self, attempt: int, chance: float) -> float:
        """Seconds to wait before attempt number ``attempt``, from 1.

        ``chance`` is a random number in [0, 1): the caller's, so that this stays pure.
        """
        doublings = min(attempt - 1, 64)  # beyond, a float is only larger
        return min(self.longest, self.first * 2.0**doublings) * (0.5 + chance / 2)
