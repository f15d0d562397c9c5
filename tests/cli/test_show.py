"""How the commands print and what they take: tables, times, sizes, JSON, progress."""

from __future__ import annotations

import io
import json
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio.cli import progress as progressing
from motia_trio.cli import show
from motia_trio.cli.progress import progress
from motia_trio.cli.values import duration, letter_id, moment, parse_json


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self) -> bool:
        return True


def test_a_table_has_a_column_as_wide_as_its_widest_cell() -> None:
    rows = [("a", 1, "x"), ("long name", 100, "y z")]
    assert list(show.table(("NAME", "N", "REST"), rows, numbers={"N"})) == [
        "NAME         N  REST",
        "a            1  x",
        "long name  100  y z",
    ]
    assert list(show.table(("NAME", "N"), [])) == ["NAME  N"]


def test_very_many_rows_are_laid_out_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "_AT_ONCE", 2)
    taken: list[int] = []

    def rows() -> Any:
        for number in range(1, 6):
            taken.append(number)
            yield ("x" * number, "y")

    lines = show.table(("A", "B"), rows())
    assert next(lines) == "A   B"
    assert taken == [1, 2]
    assert list(lines) == ["x   y", "xx  y", "xxx   y", "xxxx  y", "xxxxx  y"]


def test_on_a_terminal_a_line_ends_where_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((30, 20)))
    lines = list(show.table(("ID", "REASON"), [("1", "a long story " * 9)]))
    assert lines == ["ID  REASON", "1   a long story a long sto..."]
    wide = list(show.table(("ID", "REASON"), [("1" * 40, "a long story")]))
    assert wide[1] == "1" * 40 + "  a long story"


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(-1, "0s"), (0, "0s"), (0.9, "0s"), (59.9, "59s"), (60, "1m"), (61, "1m 1s"),
     (3600, "1h"), (3661, "1h 1m"), (86_400 * 3 + 3600 * 5 + 7, "3d 5h"), (86_400 + 59, "1d")],
)  # fmt: skip
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds: float, told: str) -> None:
    assert show.span(seconds) == told


def test_how_long_ago_something_was() -> None:
    assert show.since(None) == "-"
    at = datetime.now(UTC) - timedelta(hours=2, minutes=3, seconds=30)
    assert show.since(at.isoformat().replace("+00:00", "Z")) == "2h 3m"


@pytest.mark.parametrize(
    ("count", "told"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1536 * 1024, "1.5 MiB"),
     (5 << 30, "5.0 GiB"), (3 << 40, "3.0 TiB"), (3 << 50, "3072.0 TiB")],
)  # fmt: skip
def test_sizes(count: int, told: str) -> None:
    assert show.size(count) == told


@given(st.text())
def test_what_is_printed_is_one_line_of_what_prints(text: str) -> None:
    assert show.clean(text).isprintable()
    assert show.clean("ä" + text).startswith("ä")


@given(st.recursive(st.none() | st.text(), st.lists, max_leaves=5))
def test_values_are_printed_as_json_that_does_nothing_to_a_terminal(value: Any) -> None:
    for indent in (None, 2):
        text = show.short_json(value, indent=indent)
        assert json.loads(text) == value
        assert text.replace("\n", "").isprintable()


def test_an_array_is_printed_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    for values in ([], [1], [{"a": "ä"}, None]):
        show.print_json_list(iter(values))
        out = capsys.readouterr().out
        assert json.loads(out) == values
        assert out.isascii()
        assert len(out.splitlines()) == (len(values) + 2 if values else 1)


# what is given


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("0", 0), ("1.5", 1.5), ("45s", 45), ("30m", 1800), ("2h", 7200), ("7d", 604_800),
     ("1w", 604_800), ("1h30m", 5400), ("250ms", 0.25), ("1.5h", 5400)],
)  # fmt: skip
def test_lengths_of_time(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "-2h", "2 h", "2H", "1y", "2hours", "²", "1e3"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no length of time"):
        duration(text)


def test_moments_say_their_timezone() -> None:
    assert moment("2026-12-24T18:00:00Z") == "2026-12-24T18:00:00+00:00"
    assert moment("2026-12-24 18:00+01:00") == "2026-12-24T18:00:00+01:00"
    with pytest.raises(click.BadParameter, match="says no timezone"):
        moment("2026-12-24")
    with pytest.raises(click.BadParameter, match="is no time"):
        moment("18 o'clock")


def test_ids_of_dead_letters() -> None:
    assert letter_id("FF") == "00000000000000ff"
    for text in ("", "g", "0x1", "f" * 16, "0" * 17, "-1", "1 "):
        with pytest.raises(click.BadParameter, match="16 hex digits"):
            letter_id(text)


def test_json_on_the_command_line() -> None:
    assert parse_json('{"a": [1, null]}') == {"a": [1, None]}
    for text in ("", "piano", "NaN", "-Infinity", "[1,]", "[" * 100_000, "1 2"):
        with pytest.raises(click.BadParameter, match="is no JSON"):
            parse_json(text)


# what takes long


class Watched(Terminal):
    """A terminal that says when somebody wrote to it."""

    def __init__(self, *, alive: bool) -> None:
        super().__init__()
        self.alive = alive
        self.written = threading.Event()
        self.texts: list[str] = []

    def isatty(self) -> bool:
        return self.alive

    def write(self, text: str) -> int:
        self.texts.append(text)
        self.written.set()
        return len(text)


def test_what_is_done_at_once_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Watched(alive=True)
    monkeypatch.setattr(sys, "stderr", stderr)
    with progress(lambda: "never"):
        pass
    assert stderr.texts == []


@pytest.mark.parametrize("alive", [True, False])
def test_what_takes_long_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, *, alive: bool
) -> None:
    """On one line, which a terminal has no more when it is done."""
    stderr = Watched(alive=alive)
    monkeypatch.setattr(sys, "stderr", stderr)
    monkeypatch.setattr(progressing, "FIRST", 0.001)
    done = 7
    with progress(lambda: f"{done} redriven"):
        assert stderr.written.wait(30)
    first, last = stderr.texts[0], stderr.texts[-1]
    if alive:
        assert first == f"\r{'7 redriven (0 s)':<79}"
        assert last == f"\r{'':<79}\r"
    else:
        assert first == last == "7 redriven (0 s)\n"
