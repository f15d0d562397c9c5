"""``motia-trio dead-letters``, with the service running and without."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support import invoke

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shop

NOBODY = "00000000000000ff"


def test_they_are_listed_shown_redriven_and_discarded(shop: Shop) -> None:
    assert shop.run("dead-letters", "list")[0] == (0 if shop.running else 1)
    first, second, third = shop.bury("piano", "organ", "harp")
    header, *lines = shop.out("dead-letters", "list").splitlines()
    assert header.split() == ["ID", "AGE", "STEP", "TOPIC", "ATTEMPTS", "REASON"]
    assert len(lines) == 3
    assert re.fullmatch(
        first
        + r" +\d+s +Ship +order\.placed +1 +failed once; last: RuntimeError: too heavy: piano",
        lines[0],
    )

    shown = shop.out("dead-letters", "show", second)
    assert f"id          {second}\n" in shown
    assert '"bad": "organ"' in shown
    assert "  RuntimeError: too heavy: organ\n  steps/ship_step.py:11 in handler\n" in shown
    assert "  Traceback (most recent call last):" in shown
    full = shop.json("dead-letters", "show", second)
    assert (full["id"], full["data"]) == (second, {"bad": "organ"})

    code, out, err = shop.run("dead-letters", "redrive", first, NOBODY)
    assert (code, out) == (1, "redriven 1\n")
    assert f"motia-trio: {NOBODY}: no such dead letter" in err
    shop.settle()
    assert len(shop.json("dead-letters", "list")) == 3  # it died again
    assert shop.json("dead-letters", "redrive", first, second) == {"redriven": 2, "missing": []}
    shop.settle()

    assert shop.out("dead-letters", "discard", third) == "discarded 1\n"
    assert shop.json("dead-letters", "discard", "--all", "--yes") == {
        "discarded": 2,
        "missing": [],
    }
    code, out, err = shop.run("dead-letters", "list")
    assert (code, out, err) == (0, "", "no dead letters\n")
    assert shop.json("dead-letters", "list") == []
    code, out, err = shop.run("dead-letters", "redrive", first)
    assert (code, out) == (1, "redriven 0\n")
    code, _, err = shop.run("dead-letters", "show", first)
    assert (code, err) == (1, f"motia-trio: there is no dead letter {first}\n")


def test_filters_choose(shop: Shop) -> None:
    ids = shop.bury("piano", "organ")
    listed = shop.json("dead-letters", "list", "--step", "Ship", "--topic", "order.placed")
    assert [letter["id"] for letter in listed] == ids
    assert shop.json("dead-letters", "list", "--older-than", "2h") == []
    assert shop.run("dead-letters", "list", "--step", "Nobody")[2] == "no dead letters fit\n"
    assert shop.out("dead-letters", "redrive", "--older-than", "7d") == "redriven 0\n"
    assert shop.out("dead-letters", "redrive", "--step", "Ship", "--limit", "1") == "redriven 1\n"
    shop.settle()
    code, out, err = shop.run("dead-letters", "list", "--limit", "1")
    assert (code, len(out.splitlines())) == (0, 2)
    assert err == "there are more than 1: give --limit N, or --all\n"
    assert shop.out("dead-letters", "discard", "--topic", "order.placed", "--yes") == (
        "discarded 2\n"
    )


def test_very_many_are_done_a_page_at_a_time(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("motia_trio.cli.dead_letters.AT_ONCE", 2)
    ids = shop.bury(*"abcde")
    assert len(shop.json("dead-letters", "list", "--all")) == 5
    assert shop.json("dead-letters", "redrive", *ids[:3]) == {"redriven": 3, "missing": []}
    shop.settle()
    assert shop.out("dead-letters", "redrive", "--all", "--limit", "3") == "redriven 3\n"
    shop.settle()
    assert shop.out("dead-letters", "discard", "--all", "--yes") == "discarded 5\n"


@pytest.mark.parametrize("verb", ["redrive", "discard"])
def test_what_to_do_it_to_must_be_said(tmp_path: Path, verb: str) -> None:
    code, _, err = invoke("dead-letters", verb, "--dir", tmp_path)
    assert code == 2
    assert "which? Give IDs, as `dead-letters list` prints them, or filters" in err
    code, _, err = invoke("dead-letters", verb, "--limit", "3", "--dir", tmp_path)
    assert code == 2
    code, _, err = invoke("dead-letters", verb, "1", "--all", "--dir", tmp_path)
    assert (code, "either IDs or --all" in err) == (2, True)
    code, _, err = invoke("dead-letters", verb, "piano", "--dir", tmp_path)
    assert (code, "'piano' is no id of a dead letter: 16 hex digits" in err) == (2, True)
    code, _, err = invoke("dead-letters", verb, "--older-than", "old", "--dir", tmp_path)
    assert (code, "'old' is no length of time: give 90 (seconds), 45s" in err) == (2, True)


def test_without_a_terminal_many_are_discarded_only_with_yes(tmp_path: Path) -> None:
    for chosen, which in (
        (["--all"], "all dead letters"),
        (["1", "2"], "2 dead letters"),
        (["--step", "Ship", "--topic", "t"], "all dead letters of step Ship of topic t"),
        (["--older-than", "36h", "--limit", "9"], "up to 9 dead letters older than 1d 12h"),
    ):
        code, _, err = invoke("dead-letters", "discard", *chosen, "--dir", tmp_path)
        assert code == 2
        assert f"this discards {which} for good: say so with --yes" in err


@pytest.mark.parametrize(("answer", "left"), [("y", 0), ("n", 2)])
def test_on_a_terminal_it_asks(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, answer: str, left: int
) -> None:
    shop.bury("piano", "organ")
    monkeypatch.setattr("motia_trio.cli.dead_letters._on_terminal", lambda: True)
    code, _, err = shop.run("dead-letters", "discard", "--all", input=f"{answer}\n")
    assert "Discard all dead letters for good? [y/N]" in err
    assert code == (0 if left == 0 else 1)
    assert len(shop.json("dead-letters", "list")) == left


def test_what_does_not_print_is_escaped(shop: Shop) -> None:
    """Nobody's message writes to a terminal what it likes."""
    (letter,) = shop.bury("\x1b[2Jä\n\u202e")
    for out in (shop.out("dead-letters", "list"), shop.out("dead-letters", "show", letter)):
        assert "\x1b" not in out
        assert "\u202e" not in out
        assert "\\x1b[2Jä" in out
    assert len(shop.out("dead-letters", "list").splitlines()) == 2
    out = shop.out("dead-letters", "show", letter, "--json")
    assert out.isascii()
    assert json.loads(out)["data"]["bad"] == "\x1b[2Jä\n\u202e"
