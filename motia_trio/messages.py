"""Messages, the claims that steps have on them, and how an attempt can end."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import field, frozen

from motia_trio import codec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Ack",
    "Bury",
    "DeadLetter",
    "Delivery",
    "Failure",
    "GiveBack",
    "Message",
    "Origin",
    "Outcome",
    "Retry",
    "Route",
    "new_trace_id",
]


def new_trace_id() -> str:
    """Give a fresh trace id: 32 lower-case hex digits, as W3C trace context wants them."""
    return f"{random.getrandbits(128):032x}"


@frozen
class Message:
    """What was enqueued, once, whoever it goes to. ``payload`` is JSON; times are wall seconds.

    ``priority`` is from -10 to 10, higher first. From ``expires_at`` on it is a dead letter rather
    than work. ``key`` makes the enqueue idempotent: a topic keeps one message of a key for a day.
    """

    id: str
    topic: str
    payload: bytes = field(repr=False)
    trace_id: str
    created_at: float
    sender: str | None = None
    group: str | None = None
    hops: int = 0
    priority: int = 0
    expires_at: float | None = None
    key: str | None = None

    @property
    def data(self) -> Any:
        """The payload, decoded anew at each reading."""
        return codec.decode(self.payload)


@frozen
class Origin:
    """What brought a message or a change about: the trace, how many hops from its start, a step."""

    trace_id: str
    hops: int = 0
    sender: str | None = None


@frozen
class Route:
    """One step's claim on a message that is being appended.

    ``fifo`` is the group within which the store keeps the order, or None. ``due_at`` is a wall
    time. ``take`` asks the store to lease the delivery to the caller in the same atomic step.
    ``lane`` is the kind of the trigger: those of one lane do not wait for those of another.
    """

    step: str
    trigger: int
    due_at: float
    fifo: str | None = None
    take: bool = False
    lane: str = "queue"


@frozen
class Failure:
    """One failed attempt: its number (from 1), its wall times, and what was raised."""

    attempt: int
    started_at: float
    ended_at: float
    error: str
    where: str
    traceback: str = field(repr=False)


@frozen
class Delivery:
    """One step's leased claim on a message: the right to make one attempt at it.

    ``crashes`` counts how often the process died while a handler had it in hand. ``lane`` is the
    kind of the trigger that it is for: ``"queue"``, ``"state"`` or ``"stream"``.
    """

    id: int
    message: Message
    step: str
    trigger: int
    fifo: str | None = None
    failures: tuple[Failure, ...] = ()
    crashes: int = 0
    lane: str = "queue"

    @property
    def attempt(self) -> int:
        """The number of the attempt that this lease allows, from 1."""
        return len(self.failures) + 1


@frozen
class Ack:
    """Done: never deliver it again."""


@frozen
class Retry:
    """The attempt failed; deliver again at ``due_at`` (wall seconds)."""

    due_at: float
    failure: Failure


@frozen
class GiveBack:
    """No attempt was made or it was ended by us; deliver again, nothing counted."""


@frozen
class Bury:
    """It cannot be done: keep it as a dead letter with the ``reason``."""

    reason: str
    failure: Failure | None = None


Outcome: TypeAlias = Ack | Retry | GiveBack | Bury


@frozen
class DeadLetter:
    """A message that one step could not handle, kept with everything that is known about it."""

    id: int
    message: Message
    step: str
    reason: str
    failures: Sequence[Failure]
    died_at: float
