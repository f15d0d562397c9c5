"""From what a handler returned to what is sent."""

from __future__ import annotations

import datetime as dt
import enum
import json
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from motia_trio.data import Data
from motia_trio.errors import NotEncodable
from motia_trio.http_server.responses import NotAResponse, Response, error_response, to_response
from tests.support import words


def sent(body: Any, **more: Any) -> tuple[bytes, bytes]:
    """The content type and the bytes of a body."""
    response = to_response({"status": 200, "body": body, **more})
    return dict(response.headers)[b"content-type"], response.body


class Colour(enum.StrEnum):
    RED = "red"


JSON = b"application/json"
BINARY = b"application/octet-stream"


@pytest.mark.parametrize(
    ("body", "kind", "raw"),
    [
        ({"ok": True}, JSON, b'{"ok":true}'),
        (Data({"ok": True}), JSON, b'{"ok":true}'),
        ([1, 2], JSON, b"[1,2]"),
        (17, JSON, b"17"),
        (True, JSON, b"true"),
        (None, JSON, b"null"),
        (dt.date(2026, 1, 31), JSON, b'"2026-01-31"'),
        (Colour.RED, JSON, b'"red"'),
        ("<h1>é</h1>", b"text/html; charset=utf-8", "<h1>é</h1>".encode()),
        ("", b"text/html; charset=utf-8", b""),
        (b"\x00\xff", BINARY, b"\x00\xff"),
        (bytearray(b"ab"), BINARY, b"ab"),
        (memoryview(b"ab"), BINARY, b"ab"),
        ({"type": "Buffer", "data": [0, 255]}, BINARY, b"\x00\xff"),
        ({"type": "Buffer", "data": []}, BINARY, b""),
        ({"type": "Buffer", "data": [256]}, JSON, b'{"type":"Buffer","data":[256]}'),
        ({"type": "Buffer", "data": "ab"}, JSON, b'{"type":"Buffer","data":"ab"}'),
        ({"type": "Buffer", "data": [1], "x": 1}, JSON, b'{"type":"Buffer","data":[1],"x":1}'),
        pytest.param(
            {"type": "Buffer", "data": 5},
            JSON,
            b'{"type":"Buffer","data":5}',
        ),
    ],
    ids=words,
)
def test_a_body_is_sent_as_its_type_says(body: Any, kind: bytes, raw: bytes) -> None:
    assert sent(body) == (kind, raw)
    assert sent(body, headers={}) == (kind, raw)


def test_the_headers_may_say_another_content_type() -> None:
    assert sent("a,b", headers={"Content-Type": "text/csv"}) == (b"text/csv", b"a,b")
    assert sent({"a": 1}, headers={"content-type": "application/problem+json"}) == (
        b"application/problem+json",
        b'{"a":1}',
    )


@dataclass
class Answer:
    status: int = 201
    body: Any = "x"
    headers: dict[str, str] = field(default_factory=dict)


class StatusCode(BaseModel):
    status_code: int = 201
    body: Any = "x"


class CamelStatusCode:
    statusCode = 201  # noqa: N815
    body = "x"


@pytest.mark.parametrize(
    "result",
    [
        {"status": 201, "body": "x"},
        {"status_code": 201, "body": "x"},
        {"statusCode": 201, "body": "x"},
        {"status": HTTPStatus.CREATED, "body": "x"},
        OrderedDict(status=201, body="x"),
        Answer(),
        StatusCode(),
        CamelStatusCode(),
    ],
    ids=words,
)
def test_every_form_of_a_response_is_the_same_response(result: object) -> None:
    html = (b"content-type", b"text/html; charset=utf-8")
    assert to_response(result) == Response(201, [html, (b"content-length", b"1")], b"x")


def test_a_response_without_a_body_has_none_and_one_of_none_is_null() -> None:
    empty = to_response({"status": 404, "headers": {"x-a": "1"}})
    assert empty.body == b""
    assert empty.headers == [(b"x-a", b"1"), (b"content-length", b"0")]
    assert to_response({"status": 404, "body": None}).body == b"null"


@pytest.mark.parametrize("status", [204, 304])
def test_a_status_that_has_no_body_gets_none(status: int) -> None:
    response = to_response({"status": status, "body": {"a": 1}, "headers": {"x-a": "1"}})
    assert response == Response(status, [(b"x-a", b"1")], b"")


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (None, "returned None; return {"),
        ({"ok": True}, "a mapping without a status (keys: ok)"),
        ({}, "a mapping without a status (keys: none)"),
        ("text", "a str: 'text'"),
        (17, "a int: 17"),
        ([200, "x"], "a list: [200, 'x']"),
        (object, "a type: <class 'object'>"),
        ("x" * 1000, "…"),
        ({"status": "ok"}, "status 'ok'; expected 200 to 599"),
        ({"status": True}, "status True"),
        ({"status": 200.0}, "status 200.0"),
        ({"status": 100}, "status 100"),
        ({"status": 600}, "status 600"),
        ({"status": -1}, "status -1"),
        ({"status": 200, "headers": ["x"]}, "headers a list: ['x']; expected a mapping"),
        ({"status": 200, "headers": {"x y": "1"}}, "header named 'x y'"),
        ({"status": 200, "headers": {"": "1"}}, "header named ''"),
        ({"status": 200, "headers": {"x:": "1"}}, "header named 'x:'"),
        ({"status": 200, "headers": {"é": "1"}}, "header named 'é'"),
        (
            {"status": 200, "headers": {"x": "a\r\nset-cookie: b"}},
            "control character in header 'x'",
        ),
        ({"status": 200, "headers": {"x": "a\0b"}}, "in header 'x'"),
        ({"status": 200, "headers": {"x": "€"}}, "characters that HTTP headers cannot carry"),
    ],
    ids=words,
)
def test_what_is_no_response_is_told_in_words(result: object, words: str) -> None:
    with pytest.raises(NotAResponse) as refused:
        to_response(result)
    assert words in str(refused.value)
    assert len(str(refused.value)) < 250


def test_a_body_without_a_json_form_is_refused_by_its_path() -> None:
    with pytest.raises(NotEncodable) as refused:
        to_response({"status": 200, "body": {"rows": [1.0, float("nan")]}})
    assert refused.value.path == "$.rows[1]"


def test_headers_are_sent_in_lower_case_and_lists_repeated() -> None:
    response = to_response(
        {
            "status": 200,
            "body": b"",
            "headers": {"X-Id": 17, "Set-Cookie": ["a=1", "b=2"], "X-None": ()},
        }
    )
    assert response.headers == [
        (b"x-id", b"17"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"content-type", BINARY),
        (b"content-length", b"0"),
    ]


class Headers(BaseModel):
    etag: str = "1"


def test_headers_may_be_a_model() -> None:
    response = to_response({"status": 200, "headers": Headers()})
    assert (b"etag", b"1") in response.headers


def test_the_length_is_ours_to_say() -> None:
    response = to_response({"status": 200, "body": b"abc", "headers": {"Content-Length": "999"}})
    assert [value for name, value in response.headers if name == b"content-length"] == [b"3"]


def test_an_answer_of_our_own_is_json() -> None:
    response = error_response(405, {"error": "Method not allowed"}, [(b"allow", b"GET")])
    assert response.status == 405
    assert json.loads(response.body) == {"error": "Method not allowed"}
    assert response.headers == [
        (b"content-type", JSON),
        (b"content-length", str(len(response.body)).encode()),
        (b"allow", b"GET"),
    ]


TEXT = st.text('ab:/()-_ \t\r\n\0\x01\x7f\x80é€"', max_size=6)
RESULTS = st.fixed_dictionaries(
    {
        "status": st.integers(200, 599),
        "body": st.none() | TEXT | st.binary(max_size=5) | st.lists(st.integers(), max_size=3),
    },
    optional={"headers": st.dictionaries(TEXT, TEXT | st.lists(TEXT, max_size=2), max_size=3)},
)


def write(response: Response) -> bytes:
    """What an HTTP/1.1 connection makes of it; raises if it is not allowed."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
    connection.next_event()
    head = h11.Response(status_code=response.status, headers=response.headers)
    raw = connection.send(head) or b""
    raw += connection.send(h11.Data(data=response.body)) or b""
    return raw + (connection.send(h11.EndOfMessage()) or b"")


@settings(deadline=None, max_examples=300)
@given(RESULTS)
def test_what_is_not_refused_can_be_sent(result: dict[str, Any]) -> None:
    try:
        response = to_response(result)
    except NotAResponse:
        return
    assert write(response).startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("char", ["\v", "\f"])
def test_a_header_with_other_breaks_is_refused(char: str) -> None:
    with pytest.raises(NotAResponse):
        write(to_response({"status": 200, "headers": {"x": f"a{char}b"}}))
