"""What observers are told. The runtime makes these and calls :meth:`Observer.observe`.

Every event is a small frozen object; ``trace_id`` is None where no message or request is involved.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from motia_trio.errors import Misfit

__all__ = [
    "ActorCrashed",
    "ActorQuarantined",
    "ActorRecovered",
    "ActorStarted",
    "AnswerDropped",
    "AppWarned",
    "AskFailed",
    "AttemptFailed",
    "DeadLettered",
    "Event",
    "HandlerOverdue",
    "MountRaised",
    "Observer",
    "Observers",
    "Refused",
    "RequestAbandoned",
    "RequestAnswered",
    "RequestInvalid",
    "ResponseInvalid",
    "StepLogged",
    "StepSkipped",
    "StoreFailed",
    "StoreRecovered",
    "StreamClientClosed",
    "StreamClientRefused",
    "StreamConnectionFailed",
    "StreamHookFailed",
    "StreamJoinRefused",
    "TickFailed",
    "TickSkipped",
    "TopicUnheard",
    "TopicUnlisted",
    "TransactionRepeated",
]

Level = Literal["debug", "info", "warning", "error"]


@frozen
class AppWarned:
    """Something in the app should be looked at, and does not keep it from running."""

    message: str


@frozen
class StepLogged:
    """A handler wrote to ``ctx.logger``."""

    step: str
    trace_id: str
    level: Level
    message: str
    fields: Mapping[str, Any] = field(factory=dict)


@frozen
class RequestAnswered:
    """An HTTP request has its answer. ``seconds`` is the time until the answer was known.

    ``reason`` tells what the client was not told: what is wrong with its body, or why its answer
    was cut off. An answer that is sent while it is made is told of at its end.
    """

    method: str
    path: str
    status: int
    seconds: float
    trace_id: str
    step: str | None = None
    reason: str | None = None


@frozen
class ResponseInvalid:
    """What a handler answered does not fit the response schema for its status.

    It was sent all the same, unless ``strict_responses`` is set.
    """

    step: str
    source: str
    trace_id: str
    status: int
    misfits: Sequence[Misfit]


@frozen
class MountRaised:
    """An application that is mounted at ``path`` raised while it served one request."""

    path: str
    trace_id: str
    error: str
    where: str
    traceback: str


@frozen
class Refused:
    """A request was answered 503: the mailbox was full, or the step is quarantined."""

    step: str
    trace_id: str
    reason: str


@frozen
class AskFailed:
    """A handler that somebody waits for failed, or ran out of time. Requests are not retried."""

    step: str
    source: str
    trace_id: str
    error: str
    where: str
    traceback: str


@frozen
class RequestInvalid:
    """A request was answered 400: its query or its body does not fit the schema.

    ``what`` is what the client is told, ``misfits`` have a ``path`` and a ``message`` each.
    """

    step: str
    trace_id: str
    what: str
    misfits: Sequence[Any]


@frozen
class RequestAbandoned:
    """A client left before it had its answer, and the handler was cancelled for that."""

    step: str
    source: str
    trace_id: str


@frozen
class TickFailed:
    """A handler failed, or ran out of time, that a schedule had run. Ticks are not retried."""

    step: str
    source: str
    trace_id: str
    expression: str
    error: str
    where: str
    traceback: str


@frozen
class TickSkipped:
    """Times of a schedule came, ``skipped`` in number, for which its step was not run."""

    step: str
    source: str
    expression: str
    reason: str
    skipped: int


@frozen
class StepSkipped:
    """A trigger's condition was not met: its handler did not run. ``kind`` is the trigger's."""

    step: str
    trace_id: str
    kind: str


@frozen
class AnswerDropped:
    """A handler gave an answer that nobody waited for any more. ``dropped`` counts them all."""

    step: str
    trace_id: str
    message_id: str
    dropped: int


@frozen
class AttemptFailed:
    """One attempt at a delivery failed. ``retry_in`` is None when it was the last one."""

    step: str
    source: str
    trace_id: str
    message_id: str
    topic: str
    attempt: int
    attempts: int
    error: str
    where: str
    traceback: str
    retry_in: float | None


@frozen
class DeadLettered:
    """A delivery was given up and is kept as a dead letter, by whose ``id`` it can be redriven."""

    step: str
    source: str
    trace_id: str
    message_id: str
    topic: str
    reason: str
    id: int


@frozen
class HandlerOverdue:
    """A handler is still running ``seconds`` after its bound: it resists its cancellation."""

    step: str
    source: str
    trace_id: str
    seconds: float


@frozen
class ActorStarted:
    """An actor takes messages (again, if ``restarts`` > 0; as a probe, if ``probing``)."""

    step: str
    restarts: int
    probing: bool


@frozen
class ActorCrashed:
    """An actor ended abnormally and is started again in ``restart_in`` seconds."""

    step: str
    error: str
    where: str
    traceback: str
    restart_in: float


@frozen
class ActorQuarantined:
    """An actor crashed too often and is left down; one probe goes in after ``cool_down`` s."""

    step: str
    error: str
    where: str
    traceback: str
    cool_down: float


@frozen
class ActorRecovered:
    """A probe went well: the step is out of quarantine."""

    step: str


@frozen
class TopicUnlisted:
    """A step published to a topic that its config does not list. Told once per step and topic."""

    step: str
    topic: str
    listed: Sequence[str]


@frozen
class TopicUnheard:
    """A message went to a topic nobody listens to: nothing was stored.

    Told once per topic, and not at all where the app was warned of it at load.
    """

    topic: str
    step: str | None
    trace_id: str


@frozen
class StoreFailed:
    """The store could not keep something: how a delivery ended, what a schedule did, expiries.

    Of a delivery there is a message's id, of a schedule a step alone.

    It is tried again until it is kept or the runtime ends; told once for each. A delivery whose end
    was never kept is delivered again when the store is opened the next time.
    """

    step: str | None
    trace_id: str | None
    message_id: str | None
    error: str


@frozen
class StoreRecovered:
    """The store has kept what it could not keep before, after ``seconds``."""

    step: str
    trace_id: str
    message_id: str
    seconds: float


@frozen
class TransactionRepeated:
    """A transactional step ran again: another had changed what it read before it could commit."""

    step: str
    trace_id: str
    reason: str
    times: int


@frozen
class StreamClientRefused:
    """A client of the streams was turned away before the upgrade, with ``status``.

    ``reason`` is one of few sentences, whatever the client has chosen; that is in ``detail``.
    """

    address: str
    reason: str
    status: int
    detail: str = ""


@frozen
class StreamClientClosed:
    """A connection of the streams ended, with a close code and its reason.

    ``waiting`` counts the messages that were not sent to it any more.
    """

    address: str
    code: int
    reason: str
    waiting: int = 0

    @property
    def lagged(self) -> bool:
        """Whether it was closed because it could not be told as fast as there was news."""
        return self.code == 4008


@frozen
class StreamJoinRefused:
    """A client may not follow what it asked for.

    ``reason`` is one of few sentences, whatever the client has chosen; that is in ``detail``.
    """

    address: str
    reason: str
    detail: str


@frozen
class StreamHookFailed:
    """What decides who may listen raised, ran out of time, or gave what is no decision.

    ``hook`` is ``authenticate``, then ``stream`` is None; or ``canAccess``, ``onJoin``,
    ``onLeave``. Of all but the last the client was refused.
    """

    stream: str | None
    hook: str
    error: str
    where: str
    traceback: str
    trace_id: str


@frozen
class StreamConnectionFailed:
    """A connection of the streams ended by an error of ours. No other is touched by it."""

    address: str
    error: str
    traceback: str


Event: TypeAlias = (
    AppWarned
    | StepLogged
    | RequestAnswered
    | ResponseInvalid
    | MountRaised
    | Refused
    | AskFailed
    | RequestAbandoned
    | RequestInvalid
    | TickFailed
    | TickSkipped
    | StepSkipped
    | AnswerDropped
    | AttemptFailed
    | DeadLettered
    | HandlerOverdue
    | ActorStarted
    | ActorCrashed
    | ActorQuarantined
    | ActorRecovered
    | TopicUnlisted
    | TopicUnheard
    | StoreFailed
    | StoreRecovered
    | TransactionRepeated
    | StreamClientRefused
    | StreamClientClosed
    | StreamHookFailed
    | StreamJoinRefused
    | StreamConnectionFailed
)


class Observer(Protocol):
    """Is told what happens, on the Trio thread, in order. Must return at once and never wait."""

    def observe(self, event: Event, /) -> None:
        """Take note of one event."""
        ...


class Observers:
    """Tells several observers; one that raises is reported once and then only skipped."""

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = tuple(observers)
        self._reported: set[int] = set()

    def __bool__(self) -> bool:
        return bool(self._observers)

    def tell(self, event: Event) -> None:
        """Pass one event to all observers."""
        for observer in self._observers:
            try:
                observer.observe(event)
            except Exception:
                if id(observer) not in self._reported:
                    self._reported.add(id(observer))
                    logging.getLogger("motia_trio").exception(
                        "observer %r failed on %r; its further failures are not reported",
                        observer,
                        event,
                    )
