"""Events as log records, and records as lines."""

from __future__ import annotations

import json
import logging
import re
import sys
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motia_trio.errors import Misfit
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
from motia_trio.observe import JsonFormatter, LoggingObserver, TextFormatter

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Keep(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


def observed(event: Event, level: int = logging.DEBUG) -> list[Any]:
    """The records that an event becomes. Any: with the attributes that we add."""
    logger = logging.Logger("motia_trio.test", level)  # noqa: LOG001 - one of its own each time
    keep = Keep()
    logger.addHandler(keep)
    LoggingObserver(logger).observe(event)
    return keep.records


ATTEMPT = {
    "step": "Ship",
    "source": "steps/ship_step.py",
    "trace_id": TRACE,
    "message_id": "m",
    "topic": "t",
    "attempt": 2,
    "attempts": 4,
    "error": "ValueError: x",
    "where": "steps/ship_step.py:7 in handler",
    "traceback": "Traceback …",
}
EVENTS: list[tuple[Event, str, list[str]]] = [
    (StepLogged("Ship", TRACE, "debug", "hello", {"a": 1}), "DEBUG", ["hello", "a=1"]),
    (StepLogged("Ship", TRACE, "info", "hello"), "INFO", ["hello"]),
    (StepLogged("Ship", TRACE, "warning", "hello"), "WARNING", ["hello"]),
    (StepLogged("Ship", TRACE, "error", "hello"), "ERROR", ["hello"]),
    (RequestAnswered("GET", "/a", 200, 0.00123, TRACE), "INFO", ["GET /a 200", "ms=1.2"]),
    (RequestAnswered("GET", "/a", 503, 0.1, TRACE, "Ship"), "WARNING", ["GET /a 503", "Ship"]),
    (
        RequestAnswered("POST", "/a", 400, 0.1, TRACE, "Ship", "not JSON: truncated"),
        "INFO",
        ["POST /a 400", 'reason="not JSON: truncated"'],
    ),
    (Refused("Ship", TRACE, "has a full mailbox"), "DEBUG", ["Ship", "full mailbox"]),
    (
        AskFailed("Ship", "f.py", TRACE, "ValueError: x", "f.py:1 in handler", "Traceback …"),
        "ERROR",
        ["request failed", "ValueError: x", "f.py:1 in handler", "Traceback …"],
    ),
    (
        RequestInvalid("Ship", TRACE, "Invalid request body", [Misfit("a", "is required")] * 7),
        "INFO",
        ["invalid request body: a: is required; a: is required", "Ship"],
    ),
    (RequestAbandoned("Ship", "f.py", TRACE), "INFO", ["the client left", "Ship"]),
    (
        ResponseInvalid("Ship", "f.py", TRACE, 200, [Misfit("a", "is required")]),
        "ERROR",
        ["the answer 200 does not fit its schema", "is required", "file=f.py"],
    ),
    (
        MountRaised("/admin", TRACE, "E: x", "f.py:1", "Traceback …"),
        "ERROR",
        ["the app mounted at /admin failed", "E: x", "f.py:1", "Traceback …"],
    ),
    (
        TickFailed("Ship", "f.py", TRACE, "@daily", "E: x", "f.py:1", "Traceback …"),
        "ERROR",
        ["run of '@daily' failed", "E: x", "f.py:1", "Traceback …"],
    ),
    (StepSkipped("Ship", TRACE, "queue"), "DEBUG", ["not run", "condition of its queue trigger"]),
    (
        AnswerDropped("Ship", TRACE, "m", 3),
        "WARNING",
        ["nobody waited", "message_id=m", "dropped=3"],
    ),
    (
        AttemptFailed(**ATTEMPT, retry_in=2.0),  # type: ignore[arg-type]
        "WARNING",
        ["attempt 2 of 4", "next in 2.0 s", "ValueError: x", "topic=t", "steps/ship_step.py:7"],
    ),
    (AttemptFailed(**ATTEMPT, retry_in=None), "WARNING", ["no attempt left"]),  # type: ignore[arg-type]
    (
        DeadLettered("Ship", "f.py", TRACE, "m", "t", "failed 4 times", 0x1A),
        "ERROR",
        ["dead letter: failed 4 times", "topic=t", "message_id=m", "file=f.py"],
    ),
    (HandlerOverdue("Ship", "f.py", TRACE, 61.4), "WARNING", ["61 s after its bound", "file=f.py"]),
    (ActorStarted("Ship", 0, probing=False), "DEBUG", ["actor started"]),
    (ActorStarted("Ship", 2, probing=False), "WARNING", ["actor started", "restarts=2"]),
    (ActorStarted("Ship", 4, probing=True), "WARNING", ["as a probe"]),
    (ActorCrashed("Ship", "E: x", "f.py:1", "Traceback …", 0.2), "ERROR", ["in 0.2 s", "E: x"]),
    (
        ActorQuarantined("Ship", "E: x", "f.py:1", "Traceback …", 5.0),
        "ERROR",
        ["quarantined", "503", "probe in 5 s", "E: x"],
    ),
    (ActorRecovered("Ship"), "WARNING", ["out of quarantine"]),
    (TopicUnlisted("Ship", "t", ["u"]), "WARNING", ["'t'", "enqueues", 'listed=["u"]']),
    (AppWarned("steps/a_step.py: unknown key"), "WARNING", ["steps/a_step.py: unknown key"]),
    (TopicUnheard("t", "Ship", TRACE), "WARNING", ["no step listens to 't'", "nothing was stored"]),
    (
        StoreFailed("Ship", TRACE, "m", "disk full"),
        "ERROR",
        ["how a delivery ended", "disk full", "message_id=m"],
    ),
    (
        StoreFailed("Ship", None, None, "disk full"),
        "ERROR",
        ["Ship", "what its schedule did", "disk full"],
    ),
    (
        TickSkipped("Ship", "f.py", "@daily", "the last run still goes on", 1),
        "WARNING",
        ["1 run of '@daily' skipped: the last run still goes on", "Ship", "file=f.py"],
    ),
    (
        TickSkipped("Ship", "f.py", "@daily", "the clock went past it", 3),
        "WARNING",
        ["3 runs of '@daily' skipped: the clock went past it", "skipped=3"],
    ),
    (
        StoreRecovered("Ship", TRACE, "m", 2.5),
        "WARNING",
        ["has kept how a delivery ended", "2.5 s", "message_id=m"],
    ),
    (
        StreamClientRefused("10.0.0.1", "Origin not allowed", 403, "https://evil.example"),
        "INFO",
        ["refused, 403: Origin not allowed", "client=10.0.0.1", "detail=https://evil.example"],
    ),
    (StreamClientRefused("10.0.0.1", "Unauthorized", 401), "INFO", ["refused, 401: Unauthorized"]),
    (StreamClientClosed("10.0.0.1", 1006, "gone"), "DEBUG", ["closed, 1006: gone"]),
    (StreamClientClosed("10.0.0.1", 1009, "too big"), "INFO", ["closed, 1009: too big"]),
    (
        StreamClientClosed("10.0.0.1", 4008, "lagged", 4096),
        "WARNING",
        ["closed, 4008: lagged", "client=10.0.0.1", "not_sent=4096"],
    ),
    (
        StreamHookFailed("chat", "onJoin", "E: x", "f.py:1", "Traceback …", TRACE),
        "ERROR",
        ["onJoin of stream 'chat' failed: the client is refused", "E: x", "f.py:1", "Traceback …"],
    ),
    (
        StreamHookFailed("chat", "onLeave", "TimedOut: x", "f.py:1", "", TRACE),
        "ERROR",
        ["onLeave of stream 'chat' failed error=", "TimedOut: x", "f.py:1"],
    ),
    (
        StreamHookFailed(None, "authenticate", "E: x", "f.py:1", "Traceback …", TRACE),
        "WARNING",
        ["authenticate failed: the client is refused", "E: x"],
    ),
    (
        StreamJoinRefused("10.0.0.1", "no such stream", "'chta'; did it mean 'chat'?"),
        "INFO",
        ["stream join refused: no such stream", "client=10.0.0.1", "did it mean 'chat'?"],
    ),
    (
        StreamConnectionFailed("10.0.0.1", "E: x", "Traceback …"),
        "ERROR",
        ["a connection of the streams failed", "client=10.0.0.1", "E: x", "Traceback …"],
    ),
    (
        TransactionRepeated("Ship", TRACE, "'g', 'k' was changed meanwhile", 2),
        "DEBUG",
        ["runs again", "'g', 'k' was changed meanwhile", "times=2"],
    ),
]


@pytest.mark.parametrize(
    ("event", "level", "words"), EVENTS, ids=[type(event).__name__ for event, _, _ in EVENTS]
)
def test_every_event_is_told_with_its_level_its_step_and_its_fields(
    event: Event, level: str, words: list[str]
) -> None:
    (record,) = observed(event)
    assert record.levelname == level
    assert record.step == getattr(event, "step", None)
    assert record.trace_id == getattr(event, "trace_id", None)
    line = TextFormatter().format(record)
    for word in words:
        assert word in line
    told = json.loads(JsonFormatter().format(record))
    assert told["level"] == level.lower()
    assert told["step"] == record.step
    assert told["trace_id"] == record.trace_id
    assert set(told["fields"]) == set(record.fields)


def test_no_event_is_left_out_of_the_test_above() -> None:
    assert {type(event) for event, _, _ in EVENTS} == set(get_args(Event))


def test_what_is_below_the_loggers_level_is_not_written() -> None:
    assert observed(StepLogged("Ship", TRACE, "info", "x"), logging.WARNING) == []


def test_the_logger_is_motia_trio_unless_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "motia_trio"):
        LoggingObserver().observe(StepLogged("Ship", TRACE, "info", "100 % done"))
    assert [(r.name, r.getMessage()) for r in caplog.records] == [("motia_trio", "100 % done")]


def record(message: str, **attributes: Any) -> logging.LogRecord:
    fields = {"name": "motia_trio", "msg": message, "levelname": "INFO", "created": 1.5}
    return logging.makeLogRecord(fields | attributes)


def test_a_text_line_has_time_level_step_trace_message_and_fields() -> None:
    made = record("order shipped", step="Ship", trace_id=TRACE, fields={"order": 17, "to": "Köln"})
    assert TextFormatter().format(made) == (
        f"1970-01-01T00:00:01.500Z INFO    Ship {TRACE} order shipped order=17 to=Köln"
    )


def test_for_people_at_a_terminal_a_traceback_has_lines_of_its_own() -> None:
    fields = {"error": "E: x", "traceback": "Traceback:\n  File \x1b[2J\nE: x\n"}
    told = TextFormatter(lines=True).format(record("failed", fields=fields)).splitlines()
    assert told[0].endswith('failed error="E: x"')
    assert told[1:] == ["    Traceback:", r"      File \u001b[2J", "    E: x"]
    assert "\n" not in TextFormatter().format(record("failed", fields=fields))


def test_a_json_line_has_the_same_fields() -> None:
    made = record("order shipped", step="Ship", trace_id=TRACE, fields={"order": 17, "to": "Köln"})
    line = JsonFormatter().format(made)
    assert "Köln" in line
    assert json.loads(line) == {
        "time": "1970-01-01T00:00:01.500Z",
        "level": "info",
        "step": "Ship",
        "trace_id": TRACE,
        "message": "order shipped",
        "fields": {"order": 17, "to": "Köln"},
    }


def test_a_step_with_a_space_in_its_name_is_quoted() -> None:
    assert ' "Ship Order" ' in TextFormatter().format(record("x", step="Ship Order"))


def test_text_values_that_are_not_plain_are_quoted() -> None:
    fields = {"a": "two words", "b": "", "c": 'say "hi"', "d": "k=v", "e": {"x": [1]}, "f": None}
    line = TextFormatter().format(record("m", fields=fields))
    assert line.endswith(r'm a="two words" b="" c="say \"hi\"" d="k=v" e={"x":[1]} f=null')


def test_records_of_others_are_written_with_their_logger_and_exception() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        made = record("oops %s", name="hypercorn.error", args=("here",), exc_info=sys.exc_info())
    line = TextFormatter().format(made)
    assert re.match(r"\S+Z INFO    - - oops here logger=hypercorn\.error traceback=", line)
    told = json.loads(JsonFormatter().format(made))
    assert told["fields"]["logger"] == "hypercorn.error"
    assert "ValueError: broken" in told["fields"]["traceback"]


@pytest.mark.parametrize("value", [float("nan"), object(), {"a": float("inf")}, b"\xff"])
def test_a_value_without_a_json_form_is_told_by_its_repr(value: object) -> None:
    made = record("m", fields={"x": value})
    assert json.loads(JsonFormatter().format(made))["fields"]["x"] == repr(value)
    assert json.dumps(repr(value)) in TextFormatter().format(made)


ANYTHING = st.text(st.characters(codec="utf-8"), max_size=12) | st.text(
    "a \n\r\t\0\x1b=\"'", max_size=8
)
FIELDS = st.dictionaries(
    st.text("abc_", min_size=1, max_size=5), ANYTHING | st.floats() | st.none()
)
# what ends a line for those who read logs; not \u2028, which JSON allows
BREAKS = re.compile(r"[\r\n\v\f]")


@settings(deadline=None)
@given(ANYTHING, FIELDS)
def test_a_record_is_one_line_whatever_is_in_message_and_fields(
    message: str, fields: dict[str, Any]
) -> None:
    made = record("%s", args=(message,), step="Ship", fields=fields)
    assert not BREAKS.search(TextFormatter().format(made))
    line = JsonFormatter().format(made)
    assert not BREAKS.search(line)
    assert json.loads(line)["message"] == message


@pytest.mark.parametrize(
    "attributes",
    [{"step": "Ship\nOrder"}, {"fields": {"a\nb": 1}}],
    ids=["step", "key"],
)
def test_a_record_is_one_line_whatever_its_names_are(attributes: dict[str, Any]) -> None:
    assert not BREAKS.search(TextFormatter().format(record("m", **attributes)))


def test_control_characters_do_not_reach_the_terminal() -> None:
    made = record("a\x9b31mb", fields={"x": "\x9b31m"})
    assert "\x9b" not in TextFormatter().format(made)
