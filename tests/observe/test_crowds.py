"""What a crowd of clients can bring about is written now and then, and counted."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count

import pytest

from motia_trio.events import (
    AppWarned,
    Event,
    StreamClientClosed,
    StreamClientRefused,
    StreamConnectionFailed,
    StreamHookFailed,
)
from motia_trio.observe import LoggingObserver
from motia_trio.observe import crowds as crowds_module

OTHER = AppWarned("something else")


class Clock:
    """The time that crowds go by."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(crowds_module, "time", clock)
    return clock


class Log:
    """An observer's records: each line, and how many more it stands for."""

    def __init__(self, name: str, level: int) -> None:
        self.records: list[logging.LogRecord] = []
        logger = logging.getLogger(f"test_crowds.{name}")
        logger.setLevel(level)
        logger.propagate = False
        handler = logging.Handler()
        handler.emit = self.records.append  # type: ignore[method-assign, assignment]
        logger.handlers = [handler]
        self._observer = LoggingObserver(logger)

    def tell(self, *events: Event) -> list[tuple[str, int]]:
        """Tell events; give the lines that were written for them."""
        self.records.clear()
        for event in events:
            self._observer.observe(event)
        return [(r.getMessage(), r.fields.get("more", 0)) for r in self.records]  # type: ignore[attr-defined]


@pytest.fixture
def log(clock: Clock) -> Log:
    return Log("info", logging.INFO)


def refused(status: int = 401, reason: str = "Unauthorized") -> Iterator[StreamClientRefused]:
    for number in count():
        yield StreamClientRefused(f"10.0.0.{number}", reason, status, f"detail {number}")


def test_ten_thousand_refusals_are_one_line_and_later_one_with_their_number(
    log: Log, clock: Clock
) -> None:
    some = refused()
    lines = log.tell(*(next(some) for _ in range(10_000)))
    assert lines == [("stream client refused, 401: Unauthorized", 0)]
    clock.now = 9.9
    assert log.tell(next(some)) == []
    clock.now = 10
    assert log.tell(OTHER) == [
        ("stream client refused, 401: Unauthorized", 9_999),
        ("something else", 0),
    ]
    assert log.records[0].fields["client"] == "10.0.0.10000"  # type: ignore[attr-defined]


def test_while_the_crowd_goes_on_there_is_a_line_each_ten_seconds(log: Log, clock: Clock) -> None:
    some, lines = refused(), []
    for _ in range(4_000):
        lines += log.tell(next(some))
        clock.now += 0.01
    clock.now += 10
    lines += log.tell(OTHER)[:-1]
    assert len(lines) == 5
    assert sum(1 + more for _, more in lines) == 4_000


def test_what_comes_after_a_calm_is_told_at_once(log: Log, clock: Clock) -> None:
    some = refused()
    assert len(log.tell(next(some))) == 1
    clock.now = 11
    assert log.tell(next(some)) == [("stream client refused, 401: Unauthorized", 0)]


def test_each_kind_is_counted_for_itself(log: Log) -> None:
    kinds: list[Event] = [
        next(refused(401, "Unauthorized")),
        next(refused(503, "connections: 10000")),
        next(refused(503, "connections: 10 for one address")),
        StreamClientClosed("10.0.0.1", 1009, "too big"),
        StreamClientClosed("10.0.0.1", 4008, "lagged"),
        StreamHookFailed("chat", "onJoin", "E: x", "f.py:1", "", "t"),
        StreamHookFailed("chat", "onLeave", "E: x", "f.py:1", "", "t"),
        StreamHookFailed("news", "onJoin", "E: x", "f.py:1", "", "t"),
        StreamHookFailed("chat", "onJoin", "Other: x", "f.py:1", "", "t"),
        StreamConnectionFailed("10.0.0.1", "E: x", ""),
    ]
    assert len(log.tell(*kinds)) == len(kinds)
    assert log.tell(*kinds) == []


def test_what_a_client_chooses_makes_no_other_kind(log: Log) -> None:
    failures = (
        StreamHookFailed(None, "authenticate", f"ValueError: bad token {number}", "f:1", "", "t")
        for number in range(100)
    )
    assert len(log.tell(*failures)) == 1


def test_even_kinds_without_end_take_a_bounded_number_of_lines(log: Log, clock: Clock) -> None:
    some = (next(refused(403, f"reason {number}")) for number in range(10_000))
    assert len(log.tell(*some)) == 201
    clock.now = 10
    ((_, more), _) = log.tell(OTHER)
    assert more == 10_000 - 201 - 1


def test_nothing_else_is_held_back(log: Log) -> None:
    assert len(log.tell(OTHER, OTHER, OTHER)) == 3


def test_usual_ends_are_told_each_to_who_wants_to_see_them(clock: Clock) -> None:
    log = Log("debug", logging.DEBUG)
    closed = StreamClientClosed("10.0.0.1", 1001, "the service is stopping")
    assert len(log.tell(closed, closed, closed)) == 3
