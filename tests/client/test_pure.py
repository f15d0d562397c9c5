"""The parts of the client that need no connection: addresses, waits, frames."""

from __future__ import annotations

import json

import pytest

from motia_trio.client import Backoff
from motia_trio.client.address import parse_address, with_token
from motia_trio.client.wire import (
    Heard,
    ServerError,
    UnknownFrame,
    join_frame,
    leave_frame,
    parse_message,
)


def test_a_url_is_taken_apart() -> None:
    address = parse_address("ws://example.org:3112/live?a=1")
    assert (address.secure, address.host, address.port) == (False, "example.org", 3112)
    assert address.resource == "/live?a=1"
    assert address.host_header == "example.org:3112"


def test_the_usual_ports_need_not_be_named() -> None:
    assert parse_address("ws://a").port == 80
    secure = parse_address("wss://a")
    assert (secure.port, secure.secure, secure.resource, secure.host_header) == (
        443,
        True,
        "/",
        "a",
    )


def test_an_address_of_ipv6_has_its_brackets_in_the_host_header_alone() -> None:
    address = parse_address("ws://[::1]:3112")
    assert (address.host, address.host_header) == ("::1", "[::1]:3112")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://a:1/", "begins with ws:// or wss://, unlike 'http://a:1/'"),
        ("localhost:3112", "begins with ws:// or wss://"),
        ("ws:///x", "names no host"),
        ("ws://me:secret@a/", r"'ws://a/' has a user in it"),
        ("ws://a:port/", "port"),
    ],
)
def test_a_url_that_cannot_be_used_is_told(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_address(url)
    assert "secret" not in str(caught.value)


def test_a_token_in_the_url_is_quoted_and_added_to_what_is_there() -> None:
    address = parse_address("ws://a/live?x=1")
    assert (
        with_token(address, "s p/ä&", "query").resource == "/live?x=1&authToken=s%20p%2F%C3%A4%26"
    )
    assert with_token(parse_address("ws://a"), "t", "query").resource == "/?authToken=t"


def test_a_token_is_a_sub_protocol_beside_authorization() -> None:
    assert with_token(parse_address("ws://a"), "ey.J-_", "protocol").protocols == (
        "Authorization",
        "ey.J-_",
    )


@pytest.mark.parametrize("token", ["a b", "a,b", "YQ==", "a/b", "ä", "a\r\nb"])
def test_a_token_that_is_no_sub_protocol_is_told_where_else_it_can_go(token: str) -> None:
    with pytest.raises(ValueError, match='token_in="query"'):
        with_token(parse_address("ws://a"), token, "protocol")


def test_an_empty_token_and_an_unknown_place_are_told() -> None:
    with pytest.raises(ValueError, match="the token is empty"):
        with_token(parse_address("ws://a"), "", "query")
    with pytest.raises(ValueError, match="not 'header'"):
        with_token(parse_address("ws://a"), "t", "header")  # type: ignore[arg-type]


def test_nothing_that_is_shown_of_an_address_has_the_token_in_it() -> None:
    address = parse_address("ws://a/live?key=hush", {"authorization": "Bearer hush"})
    for whole in (with_token(address, "hush", "query"), with_token(address, "hush", "protocol")):
        assert "hush" not in repr(whole)
        assert whole.shown == "ws://a/live"


@pytest.mark.parametrize(
    "headers", [{"a b": "c"}, {"": "c"}, {"x": "a\r\nb: c"}, {"x": "a\0"}, {"x": "\u20ac"}]
)
def test_a_header_that_cannot_be_sent_is_told(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="header"):
        parse_address("ws://a", headers)


# waits


def test_waits_double_up_to_the_longest() -> None:
    backoff = Backoff()
    waits = [backoff.wait_before(attempt, 1.0) for attempt in range(1, 11)]
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


def test_a_wait_is_between_a_half_and_the_whole() -> None:
    backoff = Backoff(first=1.0, longest=4.0)
    assert backoff.wait_before(2, 0.0) == 1.0
    assert backoff.wait_before(2, 0.5) == 1.5
    assert backoff.wait_before(100_000, 0.0) == 2.0


@pytest.mark.parametrize("wrong", [{"first": 0}, {"longest": 0}, {"stable": -1}])
def test_numbers_that_make_no_wait_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Backoff(**wrong)


# frames


def test_a_join_says_where_it_was_if_it_was() -> None:
    assert json.loads(join_frame("s", "chat", "r", None, None)) == {
        "type": "join",
        "data": {"streamName": "chat", "groupId": "r", "subscriptionId": "s"},
    }
    assert json.loads(join_frame("s", "chat", "r", "m", 7))["data"] == {
        "streamName": "chat",
        "groupId": "r",
        "id": "m",
        "subscriptionId": "s",
        "since": 7,
    }


def test_a_leave_says_the_same_without_since() -> None:
    join, leave = join_frame("s", "chat", "r", "m", None), leave_frame("s", "chat", "r", "m")
    assert leave == join.replace("join", "leave")


def test_a_message_is_read() -> None:
    text = (
        '{"type":"stream","timestamp":1.5,"seq":9,"streamName":"chat","groupId":"r","id":"m",'
        '"event":{"type":"update","data":{"id":"m", "n":1}},"later":"more"}'
    )
    assert parse_message(text) == Heard("update", "chat", "r", "m", 9, b'{"id":"m", "n":1}')


def test_an_event_is_found_where_it_is() -> None:
    text = '{"type":"stream","streamName":"c","groupId":"r","event":{"type":"event","event":{"type":"t"}}}'
    assert parse_message(text) == Heard("event", "c", "r", None, None, b'{"type":"t"}')


def test_a_resume_says_what_it_answers() -> None:
    text = '{"type":"stream","seq":9,"streamName":"c","groupId":"r","event":{"type":"resume","data":{"since":4}}}'
    assert parse_message(text) == Heard("resume", "c", "r", None, 9, b'{"since":4}', since=4)


def test_an_answer_may_say_whose_join_it_answers() -> None:
    text = '{"type":"stream","streamName":"c","groupId":"r","subscriptionId":"s","event":{"type":"%s"}}'
    for kind, whose in [("sync", "s"), ("unauthorized", "s"), ("create", None)]:
        heard = Heard(kind, "c", "r", None, None, b"null", subscription=whose)
        assert parse_message(text % kind) == heard


def test_what_the_server_says_of_bad_frames_is_read() -> None:
    assert parse_message('{"type":"error","message":"not JSON"}') == ServerError("not JSON")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[1]",
        "null",
        b"\x00\x01",
        '{"no":"type"}',
        '{"type":"pong"}',
        '{"type":"stream"}',
        '{"type":"stream","streamName":"c","groupId":"r"}',
        '{"type":"stream","streamName":7,"groupId":"r","event":{"type":"sync"}}',
        '{"type":"stream","streamName":"c","groupId":"r","event":{}}',
        '{"type":"stream","streamName":"c","groupId":"r","event":{"type":"resume"}}',
        '{"type":"stream","streamName":"c","groupId":"r","seq":"9","event":{"type":"sync"}}',
        "[" * 100_000,
        '"\ud800"',
    ],
)
def test_what_is_no_message_is_told_from_one(text: str) -> None:
    with pytest.raises(UnknownFrame):
        parse_message(text)
