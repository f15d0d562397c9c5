"""Frames and messages: what clients may send, and how what they get is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio import codec
from motia_trio.streams.wire import (
    BadFrame,
    Frame,
    error_message,
    item_data,
    items_data,
    make_message,
    parse_frame,
)
from tests.support import words

JOIN = {"streamName": "chat", "groupId": "room-1", "subscriptionId": "s1"}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def frame(kind: Any, data: Any) -> str:
    return json.dumps({"type": kind, "data": data})


# what clients send


@given(NAMES, NAMES, st.none() | NAMES, NAMES, st.none() | st.integers(0, 2**53 - 1))
def test_a_frame_is_read_as_it_was_meant(
    stream: str, group: str, key: str | None, subscription: str, since: int | None
) -> None:
    data = {"streamName": stream, "groupId": group, "subscriptionId": subscription}
    optional: dict[str, Any] = {"id": key, "since": since}
    data |= {name: value for name, value in optional.items() if value is not None}
    for kind in ("join", "leave"):
        expected = Frame(kind == "leave", stream, group, key, subscription, since)
        assert parse_frame(frame(kind, data)) == expected


def test_what_is_null_is_as_if_it_were_not_there_and_what_is_unknown_is_ignored() -> None:
    given = parse_frame(frame("join", {**JOIN, "id": None, "since": None, "more": [1]}))
    assert given == Frame(False, "chat", "room-1", None, "s1", None)  # noqa: FBT003


BAD: list[tuple[str, str]] = [
    ("", "not JSON"),
    ("{", "not JSON"),
    ("hello", "not JSON"),
    ("[" * 5000, "not JSON"),
    ("[]", "expected an object"),
    ('"join"', "expected an object"),
    ("null", "expected an object"),
    ("{}", "unknown type None"),
    (frame("subscribe", JOIN), "unknown type 'subscribe'"),
    (frame(1, JOIN), "unknown type 1"),
    (frame(["join"], JOIN), "unknown type"),
    (frame({"join": 1}, JOIN), "unknown type"),
    (frame("join", None), "join: data must be an object"),
    (frame("leave", [JOIN]), "leave: data must be an object"),
    (frame("join", {**JOIN, "since": "5"}), "since is the seq of a message"),
    (frame("join", {**JOIN, "since": 5.0}), "since is the seq of a message"),
    (frame("join", {**JOIN, "since": True}), "since is the seq of a message"),
    (frame("join", {**JOIN, "since": -1}), "since is the seq of a message"),
    (frame("join", {**JOIN, "since": 2**53}), "since is the seq of a message"),
    (frame("join", {**JOIN, "since": 10**400}), "since is the seq of a message"),
    (frame("join", {**JOIN, "id": ""}), "join: id"),
    (frame("join", {**JOIN, "id": 7}), "join: id"),
    (frame("join", {**JOIN, "id": {"a": 1}}), "join: id"),
    *(
        (frame("join", {name: value for name, value in JOIN.items() if name != missing}), missing)
        for missing in JOIN
    ),
    *(
        (frame("leave", {**JOIN, name: wrong}), f"leave: {name}")
        for name in JOIN
        for wrong in ("", None, 1, ["x"], "x" * 513, "é" * 257)
    ),
]


@pytest.mark.parametrize(("text", "said"), BAD, ids=words)
def test_a_bad_frame_is_told_what_is_wrong_with_it(text: str, said: str) -> None:
    with pytest.raises(BadFrame) as told:
        parse_frame(text)
    assert said in str(told.value)


def test_what_a_bad_frame_is_told_is_short_and_can_be_sent() -> None:
    for text in (
        frame("x" * 100_000, JOIN),
        frame("join", {**JOIN, "groupId": "é" * 50_000}),
        frame("join", {**JOIN, "id": "\ud800"}),
        frame("join", {**JOIN, "since": "9" * 50_000}),
        '{"a":' * 50_000,
    ):
        with pytest.raises(BadFrame) as told:
            parse_frame(text)
        message = error_message(str(told.value))
        assert len(message.text) < 500
        assert json.loads(message.text) == {"type": "error", "message": str(told.value)}


@given(st.text(max_size=40) | JSON.map(json.dumps) | JSON.map(lambda data: frame("join", data)))
def test_whatever_is_sent_is_a_frame_or_a_bad_one(text: str) -> None:
    try:
        parse_frame(text)
    except BadFrame:
        pass


# what clients get


@given(st.dictionaries(st.text(max_size=4), JSON, max_size=4), NAMES)
def test_an_item_has_its_key_as_id_unless_it_has_an_id(item: dict[str, Any], key: str) -> None:
    sent = json.loads(item_data(codec.encode(item), key))
    assert sent == ({"id": key} | item)


@pytest.mark.parametrize(
    ("raw", "sent"),
    [
        (b"{}", {"id": "k"}),
        (b'{"a":{"id":5}}', {"id": "k", "a": {"id": 5}}),
        (b'{"a":"\\"id\\":"}', {"id": "k", "a": '"id":'}),
        (b'{"identity":1}', {"id": "k", "identity": 1}),
        (b'{"a":1,"id":null}', {"a": 1, "id": None}),
        (b'{"\\u0069d":3}', {"id": 3}),
        (b'{"id":"other","a":{"id":"k"}}', {"id": "other", "a": {"id": "k"}}),
        (b'{"id":"k"}', {"id": "k"}),
        (b'[{"a":1}]', [{"a": 1}]),
        (b'"{"', "{"),
        (b"5", 5),
        (b"null", None),
    ],
    ids=words,
)
def test_only_an_object_that_lacks_an_id_gets_one(raw: bytes, sent: Any) -> None:
    assert json.loads(item_data(raw, "k")) == sent


def test_an_item_is_not_read_through_to_get_its_id() -> None:
    raw = b'{"deep":' + b"[" * 500 + b"]" * 500 + b"}"
    assert item_data(raw, "k") == b'{"id":"k",' + raw[1:]


@given(st.dictionaries(NAMES, st.dictionaries(st.text(max_size=3), JSON, max_size=2), max_size=4))
def test_a_group_is_the_list_of_its_items(items: dict[str, dict[str, Any]]) -> None:
    data = items_data((key, codec.encode(item)) for key, item in items.items())
    assert json.loads(data) == [{"id": key} | item for key, item in items.items()]


@given(
    st.sampled_from(["sync", "resume", "create", "update", "delete", "event", "unauthorized"]),
    JSON,
    NAMES,
    NAMES,
    st.none() | NAMES,
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**53 - 1),
)
def test_a_message_says_what_it_is_about(
    kind: Any, data: Any, stream: str, group: str, key: str | None, seq: int, stamp: int
) -> None:
    raw = codec.encode(data)
    message = make_message(kind, raw, stamp=stamp, seq=seq, stream=stream, group=group, key=key)
    told = json.loads(message.text)
    assert told.pop("timestamp") == pytest.approx(stamp / 1000, rel=1e-15)
    event: dict[str, Any] = {"type": kind}
    if kind != "unauthorized":
        event["event" if kind == "event" else "data"] = data
    expected = {"type": "stream", "seq": seq, "streamName": stream, "groupId": group}
    assert told == expected | ({} if key is None else {"id": key}) | {"event": event}
    assert (message.kind, message.seq, message.place) == (kind, seq, (stream, group, key))
    assert message.is_change == (kind in {"create", "update", "delete"})


def test_an_item_that_is_not_there_is_null() -> None:
    message = make_message("sync", None, stamp=1, seq=2, stream="s", group="g", key="k")
    assert json.loads(message.text)["event"] == {"type": "sync", "data": None}


@given(st.integers(1_700_000_000_000_000, 4_000_000_000_000_000), st.integers(1, 5000))
def test_stamps_that_grow_are_timestamps_that_grow_in_javascript_too(stamp: int, by: int) -> None:
    before, after = (
        json.loads(
            make_message("sync", None, stamp=at, seq=1, stream="s", group="g", key=None).text
        )
        for at in (stamp, stamp + by)
    )
    # both ends read doubles
    assert float(before["timestamp"]) < float(after["timestamp"])


def test_a_timestamp_of_a_whole_millisecond_has_no_decimals() -> None:
    for stamp, told in (
        (1732233600123_000, b'"timestamp":1732233600123,'),
        (1732233600123_001, b'"timestamp":1732233600123.001,'),
        (1732233600123_120, b'"timestamp":1732233600123.120,'),
    ):
        text = make_message("sync", None, stamp=stamp, seq=1, stream="s", group="g", key="k").text
        assert told in text
