"""Events as log records, and records as lines: text for people, JSON for machines.

One line per record, with the same fields in both: time, level, step, trace id, message, fields.
"""

from __future__ import annotations

import json
import logging
import math
from datetime import UTC, datetime
from functools import partial
from typing import Any

from motia_trio import codec
from motia_trio.events import (
    ActorCrashed,
    ActorQuarantined,
    ActorRecovered,
    ActorStarted,
    AnswerDropped,
    AppWarned,
    AskFailed,
    AttemptFailed,
    DeadLettered,
    Event,
    HandlerOverdue,
    MountRaised,
    Refused,
    RequestAbandoned,
    RequestAnswered,
    RequestInvalid,
    ResponseInvalid,
    StepLogged,
    StepSkipped,
    StoreFailed,
    StoreRecovered,
    StreamClientClosed,
    StreamClientRefused,
    StreamConnectionFailed,
    StreamHookFailed,
    StreamJoinRefused,
    TickFailed,
    TickSkipped,
    TopicUnheard,
    TopicUnlisted,
    TransactionRepeated,
)
from motia_trio.observe.crowds import Crowds, crowd_of
from motia_trio.observe.stream_lines import tell_stream

__all__ = ["JsonFormatter", "LoggingObserver", "TextFormatter"]

# of what does not fit in one request, in a line of the log
_TOLD = 5
_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class LoggingObserver:
    """Writes every event to a logger of the standard library, ``motia_trio`` unless told.

    Records carry ``step``, ``trace_id`` and ``fields`` as attributes. Nothing is configured: where
    the records go is the program's to say. What clients of streams can bring about at will is
    written once in 10 s for each kind of it; the field ``more`` of the next line counts the rest.
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger or logging.getLogger("motia_trio")
        self._crowds = Crowds()

    def observe(self, event: Event, /) -> None:
        """Write one event."""
        for last, more in self._crowds.due():
            self._write(last, *_tell(last), more=more)
        level, message, fields = _tell(event)
        if not self._logger.isEnabledFor(level):
            return
        kind = crowd_of(event)
        if kind is None or self._crowds.lets(kind, event):
            self._write(event, level, message, fields)

    def _write(
        self, event: Event, level: int, message: str, fields: dict[str, Any], more: int = 0
    ) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(
                level,
                "%s",
                message,
                extra={
                    "step": getattr(event, "step", None),
                    "trace_id": getattr(event, "trace_id", None),
                    "fields": {**fields, "more": more} if more else fields,
                },
            )


def _tell(event: Event) -> tuple[int, str, dict[str, Any]]:
    """The level, the message and the fields of an event."""
    match event:
        case AppWarned():
            return logging.WARNING, event.message, {}
        case StepLogged():
            return _LEVELS[event.level], event.message, dict(event.fields)
        case RequestAnswered():
            level = logging.WARNING if event.status == 503 else logging.INFO
            message = f"{event.method} {event.path} {event.status}"
            fields: dict[str, Any] = {"ms": round(event.seconds * 1000, 1)}
            if event.reason is not None:
                fields["reason"] = event.reason
            return level, message, fields
        case ResponseInvalid():
            misfits = [{"path": each.path, "message": each.message} for each in event.misfits]
            fields = {"file": event.source, "details": misfits}
            return logging.ERROR, f"the answer {event.status} does not fit its schema", fields
        case MountRaised():
            fields = {"error": event.error, "where": event.where}
            if event.traceback:
                fields["traceback"] = event.traceback
            return logging.ERROR, f"the app mounted at {event.path} failed", fields
        case Refused():
            return logging.DEBUG, f"request refused: the step {event.reason}", {}
        case AskFailed():
            fields = {"error": event.error, "where": event.where}
            if event.traceback:
                fields["traceback"] = event.traceback
            return logging.ERROR, "request failed", fields
        case RequestInvalid():
            told = "; ".join(map(str, event.misfits[:_TOLD]))
            return logging.INFO, f"{event.what.lower()}: {told}", {}
        case RequestAbandoned():
            return logging.INFO, "the client left: handler cancelled", {}
        case TickFailed():
            fields = {"error": event.error, "where": event.where, "traceback": event.traceback}
            return logging.ERROR, f"run of {event.expression!r} failed", fields
        case TickSkipped():
            times = "1 run" if event.skipped == 1 else f"{event.skipped} runs"
            fields = {"skipped": event.skipped, "file": event.source}
            return (
                logging.WARNING,
                f"{times} of {event.expression!r} skipped: {event.reason}",
                fields,
            )
        case StepSkipped():
            return logging.DEBUG, f"not run: the condition of its {event.kind} trigger", {}
        case AnswerDropped():
            return (
                logging.WARNING,
                "answered when nobody waited for it any more: the answer is dropped",
                {"message_id": event.message_id, "dropped": event.dropped},
            )
        case AttemptFailed():
            return _tell_attempt(event)
        case DeadLettered():
            fields = {
                "dead_letter": f"{event.id:016x}",
                "topic": event.topic,
                "message_id": event.message_id,
                "file": event.source,
            }
            return logging.ERROR, f"dead letter: {event.reason}", fields
        case HandlerOverdue():
            return (
                logging.WARNING,
                (
                    f"handler still runs {event.seconds:.0f} s after its bound: it resists its "
                    "cancellation; a thread or a shielded wait cannot be stopped"
                ),
                {"file": event.source},
            )
        case StoreFailed():
            what = "how a delivery ended" if event.message_id else "that items have expired"
            fields = {"error": event.error}
            if event.message_id:
                fields["message_id"] = event.message_id
            elif event.step:
                return logging.ERROR, "the store could not keep what its schedule did", fields
            return logging.ERROR, f"the store could not keep {what}; trying again", fields
        case StoreRecovered():
            return (
                logging.WARNING,
                f"the store has kept how a delivery ended, after {event.seconds:.1f} s",
                {"message_id": event.message_id},
            )
        case TransactionRepeated():
            return (
                logging.DEBUG,
                f"transaction runs again: {event.reason}",
                {"times": event.times},
            )
        case TopicUnlisted():
            return (
                logging.WARNING,
                f"published to {event.topic!r}, which its config does not list; add it to enqueues",
                {"listed": list(event.listed)},
            )
        case TopicUnheard():
            return (
                logging.WARNING,
                f"no step listens to {event.topic!r}: nothing was stored",
                {},
            )
        case (
            StreamClientRefused()
            | StreamClientClosed()
            | StreamHookFailed()
            | StreamJoinRefused()
            | StreamConnectionFailed()
        ):
            return tell_stream(event)
        case _:
            return _tell_actor(event)


def _tell_attempt(event: AttemptFailed) -> tuple[int, str, dict[str, Any]]:
    then = "no attempt left" if event.retry_in is None else f"next in {event.retry_in:.1f} s"
    fields = {
        "error": event.error,
        "where": event.where,
        "topic": event.topic,
        "message_id": event.message_id,
        "traceback": event.traceback,
    }
    return (
        logging.WARNING,
        f"attempt {event.attempt} of {event.attempts} failed, {then}",
        fields,
    )


def _tell_actor(
    event: ActorStarted | ActorCrashed | ActorQuarantined | ActorRecovered,
) -> tuple[int, str, dict[str, Any]]:
    match event:
        case ActorStarted():
            if event.probing:
                return logging.WARNING, "actor started as a probe", {"restarts": event.restarts}
            level = logging.WARNING if event.restarts else logging.DEBUG
            return level, "actor started", {"restarts": event.restarts}
        case ActorRecovered():
            return logging.WARNING, "actor is out of quarantine", {}
    fields = {"error": event.error, "where": event.where, "traceback": event.traceback}
    if isinstance(event, ActorCrashed):
        if math.isinf(event.restart_in):
            return logging.ERROR, "actor crashed while it was being stopped", fields
        return logging.ERROR, f"actor crashed, restarts in {event.restart_in:.1f} s", fields
    return (
        logging.ERROR,
        (
            "actor quarantined: its messages wait, its routes answer 503; probe in "
            f"{event.cool_down:.0f} s"
        ),
        fields,
    )


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.123Z INFO    ShipOrder 4bf9… shipped order=17``.

    A record is one line; with ``lines``, as it is for people at a terminal, a traceback comes below
    it, in lines of its own.
    """

    def __init__(self, *, lines: bool = False) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """Write one record."""
        step = getattr(record, "step", None) or "-"
        trace_id = getattr(record, "trace_id", None) or "-"
        parts = [
            _time(record),
            f"{record.levelname:<7}",
            step if step.isprintable() and " " not in step else _quoted(step),
            trace_id,
            _one_line(record.getMessage()),
        ]
        fields = _fields(self, record)
        below = fields.pop("traceback", None) if self._lines else None
        parts += (f"{_value(str(name))}={_value(value)}" for name, value in fields.items())
        if not isinstance(below, str):
            return " ".join(parts)
        lines = (f"    {_one_line(line)}" for line in below.rstrip().splitlines())
        return "\n".join([" ".join(parts), *lines])


class JsonFormatter(logging.Formatter):
    """A JSON object a line: ``time level step trace_id message fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record as one line."""
        return _dump(
            {
                "time": _time(record),
                "level": record.levelname.lower(),
                "step": getattr(record, "step", None),
                "trace_id": getattr(record, "trace_id", None),
                "message": record.getMessage(),
                "fields": {
                    str(name): _plain(value) for name, value in _fields(self, record).items()
                },
            }
        )


def _fields(formatter: logging.Formatter, record: logging.LogRecord) -> dict[str, Any]:
    """The fields of a record; records of others may bring an exception."""
    fields = dict(getattr(record, "fields", None) or {})
    if record.name.partition(".")[0] != "motia_trio":
        fields.setdefault("logger", record.name)
    if record.exc_info and record.exc_info[0] is not None:
        fields["traceback"] = formatter.formatException(record.exc_info)
    return fields


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _plain(value: Any) -> Any:
    """A value that JSON can carry; what it cannot is told by its repr."""
    try:
        return codec.decode(codec.encode(value))
    except Exception:  # noqa: BLE001, S110 - to look at it runs a handler's code; then its repr
        pass
    try:
        return repr(value)
    except Exception as broken:  # noqa: BLE001 - as above
        return f"<its repr raised {type(broken).__name__}>"


def _value(value: Any) -> str:
    """A field for people: bare where that is plain, JSON otherwise."""
    if isinstance(value, str) and value.isprintable() and value and not set(value) & set(' "='):
        return value
    return _dump(_plain(value))


def _one_line(text: str) -> str:
    return text if text.isprintable() else _quoted(text)[1:-1]


_quoted = partial(json.dumps, ensure_ascii=True)


def _dump(value: object) -> str:
    """JSON in one line that a terminal cannot take for commands."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _quoted(char)[1:-1] for char in text)
