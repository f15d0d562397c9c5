"""Contract §4: what a handler is given, by HTTP and as a message."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
import trio

from motia_trio import http, open_runtime, queue, step
from tests.contract.conftest import Project, Serving
from tests.contract.dialects import Dialect

SENT = {
    "x": 1,
    "orderId": 7,
    "customer": {"firstName": "Ada", "home_town": "London"},
    "lines": [{"unitPrice": 2}],
}


# what handlers make of an input by themselves
ORDER = """
from pydantic import BaseModel
class Model(BaseModel):
    x: int
    orderId: int
    customer: dict[str, str]
    lines: list[dict[str, int]]
"""


# one mapping type


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ('req.body["x"]', 1),
        ('req["body"]', SENT),
        ('req.get("body")', SENT),
        ("req.path_params", {"id": "5"}),
        ('req.get("pathParams", {})', {"id": "5"}),
        ("req.pathParams.id", "5"),
        ("req.queryParams", {"q": "1"}),
        ('req["query_params"]["q"]', "1"),
        ('req.get("nothing", 3)', 3),
        ("req.body.order_id", 7),
        ('"pathParams" in req', True),
    ],
)
async def test_a_request_answers_to(
    words: str, seen: Any, dialect: Dialect, files: Project, served: Serving
) -> None:
    """a `dict` with attribute access and camelCase/snake_case aliases, so `req.body["x"]`,
    `req["body"]`, `req.get("body")`, `req.path_params`, `req.get("pathParams", {})` … all work"""
    code = (
        f"async def handler(req, ctx):\n    return {{'status': 200, 'body': {{'seen': {words}}}}}"
    )
    async with served(files.app(dialect.http("POST", "/x/:id", code))) as (_, client):
        assert (await client.post("/x/5?q=1", json=SENT)).json() == {"seen": seen}


@pytest.mark.parametrize(
    ("words", "seen"),
    [
        ("input.orderId", 7),
        ("input.order_id", 7),
        ('input["order_id"]', 7),
        ('input.get("order_id")', 7),
        ("Model(**input).orderId", 7),
        ("input.customer.firstName", "Ada"),
        ("input.customer.first_name", "Ada"),
        ('input["customer"]["homeTown"]', "London"),
        ("input.lines[0].unit_price", 2),
        ('input.get("lines")[0].get("unit_price")', 2),
    ],
)
async def test_an_event_input_answers_to(
    words: str, seen: Any, dialect: Dialect, files: Project
) -> None:
    """One mapping type serves as request and as event input: … `input.orderId` and
    `Model(**input)` all work; nested objects too."""
    code = f"{ORDER}\nasync def handler(input, ctx):\n    saw({words})"
    async with open_runtime(files.app(dialect.queue("t", code)), observers=()) as rt:
        await rt.enqueue("t", SENT)
        await rt.quiesce()
    assert files.seen == [seen]


async def test_both_are_one_mapping_type(served: Serving) -> None:
    """One mapping type serves as request and as event input"""
    kinds: list[set[type]] = []

    @step(http("POST", "/"), queue("t"), name="Both")
    async def both(input: Any, ctx: Any) -> Any:
        data = ctx.get_data()
        kinds.append({type(data), type(data.customer), type(data.lines[0])})
        return {"status": 200}

    async with served([both]) as (rt, client):
        await client.post("/", json=SENT)
        await rt.enqueue("t", SENT)
        await rt.quiesce()
    assert kinds[0] == kinds[1]
    assert len(kinds[0]) == 1


@pytest.mark.parametrize("kind", ["request", "body", "input", "nested"])
async def test_it_is_still_a_dict(kind: str, served: Serving) -> None:
    """It is still a dict for `json.dumps`, `isinstance` and `**`."""
    got: dict[str, Any] = {}

    @step(http("POST", "/"), queue("t"), name="Both")
    async def both(input: Any, ctx: Any) -> Any:
        if ctx.is_http():
            got.update(request=input, body=input.body)
        else:
            got.update(input=input, nested=input.customer)
        return {"status": 200}

    async with served([both]) as (rt, client):
        await client.post("/", json=SENT)
        await rt.enqueue("t", SENT)
        await rt.quiesce()
    value = got[kind]
    assert isinstance(value, dict)
    assert json.loads(json.dumps(value)) == value
    assert dict(**value) == value
    assert {**value} == value


# with a schema

MODEL = """
from pydantic import BaseModel
class Line(BaseModel):
    price: float
class Order(BaseModel):
    id: int
    lines: list[Line] = []
"""
JSON_SCHEMA = "{'type': 'object', 'properties': {'id': {'type': 'integer'}}, 'required': ['id']}"


async def test_with_a_pydantic_class_the_body_is_an_instance_of_it(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """With a pydantic *class* as schema the body or input is an instance of it"""
    code = f"""{MODEL}
async def handler(req, ctx):
    assert isinstance(req.body, Order) and req["body"] is req.body
    return {{"status": 200, "body": [req.body.id, req.body.lines[0].price]}}
"""
    app = files.app(dialect.http("POST", "/x", code, bodySchema="Order"))
    async with served(app) as (_, client):
        answer = await client.post("/x", json={"id": "7", "lines": [{"price": 1}]})
        assert answer.json() == [7, 1.0]


async def test_with_a_pydantic_class_the_input_is_an_instance_of_it(
    dialect: Dialect, files: Project
) -> None:
    """With a pydantic *class* as schema the body or input is an instance of it"""
    code = f"""{MODEL}
async def handler(input, ctx):
    saw([isinstance(input, Order), input.id, input.lines[0].price])
"""
    app = files.app(dialect.queue("t", code, input="Order"))
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("t", {"id": 7, "lines": [{"price": 1}]})
        await rt.quiesce()
    assert files.seen == [[True, 7, 1.0]]


async def test_with_a_json_schema_the_body_stays_a_mapping(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """with a JSON Schema it stays a mapping."""
    code = """
async def handler(req, ctx):
    assert isinstance(req.body, dict)
    return {"status": 200, "body": [req.body.id, req.body["more"]]}
"""
    app = files.app(dialect.http("POST", "/x", code, bodySchema=JSON_SCHEMA))
    async with served(app) as (_, client):
        assert (await client.post("/x", json={"id": 7, "more": 1})).json() == [7, 1]


async def test_with_a_json_schema_the_input_stays_a_mapping(
    dialect: Dialect, files: Project
) -> None:
    """with a JSON Schema it stays a mapping."""
    code = "async def handler(input):\n    saw([isinstance(input, dict), input.id, input['more']])"
    app = files.app(dialect.queue("t", code, input=JSON_SCHEMA))
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("t", {"id": 7, "more": 1})
        await rt.quiesce()
    assert files.seen == [[True, 7, 1]]


# the fields of a request


@pytest.mark.parametrize(
    ("field", "seen"),
    [
        ("body", {"a": [1, 2]}),
        ("raw_body.decode()", '{"a": [1,2] }'),
        ('headers["x-one"]', "1"),
        ('headers["x-many"]', "1, 2"),
        ("path_params", {"id": "a/b c", "rest": "d/e f"}),
        ("query_params", {"one": "1", "many": ["1", "2"], "blank": ""}),
        ("method", "POST"),
        ("path", "/x/a%2Fb%20c/y/d/e%20f"),
        ("trace_id", "0af7651916cd43dd8448eb211c80319c"),
    ],
)
async def test_request_field(
    field: str, seen: Any, dialect: Dialect, files: Project, served: Serving
) -> None:
    """Request fields: `body`, `raw_body` (bytes as received), `headers` (lower-case keys; repeated
    ones joined by `, `), `path_params` (decoded; …), `query_params` (str, or list when repeated),
    `method`, `path`, `trace_id`."""
    code = f"async def handler(req, ctx):\n    return {{'status': 200, 'body': [req.{field}]}}"
    async with served(files.app(dialect.http("POST", "/x/:id/y/*rest", code))) as (_, client):
        answer = await client.post(
            "/x/a%2Fb%20c/y/d/e%20f?one=1&many=1&many=2&blank=",
            content=b'{"a": [1,2] }',
            headers=[
                ("Content-Type", "application/json"),
                ("X-One", "1"),
                ("X-Many", "1"),
                ("x-many", "2"),
                ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
            ],
        )
    assert answer.json() == [seen]


async def test_the_keys_of_headers_are_lower_case(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """`headers` (lower-case keys; …)"""
    code = "async def handler(req):\n    return {'status': 200, 'body': {'keys': [*req.headers]}}"
    async with served(files.app(dialect.http("GET", "/x", code))) as (_, client):
        keys = (await client.get("/x", headers={"X-UPPER": "1"})).json()["keys"]
    assert "x-upper" in keys
    assert keys == [key.lower() for key in keys]


@pytest.mark.parametrize(
    ("pattern", "path", "params"),
    [
        ("/users/:id", "/users/5", {"id": "5"}),
        ("/users/{id}", "/users/5", {"id": "5"}),
        ("/a/:one/b/{two}", "/a/1/b/%C3%A4", {"one": "1", "two": "ä"}),
        ("/files/*rest", "/files/a/b.txt", {"rest": "a/b.txt"}),
        ("/files/:kind/*rest", "/files/x/a/b%20c", {"kind": "x", "rest": "a/b c"}),
    ],
)
async def test_path_params(
    pattern: str, path: str, params: Any, dialect: Dialect, files: Project, served: Serving
) -> None:
    """`path_params` (decoded; `:id`, `{id}`, and a trailing `*rest`)"""
    code = "async def handler(req):\n    return {'status': 200, 'body': req.path_params}"
    async with served(files.app(dialect.http("GET", pattern, code))) as (_, client):
        assert (await client.get(path)).json() == params


async def test_a_trailing_slash_is_ignored(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """a trailing slash is ignored"""
    code = "async def handler(req):\n    return {'status': 200, 'body': 'here'}"
    texts = [
        dialect.http("GET", "/without", code, name="A"),
        dialect.http("GET", "/with/", code, name="B"),
        dialect.http("GET", "/", code, name="C"),
    ]
    async with served(files.app(*texts)) as (_, client):
        for path in ("/without", "/without/", "/with", "/with/", "/", ""):
            assert (await client.get(path)).text == "here", path


async def test_paths_are_case_sensitive(dialect: Dialect, files: Project, served: Serving) -> None:
    """paths are case-sensitive"""
    code = "async def handler(req):\n    return {'status': 200, 'body': '%s'}"
    texts = [
        dialect.http("GET", "/Users", code % "upper", name="A"),
        dialect.http("GET", "/users", code % "lower", name="B"),
    ]
    async with served(files.app(*texts)) as (_, client):
        assert (await client.get("/Users")).text == "upper"
        assert (await client.get("/users")).text == "lower"
        assert (await client.get("/USERS")).status_code == 404


async def test_a_traceparent_that_comes_in_is_continued(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """A W3C `traceparent` that comes in is continued."""
    code = """
async def handler(req, ctx):
    return {"status": 200, "body": [req.trace_id, ctx.trace_id]}
"""
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with served(files.app(dialect.http("GET", "/x", code))) as (_, client):
        answer = await client.get("/x", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert answer.json() == [trace, trace]
    assert answer.headers["x-trace-id"] == trace


# bodies in

ECHO = """
async def handler(req, ctx):
    body = req.body
    if isinstance(body, bytes):
        body = list(body)
    return {"status": 200, "body": {"type": type(req.body).__name__, "body": body}}
"""


@pytest.mark.parametrize(
    ("content_type", "content", "seen"),
    [
        ("application/json", b'{"a": 1}', {"a": 1}),
        ("application/json; charset=utf-8", '["ä"]'.encode(), ["ä"]),
        ("application/vnd.api+json", b'{"a": null}', {"a": None}),
        ("application/x-www-form-urlencoded", b"a=1+2&b=%C3%A4&b=3", {"a": "1 2", "b": ["ä", "3"]}),
        ("text/plain", "ä".encode(), "ä"),
        ("text/csv; charset=latin-1", "ä".encode("latin-1"), "ä"),
        ("application/octet-stream", b"\x00\xff", [0, 255]),
        ("image/png", b"\x89P", [137, 80]),
    ],
)
async def test_body_in(
    content_type: str,
    content: bytes,
    seen: Any,
    dialect: Dialect,
    files: Project,
    served: Serving,
) -> None:
    """Bodies in: JSON (`application/json`, `+json`), urlencoded, … `text/*` as str, anything else
    as bytes"""
    async with served(files.app(dialect.http("POST", "/x", ECHO))) as (_, client):
        answer = await client.post("/x", content=content, headers={"content-type": content_type})
    assert answer.status_code == 200, answer.text
    assert answer.json()["body"] == seen


async def test_multipart_body_in(dialect: Dialect, files: Project, served: Serving) -> None:
    """multipart (fields, and files with name, type and bytes)"""
    code = """
async def handler(req, ctx):
    file = req.body["file"]
    return {"status": 200, "body": {
        "field": req.body["field"], "name": file.name, "type": file.type, "bytes": list(file.bytes),
    }}
"""
    async with served(files.app(dialect.http("POST", "/x", code))) as (_, client):
        answer = await client.post(
            "/x",
            data={"field": "ä"},
            files={"file": ("a b.png", b"\x00\xff\r\n--", "image/png")},
        )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "field": "ä", "name": "a b.png", "type": "image/png", "bytes": [0, 255, 13, 10, 45, 45],
    }  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_body(method: str, dialect: Dialect, files: Project, served: Serving) -> None:
    """no body is `{}` for the first dialect and `None` otherwise"""
    async with served(files.app(dialect.http(method, "/x", ECHO))) as (_, client):
        answer = await client.request(method, "/x")
    assert answer.json()["body"] == ({} if dialect.number == 1 else None)


async def test_gzip_is_decoded(dialect: Dialect, files: Project, served: Serving) -> None:
    """gzip is decoded within the same limit."""
    async with served(files.app(dialect.http("POST", "/x", ECHO))) as (_, client):
        answer = await client.post(
            "/x",
            content=gzip.compress(b'{"a": 1}', mtime=0),
            headers={"content-type": "application/json", "content-encoding": "gzip"},
        )
    assert answer.json()["body"] == {"a": 1}


async def test_raw_body_of_gzip(dialect: Dialect, files: Project, served: Serving) -> None:
    """`raw_body` (bytes as received)"""
    sent = gzip.compress(b'{"a": 1}', mtime=0)
    code = f"""
async def handler(req, ctx):
    return {{"status": 200, "body": [req.raw_body == {sent!r}, req.rawBody == {sent!r}]}}
"""
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    async with served(files.app(dialect.http("POST", "/x", code))) as (_, client):
        assert (await client.post("/x", content=sent, headers=headers)).json() == [True, True]


async def test_gzip_that_grows_over_the_limit_is_too_large(
    dialect: Dialect, files: Project, served: Serving
) -> None:
    """gzip is decoded within the same limit."""
    app = files.app(dialect.http("POST", "/x", ECHO), body_limit=1000)
    async with served(app) as (_, client):
        bomb = gzip.compress(b" " * 200_000, mtime=0)
        assert len(bomb) < 1000
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        for size, status in ((1000, 200), (1001, 413)):
            content = gzip.compress(b'"' + b"x" * (size - 2) + b'"', mtime=0)
            assert (await client.post("/x", content=content, headers=headers)).status_code == status
        answer = await client.post("/x", content=bomb, headers=headers)
        assert answer.status_code == 413
        assert answer.json() == {"error": "Request body too large", "limit": 1000}


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b'{"a":', {}),
        (b"\xff", {}),
        (b'{"a": NaN}', {}),
        (b"not gzip", {"content-encoding": "gzip"}),
        (gzip.compress(b'{"a": 1}', mtime=0)[:-9], {"content-encoding": "gzip"}),
    ],
    ids=["cut", "not UTF-8", "NaN", "not gzip", "half a gzip"],
)
async def test_malformed_json(
    content: bytes, headers: dict[str, str], dialect: Dialect, files: Project, served: Serving
) -> None:
    """Malformed JSON: 400."""
    async with served(files.app(dialect.http("POST", "/x", ECHO))) as (_, client):
        answer = await client.post(
            "/x", content=content, headers={"content-type": "application/json", **headers}
        )
    assert answer.status_code == 400
    assert answer.json() == {"error": "Malformed request body"}


async def test_over_65_kb_in(dialect: Dialect, files: Project, served: Serving) -> None:
    """(Seen: 65 kB is the real limit of a Python step, …)"""
    code = "async def handler(req):\n    return {'status': 200, 'body': len(req.body.text)}"
    async with served(files.app(dialect.http("POST", "/x", code))) as (_, client):
        assert (await client.post("/x", json={"text": "x" * 5_000_000})).json() == 5_000_000


# MotiaHttpArgs

ARGS = """
from motia_trio import MotiaHttpArgs, http
config = {"name": "Args", "triggers": [http("POST", "/x/:id")]}
"""


async def test_motia_http_args_status_headers_writer_close(files: Project, served: Serving) -> None:
    """Third-dialect handlers annotated `MotiaHttpArgs` get `.request` and `.response` (status,
    headers, writer, close) for streaming"""
    code = """
from typing import Any
async def handler(args: MotiaHttpArgs[Any], ctx) -> None:
    response = args.response
    await response.status(201)
    await response.headers({"content-type": "text/event-stream", "x-id": args.request.path_params["id"]})
    for number in range(3):
        response.writer.stream.write(f"data: {number}\\n\\n".encode())
    response.close()
"""
    async with served(files.app(ARGS + code)) as (_, client):
        answer = await client.post("/x/5")
    assert answer.status_code == 201
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-id"] == "5"
    assert answer.text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"


async def test_what_the_writer_is_given_is_sent_while_the_handler_runs(served: Serving) -> None:
    """`.response` (status, headers, writer, close) for streaming"""
    from motia_trio import MotiaHttpArgs

    read = trio.Event()

    @step(http("GET", "/"), name="S")
    async def handler(args: MotiaHttpArgs) -> None:
        args.response.writer.write(b"first")
        await read.wait()
        args.response.writer.write(b"second")
        args.response.close()

    chunks = []
    async with served([handler]) as (_, client), client.stream("GET", "/") as answer:
        with trio.fail_after(5):
            async for chunk in answer.aiter_bytes():
                chunks.append(chunk)
                read.set()
    assert chunks == [b"first", b"second"]


async def test_request_body_is_read_as_it_arrives(served: Serving) -> None:
    """and `request.request_body` to read the body as it arrives."""
    from motia_trio import MotiaHttpArgs

    got: list[bytes] = []
    come = trio.Event()

    @step(http("POST", "/"), name="S")
    async def handler(args: MotiaHttpArgs) -> Any:
        async for chunk in args.request.request_body.stream:
            got.append(chunk)
            come.set()
        return {"status": 200, "body": b"".join(got)}

    async def slowly() -> Any:
        yield b"one"
        with trio.fail_after(5):
            await come.wait()  # which nobody sets who waits for the whole body
        yield b"two"

    async with served([handler]) as (_, client):
        answer = await client.post("/", content=slowly())
    assert answer.content == b"onetwo"
    assert len(got) >= 2


async def test_motia_http_args_may_return_an_answer_instead(
    files: Project, served: Serving
) -> None:
    """Third-dialect handlers annotated `MotiaHttpArgs` get `.request` and `.response`"""
    code = """
async def handler(args: MotiaHttpArgs, ctx):
    return {"status": 200, "body": [args.request.body, args.request.method, args.body]}
"""
    async with served(files.app(ARGS + code)) as (_, client):
        assert (await client.post("/x/5", json={"a": 1})).json() == [{"a": 1}, "POST", {"a": 1}]
