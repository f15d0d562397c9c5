"""What waits to be sent: in order, merged where it grows, and never more than so much."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from motia_trio.streams.outbox import Outbox
from motia_trio.streams.wire import Kind, Message, make_message
from tests.streams.followers import GroupState

KEYS = "abc"


class Writer:
    """Makes messages as the hub does: of one group, each change as its item demands it."""

    def __init__(self) -> None:
        self.seq = 100
        self.stamp = 1_000_000
        self.items: dict[str, dict[str, Any]] = {}

    def _message(self, kind: Kind, data: Any, key: str | None) -> Message:
        self.stamp += 1
        raw = json.dumps(data, separators=(",", ":")).encode()
        return make_message(
            kind, raw, stamp=self.stamp, seq=self.seq, stream="chat", group="room", key=key
        )

    def set(self, key: str, size: int = 0) -> Message:
        kind: Kind = "update" if key in self.items else "create"
        self.seq += 1
        self.items[key] = {"id": key, "n": self.seq, "more": "x" * size}
        return self._message(kind, self.items[key], key)

    def delete(self, key: str) -> Message:
        self.seq += 1
        return self._message("delete", self.items.pop(key), key)

    def event(self, key: str | None = None) -> Message:
        return self._message("event", {"type": "note", "data": self.stamp}, key)

    def sync(self) -> Message:
        return self._message("sync", [*self.items.values()], None)


def told(messages: Iterable[Message]) -> list[dict[str, Any]]:
    return [json.loads(message.text) for message in messages]


def state(messages: Iterable[Message]) -> dict[str, Any]:
    group = GroupState()
    for message in told(messages):
        group.hear(message)
    return group.value


def events(messages: Iterable[Message]) -> list[bytes]:
    return [message.text for message in messages if message.kind == "event"]


def drained(outbox: Outbox) -> list[Message]:
    out = []
    while (message := outbox.take()) is not None:
        out.append(message)
    return out


ACTIONS = st.one_of(
    st.tuples(st.just("set"), st.sampled_from(KEYS), st.sampled_from([0, 0, 0, 200, 900])),
    st.tuples(st.just("delete"), st.sampled_from(KEYS), st.just(0)),
    st.tuples(st.just("event"), st.sampled_from([*KEYS, ""]), st.just(0)),
    st.tuples(st.just("answer"), st.just(""), st.just(0)),
    st.tuples(st.just("take"), st.just(""), st.sampled_from([1, 1, 3])),
)


def play(actions: list[tuple[str, str, int]], outbox: Outbox) -> tuple[list[Message], ...]:
    """Give what was put, what was taken, and what had to be left out of both."""
    writer = Writer()
    put: list[Message] = []
    taken: list[Message] = []
    for what, key, number in actions:
        message = None
        if what == "set":
            message = writer.set(key, number)
        elif what == "delete" and key in writer.items:
            message = writer.delete(key)
        elif what == "event":
            message = writer.event(key or None)
        elif what == "answer":
            put.append(writer.sync())
            outbox.answer([put[-1]])
        elif what == "take":
            taken += [each for _ in range(number) if (each := outbox.take()) is not None]
        if message is not None:
            put.append(message)
            if not outbox.put(message):
                return put, taken, put[-1:]
    return put, taken, []


@given(st.lists(ACTIONS, max_size=60), st.integers(2, 12), st.sampled_from([600, 2000, 10**6]))
def test_who_is_sent_what_is_taken_ends_where_who_was_sent_all_would(
    actions: list[tuple[str, str, int]], limit: int, limit_bytes: int
) -> None:
    outbox = Outbox(limit, limit_bytes)
    put, taken, _ = play(actions, outbox)
    taken += drained(outbox)
    assert state(taken) == state(put)
    assert events(taken) == events(put)
    assert [each for each in taken if each.kind == "sync"] == [
        each for each in put if each.kind == "sync"
    ]
    for before, after in zip(told(taken), told(taken)[1:], strict=False):
        assert before["seq"] <= after["seq"]
        assert before["timestamp"] < after["timestamp"]
    assert (len(outbox), outbox.bytes) == (0, 0)


@given(st.lists(ACTIONS, max_size=60), st.integers(2, 12), st.sampled_from([600, 2000, 10**6]))
@example([("set", "a", 0), ("set", "a", 200), ("set", "a", 900)], 12, 1100)
def test_there_is_no_room_only_if_there_is_none_when_all_is_merged(
    actions: list[tuple[str, str, int]], limit: int, limit_bytes: int
) -> None:
    outbox = Outbox(limit, limit_bytes)
    put, taken, over = play(actions, outbox)
    waiting = _merged(put, taken)
    size = sum(len(message.text) for message in waiting)
    if over:
        assert len(waiting) > limit or size > limit_bytes
    else:
        counted = sum(message.kind != "sync" for message in drained(outbox))
        assert counted <= limit


def _merged(put: list[Message], taken: list[Message]) -> list[Message]:
    """What of all that was put still waits, answers left out, when it is merged as far as it can be.

    Told by what has been taken: that and all that it stands for does not wait any more.
    """
    segments: list[list[Message]] = [[]]
    gone = {message.text for message in taken}
    last = max((message.seq for message in taken if message.is_change), default=0)
    for message in put:
        if message.kind == "sync":
            segments.append([])
        elif message.text not in gone and not (message.is_change and message.seq <= last):
            segments[-1].append(message)
    return [message for segment in segments for message in _merged_segment(segment)]


def _merged_segment(segment: list[Message]) -> list[Message]:
    kept: list[Message | None] = []
    open_: dict[Any, int] = {}
    for message in segment:
        kept.append(message)
        if not message.is_change:
            continue
        before = open_.get(message.place)
        if before is not None:
            first = kept[before]
            assert first is not None
            kept[before] = None
            if first.kind == "create":
                kept[-1] = None if message.kind == "delete" else message.as_create()
        if message.kind == "delete" and before is not None and kept[-1] is None:
            del open_[message.place]
        elif message.kind == "delete":
            open_.pop(message.place, None)
        else:
            open_[message.place] = len(kept) - 1
    return [message for message in kept if message is not None]


def test_nothing_is_merged_as_long_as_less_than_half_of_it_is_full() -> None:
    outbox, writer = Outbox(20, 10**6), Writer()
    put = [writer.set("a") for _ in range(10)]
    assert all(outbox.put(message) for message in put)
    assert drained(outbox) == put


def test_from_half_of_it_on_only_the_newest_update_of_an_item_waits() -> None:
    outbox, writer = Outbox(20, 10**6), Writer()
    first = writer.set("a")
    outbox.put(first)
    assert outbox.take() is first
    for _ in range(1000):
        newest = [writer.set("b"), writer.set("a")]
        assert all(outbox.put(message) for message in newest)
    b, a = told(drained(outbox))
    assert (b["event"]["type"], b["event"]["data"]) == ("create", writer.items["b"])
    assert (a["event"]["type"], a["event"]["data"]) == ("update", writer.items["a"])


@pytest.mark.parametrize("limit_bytes", [500, 10**6])
def test_it_is_full_by_messages_or_by_bytes(limit_bytes: int) -> None:
    outbox, writer = Outbox(10, limit_bytes), Writer()
    fit = 0
    while outbox.put(writer.event()):
        fit += 1
        assert outbox.bytes <= limit_bytes
    assert fit == (10 if limit_bytes == 10**6 else 500 // len(writer.event().text))


def test_events_are_never_merged() -> None:
    outbox, writer = Outbox(10, 10**6), Writer()
    put = [writer.event("a") for _ in range(10)]
    assert all(outbox.put(message) for message in put)
    assert drained(outbox) == put


def test_an_item_that_is_made_and_goes_again_while_all_is_merged_is_never_heard_of() -> None:
    outbox, writer = Outbox(4, 10**6), Writer()
    put = [writer.event(), writer.event()]
    for _ in range(100):
        for message in (writer.set("a"), writer.set("a"), writer.delete("a")):
            assert outbox.put(message)
    for message in put:
        assert outbox.put(message)
    assert drained(outbox) == put


def test_a_delete_is_told_whatever_comes_after_it() -> None:
    outbox, writer = Outbox(4, 10**6), Writer()
    writer.set("a")
    put = [writer.event(), writer.event(), writer.delete("a"), writer.set("a"), writer.set("a")]
    assert all(outbox.put(message) for message in put)
    kinds = [message.kind for message in drained(outbox)]
    assert kinds == ["event", "event", "delete", "create"]


def test_nothing_is_merged_across_the_answer_to_a_join() -> None:
    outbox, writer = Outbox(4, 10**6), Writer()
    writer.set("a")
    put = [writer.set("a"), writer.event()]
    assert all(outbox.put(message) for message in put)
    answer = writer.sync()
    outbox.answer([answer])
    after = [writer.set("a"), writer.set("a")]
    assert all(outbox.put(message) for message in after)
    assert drained(outbox) == [*put, answer, after[-1]]


def test_answers_take_no_room() -> None:
    outbox, writer = Outbox(2, 300), Writer()
    writer.set("a", 5000)
    outbox.answer([writer.sync(), writer.sync(), writer.sync()])
    assert (len(outbox), outbox.bytes) == (3, 0)
    assert outbox.put(writer.event())
    assert outbox.put(writer.event())
    assert not outbox.put(writer.event())


def test_when_it_was_empty_it_is_as_if_it_were_new() -> None:
    outbox, writer = Outbox(4, 10**6), Writer()
    for _ in range(3):
        put = [writer.set("a"), writer.set("a")]
        assert all(outbox.put(message) for message in put)
        assert drained(outbox) == put
        assert outbox.take() is None
        for _ in range(100):
            assert outbox.put(writer.set("a"))
        assert len(drained(outbox)) <= 2
