"""Ids of messages, numbers that only grow and are written as hex, and of their deliveries."""

from __future__ import annotations

__all__ = ["FAN_BITS", "MessageIds", "delivery_id", "time_of"]

# the low bits of a delivery's id say which of its message's deliveries it is
FAN_BITS = 12


class MessageIds:
    """Gives ids that sort as they were given: 14 hex digits, milliseconds and a counter.

    A clock that goes back, or more than 256 ids in one millisecond, only make the ids run ahead of
    the clock. They fit 52 bits until the year 2248.
    """

    __slots__ = ("_last",)

    def __init__(self, last: int = 0) -> None:
        self._last = last

    def next(self, now: float) -> str:
        """Give an id that was not given before. ``now`` is a wall time in seconds."""
        self._last = max(self._last + 1, int(now * 1000) << 8)
        return f"{self._last:014x}"


def delivery_id(message: int, index: int) -> int:
    """Give the id of delivery number ``index`` (from 0) of a message: 63 bits, the message's first.

    Raises:
        ValueError: a message goes to 4095 steps at the most.
    """
    if index + 1 >= 1 << FAN_BITS:
        raise ValueError(f"a message goes to {(1 << FAN_BITS) - 1} steps at the most")
    return message << FAN_BITS | index + 1


def time_of(message: int) -> float:
    """Give a wall time, in seconds, by which a message had its number: within a millisecond."""
    return ((message >> 8) + 1) / 1000
