"""Contract §4: what a handler may return, and what is answered when something goes wrong."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import math
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import attrs
import httpx
import pytest
import trio
from pydantic import BaseModel, TypeAdapter

from motia_trio import App, http, step
from motia_trio.events import AskFailed, RequestAnswered
from motia_trio.observe import TextFormatter
from tests.contract.conftest import Project, Serving
from tests.contract.dialects import Dialect
from tests.support import Notebook


def returning(make: Any, *triggers: Any, **options: Any) -> Any:
    """A step that answers with what ``make()`` gives."""

    @step(*(triggers or [http("GET", "/x")]), name="S", **options)
    async def handler(req: Any, ctx: Any) -> Any:
        return make()

    return handler


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines that the log has of level error, as ``motia-trio run`` writes them."""
    return [TextFormatter().format(each) for each in caplog.records if each.levelname == "ERROR"]


# what may be returned


@pytest.mark.parametrize("key", ["status", "status_code", "statusCode"])
async def test_return_status_body_headers(
    key: str, dialect: Dialect, files: Project, served: Serving
) -> None:
    """Return: `{"status", "body", "headers"}` (`status_code`, `statusCode` too)"""
    code = f"""
async def handler(req, ctx):
    return {{"{key}": 201, "body": {{"a": 1}}, "headers": {{"X-One": "1"}}}}
"""
    async with served(files.app(dialect.http("POST", "/x", code))) as (_, client):
        answer = await client.post("/x")
    assert (answer.status_code, answer.json()) == (201, {"a": 1})
    assert answer.headers["x-one"] == "1"


async def test_return_api_response(dialect: Dialect, files: Project, served: Serving) -> None:
    """`ApiResponse`"""
    code = """
from motia_trio import ApiResponse
async def handler(req, ctx):
    return ApiResponse(status=201, body={"a": 1}, headers={"X-One": "1"})
"""
    async with served(files.app(dialect.http("POST", "/x", code))) as (_, client):
        answer = await client.post("/x")
    assert (answer.status_code, answer.json()) == (201, {"a": 1})
    assert answer.headers["x-one"] == "1"


class OfPydantic(BaseModel):
    """Somebody's own."""

    status: int = 202
    body: Any = None
    headers: dict[str, str] = {}


@dataclasses.dataclass
class OfTheLibrary:
    """Somebody's own."""

    statusCode: int = 202  # noqa: N815 - as some write it
    body: Any = None
    headers: dict[str, str] | None = None


@attrs.define
class OfAttrs:
    """Somebody's own."""

    status_code: int = 202
    body: Any = None
    headers: dict[str, str] | None = None


@pytest.mark.parametrize("model", [OfPydantic, OfTheLibrary, OfAttrs])
async def test_return_any_model_with_those_fields(model: Any, served: Serving) -> None:
    """any model with those fields."""
    handler = returning(lambda: model(body={"a": 1}, headers={"x-one": "1"}))
    async with served([handler]) as (_, client):
        answer = await client.get("/x")
    assert (answer.status_code, answer.json()) == (202, {"a": 1})
    assert answer.headers["x-one"] == "1"


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ({"a": [1]}, b'{"a":[1]}'),
        ([1, "x"], b'[1,"x"]'),
        (7, b"7"),
        (1.5, b"1.5"),
        (True, b"true"),
        (None, b"null"),
    ],
    ids=["dict", "list", "number", "float", "bool", "None"],
)
async def test_body_out_as_json(body: Any, content: bytes, served: Serving) -> None:
    """dict, list, number, bool, None → JSON"""
    async with served([returning(lambda: {"status": 200, "body": body})]) as (_, client):
        answer = await client.get("/x")
    assert answer.content == content
    assert answer.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("headers", "content_type"),
    [
        ({}, "text/html; charset=utf-8"),
        ({"Content-Type": "text/plain"}, "text/plain"),
        ({"content-type": "text/csv; charset=utf-8"}, "text/csv; charset=utf-8"),
    ],
)
async def test_body_out_of_str(headers: Any, content_type: str, served: Serving) -> None:
    """str → `text/html` unless the headers say otherwise (as seen)"""
    handler = returning(lambda: {"status": 200, "body": "ä", "headers": headers})
    async with served([handler]) as (_, client):
        answer = await client.get("/x")
    assert answer.content == "ä".encode()
    assert answer.headers.get_list("content-type") == [content_type]


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_body_out_of_bytes(kind: Any, served: Serving) -> None:
    """bytes → `application/octet-stream`"""
    async with served([returning(lambda: {"status": 200, "body": kind(b"\0\xff")})]) as (_, client):
        answer = await client.get("/x")
    assert answer.content == b"\0\xff"
    assert answer.headers["content-type"] == "application/octet-stream"


async def test_body_out_of_a_buffer(served: Serving) -> None:
    """`{"type":"Buffer","data":[…]}` → those bytes"""
    body = {"type": "Buffer", "data": [0, 137, 255]}
    async with served([returning(lambda: {"status": 200, "body": body})]) as (_, client):
        assert (await client.get("/x")).content == b"\0\x89\xff"


@pytest.mark.parametrize("kind", ["async iterator", "iterator"])
async def test_body_out_of_an_iterator(kind: str, served: Serving) -> None:
    """an (async) iterator → a streamed body."""

    async def slowly() -> AsyncIterator[bytes | str]:
        yield b"one"
        await read.wait()
        yield "twö"

    def at_once() -> Iterator[bytes | str]:
        yield b"one"
        yield "twö"

    read = trio.Event()
    make = slowly if kind == "async iterator" else at_once
    handler = returning(
        lambda: {"status": 201, "body": make(), "headers": {"content-type": "text/plain"}}
    )
    got = b""
    async with served([handler]) as (_, client):
        with trio.fail_after(5):
            async with client.stream("GET", "/x") as answer:
                assert answer.status_code == 201
                assert answer.headers["content-type"] == "text/plain"
                async for chunk in answer.aiter_bytes():
                    got += chunk
                    read.set()  # the second piece comes after the first was read
    assert got == b"one" + "twö".encode()


async def test_a_header_whose_value_is_a_list_is_repeated(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """A header whose value is a list is repeated."""
    code = """
async def handler(req):
    return {"status": 200, "headers": {"Set-Cookie": ["a=1", "b=2"], "x-one": "1"}}
"""
    async with served(files.app(dialect.http("GET", "/x", code))) as (_, client):
        answer = await client.get("/x")
    assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
    assert answer.headers.get_list("x-one") == ["1"]


@pytest.mark.parametrize(
    ("returned", "words"),
    [("None", "returned None"), ('{"body": 1, "other": 2}', "body, other"), ("{}", "none")],
)
async def test_none_or_a_mapping_without_a_status(
    returned: str,
    words: str,
    dialect: Dialect,
    files: Project,
    served: Serving,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """`None` or a mapping without a status → 500 with a log line that says what was returned."""
    code = f"async def handler(req):\n    return {returned}"
    async with served(files.app(dialect.http("GET", "/x", code))) as (_, client):
        answer = await client.get("/x")
    assert answer.status_code == 500
    assert answer.json()["error"] == "Internal server error"
    (line,) = errors_in(caplog)
    assert words in line
    assert "steps/00_step.py" in line


class Colour(enum.Enum):
    """An enum."""

    RED = "red"


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: int
    at: dt.date


@attrs.define
class Pair:
    """An attrs object."""

    left: Any
    right: Any


class Line(BaseModel):
    """A pydantic object."""

    price: decimal.Decimal
    colour: Colour


NOON = dt.datetime(2026, 1, 2, 12, 30, tzinfo=dt.UTC)
ID = uuid.UUID(int=7)


@pytest.mark.parametrize(
    "value",
    [
        NOON,
        dt.date(2026, 1, 2),
        dt.time(12, 30),
        dt.timedelta(days=1, seconds=2),
        ID,
        decimal.Decimal("1.50"),
        {"x"},
        frozenset({3}),
        Colour.RED,
        Point(1, dt.date(2026, 1, 2)),
        Line(price=decimal.Decimal("0.10"), colour=Colour.RED),
        {"deep": [Point(1, dt.date(2026, 1, 2))], Colour.RED.value: (ID, NOON)},
    ],
    ids=lambda value: type(value).__name__,
)
async def test_encoded_as_pydantic_encodes(value: Any, served: Serving) -> None:
    """datetimes, UUIDs, Decimals, sets, enums, dataclasses, attrs and pydantic objects are encoded
    as pydantic encodes them."""
    async with served([returning(lambda: {"status": 200, "body": {"v": value}})]) as (_, client):
        answer = await client.get("/x")
    assert answer.content == b'{"v":%b}' % TypeAdapter(Any).dump_json(value)


async def test_attrs_objects_are_encoded_as_pydantic_encodes_dataclasses(served: Serving) -> None:
    """attrs … objects are encoded"""
    value = Pair(NOON, [Pair(ID, {Colour.RED})])
    async with served([returning(lambda: {"status": 200, "body": value})]) as (_, client):
        answer = await client.get("/x")
    assert answer.json() == {
        "left": "2026-01-02T12:30:00Z",
        "right": [{"left": str(ID), "right": ["red"]}],
    }


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf], ids=str)
async def test_nan_and_infinity_are_refused(
    bad: float, served: Serving, notebook: Notebook
) -> None:
    """NaN and infinity are refused with an error that names the path to them. (Seen: one NaN kills
    the whole server.)"""
    steps = [
        returning(lambda: {"status": 200, "body": {"rows": [{"x": 1}, {"x": bad}]}}),
        step(http("GET", "/well"), name="Well")(lambda req: {"status": 200, "body": 1}),
    ]
    async with served(steps) as (_, client):
        answer = await client.get("/x")
        assert (await client.get("/well")).status_code == 200
    assert answer.status_code == 500
    (failed,) = notebook.of(AskFailed)
    assert "$.body.rows[1].x" in failed.error or "$.rows[1].x" in failed.error


# what goes wrong

BODY_SCHEMA = (
    "{'type': 'object', 'properties': {'text': {'type': 'string'}, 'n': {'type': 'integer'}}, "
    "'required': ['text']}"
)
BODY_MODEL = """
from pydantic import BaseModel
class Body(BaseModel):
    text: str
    n: int = 0
"""
OK = "\nasync def handler(req, ctx):\n    return {'status': 200, 'body': {'ok': True}}\n"


@pytest.mark.parametrize("schema", [BODY_SCHEMA, "Body"], ids=["JSON Schema", "pydantic"])
async def test_body_does_not_fit_body_schema(
    schema: str, dialect: Dialect, files: Project, served: Serving
) -> None:
    """body does not fit bodySchema | 400 |
    `{"error":"Invalid request body","details":[{"path":"text","message":"…"}]}`"""
    app = files.app(dialect.http("POST", "/x", BODY_MODEL + OK, bodySchema=schema))
    async with served(app) as (_, client):
        answer = await client.post("/x", json={"text": 7})
        both = await client.post("/x", json={"n": "seven"})
        assert (await client.post("/x", json={"text": "hi"})).json() == {"ok": True}
    assert answer.status_code == both.status_code == 400
    assert [*answer.json()] == ["error", "details"]
    assert answer.json()["error"] == "Invalid request body"
    (detail,) = answer.json()["details"]
    assert detail.keys() == {"path", "message"}
    assert detail["path"] == "text"
    assert detail["message"]
    assert {detail["path"] for detail in both.json()["details"]} == {"text", "n"}


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b'{"text":', {"content-type": "application/json"}),
        (b"\xff", {"content-type": "application/json"}),
        (b"\xff", {"content-type": "text/plain"}),
        (b"x", {"content-type": "application/json", "content-encoding": "gzip"}),
    ],
)
async def test_malformed_json_or_encoding(
    content: bytes, headers: Any, dialect: Dialect, files: Project, served: Serving
) -> None:
    """malformed JSON or encoding | 400 | `{"error":"Malformed request body"}`"""
    async with served(files.app(dialect.http("POST", "/x", OK))) as (_, client):
        answer = await client.post("/x", content=content, headers=headers)
    assert answer.status_code == 400
    assert answer.content == b'{"error":"Malformed request body"}'


QUERY_MODEL = """
from pydantic import BaseModel
class Query(BaseModel):
    page: int = 1
    tags: list[str] = []
"""
QUERY_SCHEMA = (
    "{'type': 'object', 'properties': {'page': {'type': 'integer', 'minimum': 1}}, "
    "'required': ['page']}"
)


@pytest.mark.parametrize("schema", [QUERY_SCHEMA, "Query"], ids=["JSON Schema", "pydantic"])
async def test_query_does_not_fit_a_typed_schema(
    schema: str, dialect: Dialect, files: Project, served: Serving
) -> None:
    """query does not fit a typed schema | 400 | as the first row, `Invalid query parameters`"""
    app = files.app(dialect.http("GET", "/x", QUERY_MODEL + OK, queryParams=schema))
    async with served(app) as (_, client):
        answer = await client.get("/x?page=two")
        assert (await client.get("/x?page=2")).json() == {"ok": True}
    assert answer.status_code == 400
    assert answer.json()["error"] == "Invalid query parameters"
    (detail,) = answer.json()["details"]
    assert detail.keys() == {"path", "message"}
    assert detail["path"] == "page"


async def test_no_route(dialect: Dialect, files: Project, served: Serving) -> None:
    """no route | 404 | `{"error":"Not found"}`"""
    async with served(files.app(dialect.http("GET", "/x", OK))) as (_, client):
        answer = await client.get("/y")
    assert (answer.status_code, answer.content) == (404, b'{"error":"Not found"}')


async def test_route_exists_other_method(dialect: Dialect, files: Project, served: Serving) -> None:
    """route exists, other method | 405 and `Allow` | `{"error":"Method not allowed"}`"""
    async with served(files.app(dialect.http("GET", "/x/:id", OK))) as (_, client):
        answer = await client.delete("/x/1")
    assert (answer.status_code, answer.content) == (405, b'{"error":"Method not allowed"}')
    assert "GET" in answer.headers["allow"]
    assert "DELETE" not in answer.headers["allow"]


@pytest.mark.parametrize(
    "condition",
    [
        "def condition(input, ctx): return input.body.amount > 5 and ctx.is_http()",
        "def condition(req): return req.body['amount'] > 5",
        "async def condition(input, ctx): return input.body.amount > 5",
        "async def condition(req): return req.body.amount > 5",
    ],
)
async def test_condition_is_false(
    condition: str, dialect: Dialect, files: Project, served: Serving
) -> None:
    """condition is false | 422 | `{"error":"Request condition not met","skipped":true}`"""
    app = files.app(dialect.http("POST", "/x", f"{condition}\n{OK}", condition="condition"))
    async with served(app) as (_, client):
        answer = await client.post("/x", json={"amount": 5})
        assert (await client.post("/x", json={"amount": 6})).json() == {"ok": True}
    assert answer.status_code == 422
    assert answer.content == b'{"error":"Request condition not met","skipped":true}'


@pytest.mark.parametrize("how", ["declared", "chunked"])
async def test_too_large(how: str, dialect: Dialect, files: Project, served: Serving) -> None:
    """too large | 413 | `{"error":"Request body too large","limit":N}`"""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x"

    app = files.app(dialect.http("POST", "/x", OK), body_limit=10)
    async with served(app) as (_, client):
        content: Any = b"x" * 11 if how == "declared" else chunks()
        answer = await client.post("/x", content=content)
        assert (await client.post("/x", content=b"x" * 10)).status_code == 200
    assert answer.status_code == 413
    assert answer.content == b'{"error":"Request body too large","limit":10}'


async def test_mailbox_full(served: Serving) -> None:
    """mailbox full, … | 503 and `Retry-After` | `{"error":"Overloaded"}`"""
    go = trio.Event()
    begun = trio.Event()

    @step(http("GET", "/x", config={"concurrency": 1}), name="S")
    async def slow(req: Any) -> Any:
        begun.set()
        await go.wait()
        return {"status": 200}

    statuses: list[int] = []

    async with served([slow], mailbox=1) as (rt, client), trio.open_nursery() as nursery:

        async def ask() -> None:
            statuses.append((await client.get("/x")).status_code)

        nursery.start_soon(ask)
        await begun.wait()
        nursery.start_soon(ask)
        while rt.tree()["S"].mailbox.received < 2:
            await trio.sleep(0.001)
        answer = await client.get("/x")
        go.set()
    assert (answer.status_code, answer.content) == (503, b'{"error":"Overloaded"}')
    assert int(answer.headers["retry-after"]) >= 1
    assert statuses == [200, 200]


async def test_the_step_is_quarantined(in_process: Serving, autojump_clock: Any) -> None:
    """…, or the step is quarantined | 503 and `Retry-After` | `{"error":"Overloaded"}`"""

    @step(http("GET", "/x"), name="S")
    async def leaves(req: Any) -> Any:
        raise SystemExit

    async with in_process([leaves]) as (rt, client):
        while rt.tree()["S"].state != "quarantined":
            await client.get("/x")
            await trio.sleep(0.5)
        answer = await client.get("/x")
    assert (answer.status_code, answer.content) == (503, b'{"error":"Overloaded"}')
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize("way", ["async def", "def"])
async def test_handler_raised(
    way: str, dialect: Dialect, files: Project, served: Serving, notebook: Notebook
) -> None:
    """handler raised | 500 | `{"error":"Internal server error","traceId":"…"}`; always JSON, never
    a stack trace"""
    code = f"{way} handler(req, ctx):\n    raise ValueError('secret')"
    async with served(files.app(dialect.http("GET", "/x", code))) as (_, client):
        answer = await client.get("/x")
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "Internal server error", "traceId": answer.headers["x-trace-id"],
    }  # fmt: skip
    assert [*answer.json()] == ["error", "traceId"]
    (failed,) = notebook.of(AskFailed)
    assert "secret" in failed.error
    assert failed.trace_id == answer.json()["traceId"]


async def test_handler_ran_out_of_time(
    dialect: Dialect, files: Project, in_process: Serving, autojump_clock: Any
) -> None:
    """handler ran out of time | 504 | `{"error":"Timed out","traceId":"…"}`"""
    code = "import trio\nasync def handler(req, ctx):\n    await trio.sleep(10)"
    app = files.app(dialect.http("GET", "/x", code, limits={"handler": {"timeout": 5}}))
    async with in_process(app) as (_, client):
        answer = await client.get("/x")
    assert answer.status_code == 504
    assert answer.json() == {"error": "Timed out", "traceId": answer.headers["x-trace-id"]}


async def test_a_handler_in_a_thread_ran_out_of_time(served: Serving) -> None:
    """handler ran out of time | 504 | `{"error":"Timed out","traceId":"…"}`"""
    go = threading.Event()

    @step(http("GET", "/x", config={"timeout": 0.05}), name="S")
    def handler(req: Any) -> Any:
        go.wait(10)
        return {"status": 200}

    async with served([handler]) as (_, client):
        answer = await client.get("/x")
        go.set()
    assert answer.status_code == 504
    assert answer.json() == {"error": "Timed out", "traceId": answer.headers["x-trace-id"]}


async def test_answers_to_what_goes_wrong_are_always_json(served: Serving) -> None:
    """Answers to what goes wrong, always JSON, never a stack trace"""

    @step(http("POST", "/x", body_schema={"type": "object"}), name="S")
    async def raises(req: Any) -> Any:
        raise ValueError("secret")

    as_json = {"content-type": "application/json"}
    async with served([raises], body_limit=100) as (_, client):
        answers = [
            await client.get("/nothing"),
            await client.get("/x"),
            await client.post("/x", content=b"{", headers=as_json),
            await client.post("/x", json=[]),
            await client.post("/x", content=b"x" * 101),
            await client.post("/x", json={}),
        ]
    assert [answer.status_code for answer in answers] == [404, 405, 400, 400, 413, 500]
    for answer in answers:
        assert answer.headers["content-type"] == "application/json"
        assert isinstance(answer.json()["error"], str)
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text


# methods, origins, ids


async def test_head_is_answered_by_the_get_handler_without_a_body(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """HEAD is answered by the GET handler without a body"""
    code = """
async def handler(req):
    return {"status": 203, "body": "12345", "headers": {"x-one": req.path_params.id}}
"""
    async with served(files.app(dialect.http("GET", "/x/:id", code))) as (_, client):
        answer = await client.head("/x/7")
    assert (answer.status_code, answer.content) == (203, b"")
    assert answer.headers["x-one"] == "7"
    assert answer.headers["content-length"] == "5"


async def test_head_of_a_streamed_body(served: Serving) -> None:
    """HEAD is answered by the GET handler without a body"""
    ended: list[bool] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            yield b"one"
            yield b"two"
        finally:
            ended.append(True)

    async with served([returning(lambda: {"status": 200, "body": pieces()})]) as (_, client):
        with trio.fail_after(5):
            answer = await client.head("/x")
    assert (answer.status_code, answer.content) == (200, b"")
    assert ended == [True]


PREFLIGHT = {
    "origin": "https://page.example",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type, x-mine",
}


async def test_options_and_cors_default_every_origin(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """OPTIONS and CORS by the settings (default: every origin, as seen); §11: `cors_origins` `*`,
    without credentials"""
    async with served(files.app(dialect.http("POST", "/x", OK))) as (_, client):
        before = await client.options("/x", headers=PREFLIGHT)
        answer = await client.post("/x", headers={"origin": "https://page.example"})
        missing = await client.get("/nothing", headers={"origin": "https://page.example"})
    assert before.status_code in {200, 204}
    assert "POST" in before.headers["access-control-allow-methods"]
    allowed = before.headers["access-control-allow-headers"].lower()
    assert allowed == "*" or {"content-type", "x-mine"} <= set(allowed.replace(" ", "").split(","))
    for each in (before, answer, missing):
        assert each.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in each.headers


async def test_options_and_cors_by_the_settings(served: Serving) -> None:
    """OPTIONS and CORS by the settings"""
    handler = returning(lambda: {"status": 200})
    app = App([handler], cors_origins=["https://page.example"])
    async with served(app) as (_, client):
        good = await client.get("/x", headers={"origin": "https://page.example"})
        bad = await client.get("/x", headers={"origin": "https://other.example"})
        before = await client.options("/x", headers={**PREFLIGHT, "origin": "https://o.example"})
    assert good.headers["access-control-allow-origin"] == "https://page.example"
    assert "access-control-allow-origin" not in bad.headers
    assert "access-control-allow-origin" not in before.headers


async def test_options_of_a_route_says_what_is_allowed(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """OPTIONS … by the settings"""
    async with served(files.app(dialect.http("GET", "/x", OK))) as (_, client):
        answer = await client.options("/x")
    assert answer.status_code in {200, 204}
    assert {"GET", "HEAD", "OPTIONS"} <= set(answer.headers["allow"].replace(" ", "").split(","))


async def test_every_response_carries_x_trace_id(served: Serving, notebook: Notebook) -> None:
    """Every response carries `x-trace-id`."""

    @step(http("GET", "/raises"), name="R")
    async def raises(req: Any) -> Any:
        raise ValueError

    @step(http("POST", "/x"), name="S")
    async def streams(req: Any) -> Any:
        return {"status": 200, "body": iter([b"x"])}

    async with served([raises, streams], body_limit=10) as (_, client):
        answers = [
            await client.post("/x"),
            await client.get("/raises"),
            await client.get("/nothing"),
            await client.delete("/x"),
            await client.options("/x", headers=PREFLIGHT),
            await client.post("/x", content=b"x" * 11),
            await client.post("/x", content=b"{", headers={"content-type": "application/json"}),
        ]
    ids = [answer.headers["x-trace-id"] for answer in answers]
    assert [len(each) for each in ids] == [32] * len(ids)
    assert len(set(ids)) == len(ids)
    told = {event.trace_id for event in notebook.of(RequestAnswered)}
    assert ids[0] in told


# responseSchema

RESPONSE_SCHEMA = (
    "{200: {'type': 'object', 'properties': {'n': {'type': 'integer'}}, 'required': ['n']}, "
    "'201': {'type': 'array'}}"
)
BODY_OF_QUERY = """
import json
async def handler(req, ctx):
    return {"status": int(req.query_params.status), "body": json.loads(req.query_params.body)}
"""


@pytest.mark.parametrize(
    ("status", "body", "fits"),
    [
        (200, '{"n": 1}', True),
        (200, '{"n": "one"}', False),
        (201, "[]", True),
        (201, "{}", False),
        (202, "{}", True),
    ],
)
async def test_response_schema_is_checked(
    status: int,
    body: str,
    fits: bool,  # noqa: FBT001 - a parameter
    dialect: Dialect,
    files: Project,
    served: Serving,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """responseSchema is checked: a response that does not fit is logged as an error with the
    details and is still sent"""
    app = files.app(dialect.http("GET", "/x", BODY_OF_QUERY, responseSchema=RESPONSE_SCHEMA))
    async with served(app) as (_, client):
        answer = await client.get("/x", params={"status": status, "body": body})
    assert answer.status_code == status
    assert answer.json() == httpx.Response(200, content=body).json()
    if fits:
        assert errors_in(caplog) == []
    else:
        (line,) = errors_in(caplog)
        assert answer.headers["x-trace-id"] in line
        assert "does not fit" in line
        assert ("integer" if status == 200 else "array") in line
        assert "'n'" in line or '"n"' in line or status == 201


async def test_with_strict_responses_it_becomes_a_500(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """with `strict_responses` it becomes a 500."""
    app = files.app(
        dialect.http("GET", "/x", BODY_OF_QUERY, responseSchema=RESPONSE_SCHEMA),
        strict_responses=True,
    )
    async with served(app) as (_, client):
        bad = await client.get("/x", params={"status": 200, "body": '{"n": "secret"}'})
        good = await client.get("/x", params={"status": 200, "body": '{"n": 1}'})
    assert bad.status_code == 500
    assert bad.json() == {
        "error": "Internal server error", "traceId": bad.headers["x-trace-id"],
    }  # fmt: skip
    assert good.json() == {"n": 1}
