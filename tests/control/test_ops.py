"""What may be asked over the control socket, and the words when it may not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio.control import ops
from motia_trio.control.ops import RequestInvalid, parse_request
from motia_trio.control.protocol import (
    VERSION,
    Refused,
    encode_request,
    read_answer,
    request_limit,
)


def request(op: str, **params: Any) -> dict[str, Any]:
    return {"v": VERSION, "op": op, "params": params}


def test_a_request_is_the_operation_with_its_parameters() -> None:
    assert parse_request(request("state.get", group="g", key="k")) == ops.StateGet(
        group="g", key="k"
    )
    assert parse_request({"v": 1, "op": "status"}) == ops.Status()
    op = parse_request(request("enqueue", topic="t", at="2026-12-24T18:00:00+01:00", delay=None))
    assert isinstance(op, ops.Enqueue)
    assert op.at is not None
    assert op.at.isoformat() == "2026-12-24T18:00:00+01:00"


def test_every_operation_has_an_example_here_that_is_one() -> None:
    examples: dict[str, dict[str, Any]] = {
        "status": {},
        "enqueue": {"topic": "t", "data": {"a": 1}, "group": "g", "delay": 1, "key": "k",
                    "priority": -10, "expires": 2.5, "trace_id": "0" * 32},
        "dead_letters.list": {"step": "S", "topic": "t", "older_than": 3, "after": "0", "limit": 9},
        "dead_letters.get": {"id": "0123456789abcdef"},
        "dead_letters.redrive": {"ids": ["1", "2"], "step": "S"},
        "dead_letters.discard": {"older_than": 0.5},
        "cron.list": {},
        "cron.run": {"step": "S", "trigger": "@daily"},
        "state.get": {"group": "g", "key": "k"},
        "state.set": {"group": "g", "key": "k", "value": None, "ttl": 60},
        "state.delete": {"group": "g", "key": "k"},
        "state.list": {"group": "g", "after": "k", "limit": 10},
        "store.info": {},
        "store.vacuum": {},
        "store.backup": {"target": "/backups/store.db"},
    }  # fmt: skip
    assert set(examples) == set(ops.OPS)
    for name, params in examples.items():
        assert type(parse_request(request(name, **params))) is ops.OPS[name]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ([], "a request is an object with v, op and params"),
        ({"op": "status"}, "v = None: this service speaks version 1 of the control protocol; use"),
        ({"v": 2, "op": "status"}, "v = 2: this service speaks version 1"),
        ({"v": 1, "op": "status", "more": 1}, "a request has v, op and params, and no 'more'"),
        ({"v": 1}, "unknown op None; known: status, enqueue, dead_letters.list"),
        ({"v": 1, "op": ["status"]}, r"unknown op \['status'\]"),
        (request("state.put"), r"unknown op 'state.put'; did you mean 'state.set'\?"),
        ({"v": 1, "op": "status", "params": 3}, "status: params is an object, not 3"),
        (request("status", verbose=True), "status: verbose: no such parameter"),
        (request("state.get", group="g"), "state.get: key is missing"),
        (request("state.get", group=1, key="k"), "group = 1: Input should be a valid string"),
        (request("state.set", group="g", key="k"), "state.set: value is missing"),
        (request("enqueue", topic="t", delay="soon"), "delay = 'soon': Input should be a valid"),
        (request("enqueue", topic="t", at="2026-12-24"), "at = '2026-12-24': Input should have"),
        (request("enqueue", topic="t", trace_id="X"), "trace_id = 'X': 32 lower-case hex digits"),
        (request("enqueue", topic="t", priority=True), "priority = True: Input should be a valid"),
        (request("dead_letters.get", id="xyz"), "id = 'xyz': an id of a dead letter is 16 hex"),
        (request("dead_letters.get", id="f" * 16), "an id of a dead letter is 16 hex digits"),
        (request("dead_letters.list", limit=0), "limit = 0: Input should be greater than"),
        (request("dead_letters.redrive", ids=["1"] * 101), "at most 100 items"),
        (request("store.backup", target="b.db"), "target = 'b.db': must be an absolute path"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(wrong: Any, words: str) -> None:
    with pytest.raises(RequestInvalid, match=words):
        parse_request(wrong)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(JSON, JSON)
def test_whatever_is_asked_is_an_operation_or_told_in_short(whole: Any, params: Any) -> None:
    for op in (*ops.OPS, whole):
        for asked in (whole, {"v": 1, "op": op, "params": params}):
            try:
                told = repr(parse_request(asked).within)
            except RequestInvalid as error:
                told = str(error)
            assert 0 < len(told) < 1000


def test_a_deep_value_that_does_not_fit_is_told_too() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(RequestInvalid, match="group = "):
        parse_request(request("state.get", group=deep, key="k"))


# the client's side


def test_a_request_is_one_line_and_an_answer_is_read_or_raised() -> None:
    line = encode_request("state.set", {"value": "two\nlines ä"})
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert json.loads(line)["params"] == {"value": "two\nlines ä"}
    assert read_answer(b'{"v":1,"result":null}\n') is None
    with pytest.raises(Refused, match="no such key") as caught:
        read_answer(b'{"v":1,"error":{"type":"KeyError","message":"no such key"}}\n')
    assert caught.value.kind == "KeyError"


@pytest.mark.parametrize("line", [b"", b"hello", b"[]", b'"error"', b'{"error":1}', b"{}"])
def test_what_is_no_answer_is_told(line: bytes) -> None:
    with pytest.raises(ValueError, match=r"no answer of|Expecting value"):
        read_answer(line)


def test_what_has_no_json_form_is_not_sent() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_request("state.set", {"value": float("nan")})
    with pytest.raises(ValueError, match="surrogates"):
        encode_request("state.set", {"value": "\ud800"})


def test_every_message_within_the_limit_fits_a_request() -> None:
    limit = 10_000
    for value in ("\x00" * (limit // 6 - 1), "ä" * (limit // 2 - 1), [1e22] * (limit // 5)):
        params = {"group": "g" * 512, "key": "k" * 512, "value": value}
        assert len(encode_request("state.set", params)) <= request_limit(limit)
