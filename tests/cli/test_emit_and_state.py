"""``motia-trio emit`` and ``motia-trio state``, with the service running and without."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from tests.support import invoke

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Shop


def test_a_message_is_handled_and_its_id_printed(shop: Shop) -> None:
    assert re.fullmatch(r"[0-9a-f]{14}\n", shop.out("emit", "order.placed", '{"id": 1}'))
    told = shop.json("emit", "order.placed", "-", input='{"id": "ä"}')
    assert told["steps"] == ["Ship"]
    shop.settle()
    assert shop.json("state", "list", "shipped") == [
        {"key": "1", "value": {"id": 1}},
        {"key": "ä", "value": {"id": "ä"}},
    ]


def test_a_topic_that_nobody_listens_to_is_told(shop: Shop) -> None:
    code, out, err = shop.run("emit", "order.place", "{}")
    assert (code, out) == (1, "")
    assert err == (
        "motia-trio: no step listens to 'order.place': nothing was kept; "
        "did you mean 'order.placed'?\n"
    )
    code, out, _ = shop.run("emit", "nothing.like.it", "--json")
    assert (code, json.loads(out)) == (1, {"id": None, "steps": []})


def test_a_message_may_have_every_option(shop: Shop) -> None:
    first = shop.out("emit", "order.placed", "{}", "--key", "k", "--at", "2999-01-01T00:00:00Z")
    assert shop.out("emit", "order.placed", "{}", "--key", "k") == first
    shop.out("emit", "order.placed", "{}", "--delay", "2h", "--group", "g", "--priority", "-3")
    code, out, _ = shop.run("status", "--json")
    assert code == (0 if shop.running else 3)
    (step,) = [each for each in json.loads(out)["steps"] if each["name"] == "Ship"]
    assert step["delayed"] == 2
    shop.out("emit", "order.placed", '{"bad": 1}', "--expires", "1h", "--trace-id", "ab" * 16)
    shop.settle()
    (letter,) = shop.json("dead-letters", "list")
    assert letter["trace_id"] == "ab" * 16


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["t", "{"], "'{' is no JSON: Expecting property name"),
        (["t", "piano"], "'piano' is no JSON: Expecting value: line 1 column 1 (char 0); a string"),
        (["t", "[NaN]"], "'[NaN]' is no JSON: NaN has no JSON form"),
        (["t", "--at", "tomorrow"], "'tomorrow' is no time: give 2026-12-24T18:00:00Z"),
        (["t", "--at", "2026-12-24T18:00"], "'2026-12-24T18:00' says no timezone: end it with Z"),
        (["t", "--delay", "1y"], "'1y' is no length of time"),
        (["t", "--delay", "1s", "--at", "2026-12-24T18:00Z"], "either --delay or --at"),
        (["t", "--priority", "11"], "11 is not in the range -10<=x<=10"),
        (["t", "--dir", "/does/not/exist"], "Directory '/does/not/exist' does not exist"),
        ([], "Missing argument 'TOPIC'"),
    ],
)  # fmt: skip
def test_wrong_usage_is_told(arguments: list[str], words: str) -> None:
    code, out, err = invoke("emit", *arguments)
    assert (code, out) == (2, "")
    assert words in err


def test_what_the_service_refuses_is_told_in_its_words(shop: Shop) -> None:
    code, _, err = shop.run("emit", "order.placed", "--trace-id", "xyz")
    assert (code, err) == (
        1,
        "motia-trio: enqueue: trace_id = 'xyz': 32 lower-case hex digits\n",
    )
    code, _, err = shop.run("emit", "order.placed", json.dumps("x" * 1_100_000))
    assert code == 1
    assert "1100002 bytes are over the limit of 1048576" in err
    code, _, err = shop.run("emit", "order.placed", json.dumps("x" * 3_000_000))
    assert code == 1
    assert "bytes" in err
    code, _, err = shop.run("emit", "order.placed", '"\\ud800"')
    assert code == 1
    assert "surrogates" in err


def test_steps_must_load_where_no_service_knows_who_listens(tmp_path: Path) -> None:
    code, _, err = invoke("emit", "order.placed", "--dir", tmp_path)
    assert code == 1
    assert err.startswith(f"motia-trio: {tmp_path}: no steps found: looked below src/ and steps/")
    assert not list(tmp_path.iterdir())


# the state


def test_values_are_set_read_listed_and_deleted(shop: Shop) -> None:
    assert shop.out("state", "set", "orders", "17", '{"paid": [true, null]}') == "set orders 17\n"
    assert shop.json("state", "set", "orders", "18", "null") == {
        "new_value": None,
        "old_value": None,
    }
    assert json.loads(shop.out("state", "get", "orders", "17")) == {"paid": [True, None]}
    assert shop.out("state", "get", "orders", "18") == "null\n"
    assert shop.json("state", "get", "orders", "17") == {
        "group": "orders",
        "key": "17",
        "value": {"paid": [True, None]},
    }
    shop.out("state", "set", "sessions", "ada", "-", "--ttl", "1h", input='"open"')
    assert shop.out("state", "list") == "orders\nsessions\n"
    assert shop.json("state", "list") == ["orders", "sessions"]
    assert shop.out("state", "list", "orders").splitlines() == [
        "KEY  VALUE",
        '17   {"paid": [true, null]}',
        "18   null",
    ]
    assert shop.json("state", "delete", "orders", "18") == {"old_value": None}
    assert shop.out("state", "delete", "orders", "17") == "deleted orders 17\n"
    assert shop.out("state", "list") == "sessions\n"


def test_a_key_that_is_not_there_is_a_failure(shop: Shop) -> None:
    shop.out("state", "set", "orders", "17", "1")
    for verb in ("get", "delete"):
        code, out, err = shop.run("state", verb, "orders", "18")
        assert (code, out) == (1, "")
        assert err == "motia-trio: there is no '18' in 'orders'\n"
    code, out, err = shop.run("state", "list", "nobody")
    assert (code, out, err) == (0, "", "no keys in nobody\n")
    assert shop.json("state", "list", "nobody") == []
    code, _, err = shop.run("state", "set", "", "k", "1")
    assert (code, "group is a non-empty string" in err) == (1, True)


def test_a_change_is_told_to_the_steps_that_watch(shop: Shop) -> None:
    """Also where no service runs: then it waits for one."""
    shop.out("state", "set", "watched", "a", "[1]")
    shop.settle()
    assert shop.out("state", "get", "told", "a") == "[\n  1\n]\n"
    shop.out("state", "delete", "watched", "a")
    shop.settle()
    assert shop.out("state", "get", "told", "a") == "null\n"


def test_very_many_are_listed(shop: Shop) -> None:
    """More than one answer has."""
    for number in range(3):
        shop.out("state", "set", f"g{number}", "k", json.dumps("x" * 900_000))
        for key in "abc":
            shop.out("state", "set", "big", f"{number}{key}", json.dumps("x" * 900_000))
    listed = shop.json("state", "list", "big")
    assert [item["key"] for item in listed] == [f"{n}{k}" for n in range(3) for k in "abc"]
    assert {len(item["value"]) for item in listed} == {900_000}
