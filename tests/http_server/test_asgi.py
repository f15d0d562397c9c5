"""The ASGI application: what a client sends and what it gets, row by row of contract §4."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from motia_trio import App, http, open_runtime, step


@step(http("POST", "/echo"), http("PUT", "/echo"), name="Echo")
async def echo(req: Any, ctx: Any) -> Any:
    body = req.body
    return {
        "status": 200,
        "body": {
            "body": body.decode("latin-1") if isinstance(body, bytes) else body,
            "type": type(body).__name__,
            "query": req.query_params,
            "params": req["pathParams"],
            "method": req.method,
            "path": req.path,
            "trace": req.traceId,
            "raw": len(req.raw_body),
        },
    }


@step(http("GET", "/users/:id"), name="GetUser")
async def get_user(req: Any, ctx: Any) -> Any:
    return {"status": 200, "body": {"id": req.get("pathParams", {}).get("id")}}


@step(http("GET", "/files/*rest"), name="Files")
async def files(req: Any) -> Any:
    return {"status": 200, "body": req.path_params.rest}


@step(http("GET", "/headers"), name="Headers")
async def headers(req: Any) -> Any:
    return {
        "status": 200,
        "headers": {"set-cookie": ["a=1", "b=2"], "X-Seen": req.headers["x-twice"]},
        "body": {"ok": True},
    }


FIRST = step(
    {"name": "First", "type": "api", "path": "/first", "method": "POST", "emits": []},
    lambda req: {"status": 200, "body": req.body},
)


@asynccontextmanager
async def client_of(*steps: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with open_runtime(App(steps), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            yield client


@pytest.mark.parametrize(
    ("content_type", "content", "kind", "seen"),
    [
        ("application/json", b'{"a":[1]}', "Data", {"a": [1]}),
        ("application/problem+json; charset=utf-8", b'"x"', "str", "x"),
        (
            "application/x-www-form-urlencoded",
            b"a=1&b=2&b=%20",
            "Data",
            {"a": "1", "b": ["2", " "]},
        ),
        ("text/plain; charset=latin-1", "ä".encode("latin-1"), "str", "ä"),
        ("text/plain", "ä".encode(), "str", "ä"),
        ("application/octet-stream", b"\x00\xff", "bytes", "\x00\xff"),
        ("", b"bytes", "bytes", "bytes"),
        ("application/json", b"", "NoneType", None),
    ],
)
async def test_a_body_is_decoded_by_its_content_type(
    content_type: str, content: bytes, kind: str, seen: Any
) -> None:
    """JSON, urlencoded, text; anything else as bytes; none is None."""
    async with client_of(echo) as client:
        answer = await client.post(
            "/echo", content=content, headers={"content-type": content_type} if content_type else {}
        )
    assert answer.status_code == 200
    assert answer.json()["type"] == kind
    assert answer.json()["body"] == seen
    assert answer.json()["raw"] == len(content)


async def test_no_body_is_an_empty_mapping_for_the_first_dialect() -> None:
    """A quirk that its steps rely on."""
    async with client_of(FIRST) as client:
        assert (await client.post("/first")).json() == {}


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("application/json", b'{"a":'),
        ("application/json", b"NaN"),
        ("application/json", b"\xff\xfe"),
        ("application/json", b"[" * 100_000),
        ("text/plain", b"\xff"),
        ("text/plain; charset=nonsense", b"x"),
    ],
)
async def test_a_malformed_body_is_a_400_without_details(content_type: str, content: bytes) -> None:
    """The contract's words, no stack trace."""
    async with client_of(echo) as client:
        answer = await client.post("/echo", content=content, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.json() == {"error": "Malformed request body"}


async def test_no_route_is_404_and_another_method_405_with_allow() -> None:
    """Always JSON; OPTIONS says what is allowed."""
    async with client_of(echo, get_user) as client:
        answer = await client.get("/nope")
        assert (answer.status_code, answer.json()) == (404, {"error": "Not found"})
        answer = await client.delete("/echo")
        assert (answer.status_code, answer.json()) == (405, {"error": "Method not allowed"})
        assert answer.headers["allow"] == "OPTIONS, POST, PUT"
        assert (await client.options("/users/1")).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_path_parameters_are_decoded_and_the_trailing_slash_ignored() -> None:
    """A ``%2F`` stays inside its parameter."""
    async with client_of(get_user, files) as client:
        assert (await client.get("/users/a%2Fb%20c/")).json() == {"id": "a/b c"}
        assert (await client.get("/files/a/b/c.txt")).text == "a/b/c.txt"
        assert (await client.get("/Users/1")).status_code == 404


async def test_query_parameters_are_str_or_a_list_when_repeated() -> None:
    """Blank values stay."""
    async with client_of(echo) as client:
        answer = await client.post("/echo?a=1&b=2&b=3&c=")
    assert answer.json()["query"] == {"a": "1", "b": ["2", "3"], "c": ""}


async def test_repeated_headers_are_joined_and_list_values_repeated() -> None:
    """In and out."""
    async with client_of(headers) as client:
        answer = await client.get("/headers", headers=[("X-Twice", "1"), ("x-twice", "2")])
    assert answer.headers["x-seen"] == "1, 2"
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]


async def test_head_is_answered_by_get_without_a_body() -> None:
    """With the headers that the body would have."""
    async with client_of(get_user) as client:
        answer = await client.head("/users/17")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(
        len(json.dumps({"id": "17"}, separators=(",", ":")))
    )


async def test_every_response_carries_a_trace_id_and_a_given_one_goes_on() -> None:
    """W3C ``traceparent``; a malformed one is not taken over."""
    given = "0af7651916cd43dd8448eb211c80319c"
    async with client_of(echo) as client:
        parent = {"traceparent": f"00-{given}-b7ad6b7169203331-01"}
        answer = await client.post("/echo", headers=parent)
        assert answer.headers["x-trace-id"] == given == answer.json()["trace"]
        for bad in ("x", f"00-{'0' * 32}-b7ad6b7169203331-01", f"00-{given}-{'0' * 16}-01"):
            answer = await client.post("/echo", headers={"traceparent": bad})
            assert answer.headers["x-trace-id"] not in {given, "0" * 32}
        assert len((await client.get("/nope")).headers["x-trace-id"]) == 32


async def test_the_app_can_be_mounted_below_a_path() -> None:
    """``root_path`` is left out of what is matched."""
    async with open_runtime(App([get_user]), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi, root_path="/api")
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/api/users/5")).json() == {"id": "5"}


async def test_a_query_of_more_parts_than_anybody_has_is_a_400() -> None:
    """As a head that could hold it may come over HTTP/2."""
    async with client_of(echo) as client:
        answer = await client.post("/echo?" + "a&" * 10_001)
    assert (answer.status_code, answer.json()) == (400, {"error": "Malformed query"})
