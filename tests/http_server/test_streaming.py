"""Answers that are sent while they are made, bodies that are read as they arrive, and who leaves."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, MotiaHttpArgs, http, open_runtime, step
from motia_trio.events import AskFailed, RequestAbandoned, RequestAnswered
from motia_trio.http_server.responses import NotAResponse
from motia_trio.http_server.streaming import encode_event, pieces_of
from tests.http_server.wire import body_of, connect, read_to_end, served, status_of, tell
from tests.support import Notebook

EVENTS = {"content-type": "text/event-stream"}


def answers(body: Any, headers: Any = None, status: int = 200, **config: Any) -> Any:
    """A step whose body is what ``body()`` gives."""

    @step(http("GET", "/"), name="Streams", **config)
    async def handler(req: Any) -> Any:
        return {"status": status, "body": body(), "headers": headers or {}}

    return handler


async def test_a_body_is_sent_piece_by_piece() -> None:
    """Text and bytes; the client has the first before the second is made."""
    go = trio.Event()

    async def pieces() -> Any:
        yield "ä"
        await go.wait()
        yield b"\x00"
        yield ""
        yield "end"

    async with served(answers(pieces)) as (_, client):
        async with client.stream("GET", "/") as answer:
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
            assert "content-length" not in answer.headers
            parts = answer.aiter_bytes()
            assert (await anext(parts)).decode() == "ä"
            go.set()
            assert b"".join([part async for part in parts]) == b"\x00end"


async def test_a_plain_generator_and_an_empty_one() -> None:
    async with served(answers(lambda: iter(["a", "b"]))) as (_, client):
        assert (await client.get("/")).text == "ab"
    async with served(answers(lambda: iter([]))) as (_, client):
        answer = await client.get("/")
        assert (answer.status_code, answer.content) == (200, b"")


async def test_mappings_and_lists_are_lines_of_json() -> None:
    headers = {"content-type": "application/x-ndjson"}
    async with served(answers(lambda: iter([{"a": 1}, [2]]), headers)) as (_, client):
        answer = await client.get("/")
    assert answer.text == '{"a":1}\n[2]\n'
    assert answer.headers["content-type"] == "application/x-ndjson"


async def test_events_are_written_as_the_standard_says() -> None:
    def events() -> Any:
        yield {"data": {"n": 1}, "event": "tick", "id": 7, "retry": 100}
        yield {"data": "two\nlines\r\nand\rmore"}
        yield {"comment": "still\nhere"}
        yield {"data": ""}
        yield ": by hand\n\n"

    async with served(answers(events, EVENTS)) as (_, client):
        answer = await client.get("/")
    assert answer.headers["cache-control"] == "no-cache"
    assert answer.text == (
        'event: tick\nid: 7\nretry: 100\ndata: {"n":1}\n\n'
        "data: two\ndata: lines\ndata: and\ndata: more\n\n"
        ": still\n: here\n\n"
        "data: \n\n"
        ": by hand\n\n"
    )


async def test_the_head_of_an_event_stream_comes_before_its_first_event() -> None:
    async def events() -> Any:
        await trio.sleep_forever()
        yield ""

    async with served(answers(events, {**EVENTS, "cache-control": "max-age=1"})) as (_, client):
        with trio.fail_after(5):
            async with client.stream("GET", "/") as answer:
                assert answer.headers["cache-control"] == "max-age=1"


@pytest.mark.parametrize(
    "event",
    [{}, {"x": 1}, {"data": 1, "x": 2}, 5, None, ["data"], {"event": "a\nb"}, {"id": "\0"},
     {"retry": "x"}, {"retry": -1}, {"retry": True}],
)  # fmt: skip
def test_what_is_no_event_is_refused(event: Any) -> None:
    with pytest.raises(NotAResponse):
        encode_event(event)


@pytest.mark.parametrize("length", ["x", "-1", "9" * 30])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    with pytest.raises(NotAResponse):
        pieces_of({"status": 200, "headers": {"content-length": length}})


async def test_a_handler_may_say_how_long_its_body_is() -> None:
    async with served(answers(lambda: iter(["ab", "c"]), {"content-length": "3"})) as (_, client):
        answer = await client.get("/")
        assert (answer.text, answer.headers["content-length"]) == ("abc", "3")


@pytest.mark.parametrize("length", ["2", "4"])
async def test_a_body_of_another_length_than_was_said_is_cut_off(length: str) -> None:
    """Where it is too long, at that length."""
    notebook = Notebook()
    steps = answers(lambda: iter(["ab", "c"]), {"content-length": length})
    async with served(steps, notebook=notebook) as (_, client):
        if length == "2":
            assert (await client.get("/")).text == "ab"
        else:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get("/")
        with trio.fail_after(5):
            while not notebook.of(AskFailed):
                await trio.sleep(0.01)
    assert "content-length" in notebook.of(AskFailed)[0].error


async def test_head_has_no_body_and_ends_the_handler() -> None:
    ended = trio.Event()

    async def pieces() -> Any:
        try:
            yield "a"
            await trio.sleep_forever()
        finally:
            ended.set()

    async with served(answers(pieces)) as (_, client):
        answer = await client.head("/")
        assert (answer.status_code, answer.content) == (200, b"")
        with trio.fail_after(5):
            await ended.wait()


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
async def test_a_handler_that_fails_midway_has_its_answer_cut_off(version: bytes) -> None:
    """The client sees that it is not whole; in HTTP/1.0, by a reset."""

    async def pieces() -> Any:
        yield "x" * 10
        await trio.sleep(0.1)
        raise ValueError("broken")

    notebook = Notebook()
    async with served(answers(pieces), notebook=notebook) as (rt, client):
        if version == b"1.1":
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                await client.get("/")
        else:
            async with await connect(rt) as stream:
                await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
                with pytest.raises(trio.BrokenResourceError):
                    while await stream.receive_some(1000):
                        pass
        with trio.fail_after(5):
            while not notebook.of(RequestAnswered):
                await trio.sleep(0.01)
    assert "ValueError: broken" in notebook.of(AskFailed)[0].error
    assert (notebook.of(RequestAnswered)[0].reason or "").startswith("cut: ")


async def test_a_handler_that_fails_before_its_first_piece_has_a_whole_answer() -> None:
    async def pieces() -> Any:
        raise ValueError
        yield ""

    async with served(answers(pieces)) as (_, client):
        answer = await client.get("/")
    assert (answer.status_code, answer.json()["error"]) == (500, "Internal server error")


@pytest.mark.parametrize("head", [{"status": "odd"}, {"status": 200, "headers": {"a b": "c"}}])
async def test_a_head_that_cannot_be_sent_is_a_500(head: Any) -> None:
    ended = trio.Event()

    async def pieces() -> Any:
        try:
            while True:
                yield "x"
                await trio.sleep(0.01)
        finally:
            ended.set()

    @step(http("GET", "/"), name="Odd")
    async def handler(req: Any) -> Any:
        return {**head, "body": pieces()}

    async with served(handler) as (_, client):
        assert (await client.get("/")).status_code == 500
        with trio.fail_after(5):
            await ended.wait()


async def test_a_piece_that_cannot_be_written_ends_the_handler() -> None:
    ended = trio.Event()

    async def pieces() -> Any:
        try:
            yield object()
            await trio.sleep_forever()
        finally:
            ended.set()

    notebook = Notebook()
    async with served(answers(pieces), notebook=notebook) as (_, client):
        assert (await client.get("/")).status_code == 500
        with trio.fail_after(5):
            await ended.wait()
    assert "cannot be sent" in notebook.of(AskFailed)[0].error


@pytest.mark.parametrize("headers", [{}, EVENTS])
async def test_a_handler_that_streams_is_cancelled_when_its_client_leaves(headers: Any) -> None:
    """While it makes nothing, and while it waits for the client to read."""
    cancelled = 0

    async def silent() -> Any:
        nonlocal cancelled
        yield "begin"
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            cancelled += 1
            raise

    async def endless() -> Any:
        nonlocal cancelled
        try:
            while True:
                yield "x" * 100_000
        finally:
            cancelled += 1

    notebook = Notebook()
    for number, pieces in enumerate((silent, endless), 1):
        async with served(answers(pieces, headers), notebook=notebook) as (rt, _):
            async with await connect(rt) as stream:
                await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                with trio.fail_after(5):
                    assert status_of(bytes(await stream.receive_some(100))) == 200
            with trio.fail_after(5):
                while cancelled < number or rt.tree().in_flight:
                    await trio.sleep(0.01)


def holds(**config: Any) -> tuple[Any, dict[str, Any]]:
    """A step that takes a while, and what became of it."""
    seen: dict[str, Any] = {"began": trio.Event(), "end": None, "go": trio.Event()}

    @step(http("GET", "/", **config), http("POST", "/", **config), name="Holds")
    async def handler(req: Any) -> Any:
        seen["began"].set()
        try:
            await seen["go"].wait()
        except trio.Cancelled:
            seen["end"] = "cancelled"
            raise
        seen["end"] = "done"
        return {"status": 200, "body": "late"}

    return handler, seen


async def test_another_handler_runs_to_its_end_when_its_client_leaves() -> None:
    handler, seen = holds()
    async with served(handler) as (rt, _):
        async with await connect(rt) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await seen["began"].wait()
        await trio.sleep(0.1)
        assert seen["end"] is None
        seen["go"].set()
        with trio.fail_after(5):
            while rt.tree().in_flight:
                await trio.sleep(0.01)
    assert seen["end"] == "done"


@pytest.mark.parametrize("method", [b"GET", b"POST"])
async def test_with_cancel_on_disconnect_it_is_cancelled(method: bytes) -> None:
    handler, seen = holds(cancel_on_disconnect=True)
    notebook = Notebook()
    async with served(handler, notebook=notebook) as (rt, client):
        async with await connect(rt) as stream:
            await stream.send_all(method + b" / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
            await seen["began"].wait()
        with trio.fail_after(5):
            while seen["end"] is None:
                await trio.sleep(0.01)
        assert seen["end"] == "cancelled"
        seen["go"].set()
        assert (await client.get("/")).text == "late"
    assert len(notebook.of(RequestAbandoned)) == 1
    assert len(notebook.of(RequestAnswered)) == 1


async def test_a_body_may_be_read_as_it_arrives() -> None:
    """The handler begins before it is whole, and may answer meanwhile."""
    got: list[bytes] = []
    begun = trio.Event()

    @step(http("POST", "/"), name="Reads")
    async def handler(args: MotiaHttpArgs) -> Any:
        assert args.request.body is None
        begun.set()
        async for piece in args.request.request_body.stream:
            got.append(piece)  # noqa: PERF401 - another task looks at it meanwhile
        await args.response.status(201)
        await args.response.headers({"content-type": "text/plain"})
        await args.response.writer.write(f"{sum(map(len, got))} bytes")
        args.response.close()

    async with served(handler) as (_, client):

        async def chunks() -> Any:
            yield b"a" * 10
            with trio.fail_after(5):
                await begun.wait()
                while not got:
                    await trio.sleep(0.01)
            yield b"b" * 5

        answer = await client.post("/", content=chunks())
    assert (answer.status_code, answer.text) == (201, "15 bytes")
    assert b"".join(got) == b"a" * 10 + b"b" * 5


async def test_what_is_read_as_it_arrives_is_unpacked_and_may_be_read_at_once() -> None:
    import gzip

    @step(http("POST", "/"), name="Reads")
    async def handler(args: MotiaHttpArgs) -> Any:
        reader = args.request.request_body
        whole = await reader.read_all()
        assert whole == await reader.read_all()
        return {"status": 200, "body": [len(whole), args.request.body]}

    async with served(handler) as (_, client):
        headers = {"content-encoding": "gzip"}
        packed = gzip.compress(bytes(1_000_000), mtime=0)
        answer = await client.post("/", content=packed, headers=headers)
        assert answer.json() == [1_000_000, None]
        answer = await client.post("/", json={"a": 1})
        assert answer.json() == [7, {"a": 1}]
        assert (await client.post("/")).json() == [0, None]


async def test_a_plain_handler_reads_in_a_plain_loop() -> None:
    @step(http("POST", "/"), name="Reads")
    def handler(args: MotiaHttpArgs) -> Any:
        return {
            "status": 200,
            "body": sum(len(piece) for piece in args.request.request_body.stream),
        }

    async with served(handler) as (_, client):

        async def chunks() -> Any:
            for _ in range(5):
                yield b"x" * 100
                await trio.sleep(0.01)

        assert (await client.post("/", content=chunks())).json() == 500


async def test_a_plain_loop_on_the_loop_is_told_how_to_read() -> None:
    @step(http("POST", "/"), name="Reads")
    async def handler(args: MotiaHttpArgs) -> Any:
        stream = args.request.request_body.stream
        with pytest.raises(RuntimeError, match="async for"):
            next(iter(stream))
        await args.request.request_body.read_all()
        return {"status": 200, "body": list(stream)}

    async with served(handler) as (_, client):
        answer = await client.post("/", content=b"abc")
        assert (answer.status_code, answer.json()) == (200, [])


async def test_over_the_limit_and_too_slow_are_told_where_the_handler_lets_them() -> None:
    @step(http("POST", "/"), name="Reads")
    async def handler(args: MotiaHttpArgs) -> Any:
        return {"status": 200, "body": len(await args.request.request_body.read_all())}

    async with served(handler, body_limit=1000, client_timeout=0.3) as (rt, client):

        async def chunks() -> Any:
            for _ in range(100):
                yield b"x" * 100

        answer = await client.post("/", content=chunks())
        assert answer.status_code == 413
        assert answer.json() == {"error": "Request body too large", "limit": 1000}
        headers = {"content-encoding": "gzip"}
        answer = await client.post("/", content=b"no gzip", headers=headers)
        assert (answer.status_code, answer.json()) == (400, {"error": "Malformed request body"})
        head = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx"
        slow = await tell(rt, head, eof=False)
        assert (status_of(slow), body_of(slow)) == (408, {"error": "Request timed out"})


async def test_a_handler_that_answers_without_reading_does_not_hang_its_client() -> None:
    """However much the client sends before it listens."""

    @step(http("POST", "/"), name="Ignores")
    async def handler(args: MotiaHttpArgs) -> Any:
        return {"status": 403, "body": {"error": "no"}}

    async with served(handler, body_limit=10**9) as (_, client):
        with trio.fail_after(10):
            answer = await client.post("/", content=bytes(30_000_000))
        assert (answer.status_code, answer.json()) == (403, {"error": "no"})


async def test_a_body_that_is_left_in_the_middle_ends_who_reads_it() -> None:
    errors: list[str] = []

    @step(http("POST", "/"), name="Reads")
    async def handler(args: MotiaHttpArgs) -> Any:
        try:
            await args.request.request_body.read_all()
        except Exception as error:
            errors.append(type(error).__name__)
            raise

    async with served(handler) as (rt, _):
        async with await connect(rt) as stream:
            await stream.send_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx")
            await trio.sleep(0.1)
        with trio.fail_after(5):
            while not errors:
                await trio.sleep(0.01)
    assert errors == ["ClientGone"]


async def test_an_echo_reads_and_writes_at_the_same_time() -> None:
    @step(http("POST", "/"), name="Echo")
    async def handler(args: MotiaHttpArgs) -> Any:
        async def upper() -> Any:
            async for piece in args.request.request_body.stream:
                yield piece.upper()

        return {"status": 200, "body": upper()}

    async with served(handler) as (rt, _):
        async with await connect(rt) as stream:
            await stream.send_all(
                b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n"
                b"connection: close\r\n\r\n"
            )
            got = bytearray()
            for number in range(3):
                await stream.send_all(b"2\r\na%d\r\n" % number)
                with trio.fail_after(5):
                    while b"A%d" % number not in got:
                        got += await stream.receive_some(1000)
            await stream.send_all(b"0\r\n\r\n")
            got += await read_to_end(stream)
    assert got.endswith(b"0\r\n\r\n")


async def endless() -> Any:
    while True:
        yield {"data": "tick"}
        await trio.sleep(0.01)


async def returns_events(req: Any) -> Any:
    return {"status": 200, "body": endless(), "headers": EVENTS}


async def writes_events(args: MotiaHttpArgs) -> None:
    await args.response.headers(EVENTS)
    async for event in endless():
        await args.response.writer.write(event)


@pytest.mark.parametrize("handler", [returns_events, writes_events])
async def test_a_stop_ends_event_streams_at_once_and_in_order(handler: Any) -> None:
    """Their clients connect again. Nothing of it looks like a failure."""
    notebook = Notebook()
    ended = trio.Event()
    made = step({"name": "Events", "triggers": [http("GET", "/")]}, handler)

    async def follow(url: str) -> None:
        async with httpx.AsyncClient() as client, client.stream("GET", url) as answer:
            begun.set()
            assert b"".join([part async for part in answer.aiter_bytes()]).endswith(b"tick\n\n")
        ended.set()

    async with trio.open_nursery() as nursery:
        with trio.fail_after(5):  # of the 30 s that others would have
            async with open_runtime(App([made]), http="127.0.0.1:0", observers=[notebook]) as rt:
                begun = trio.Event()
                nursery.start_soon(follow, str(rt.http_url))
                await begun.wait()
                await trio.sleep(0.05)
            await ended.wait()
    assert notebook.of(AskFailed) == []
    assert notebook.of(RequestAbandoned) == []
    (told,) = notebook.of(RequestAnswered)
    assert (told.status, told.reason) == (200, None)


async def test_a_stop_lets_other_answers_come_to_their_end_within_its_limit() -> None:
    texts: list[str] = []
    begun = trio.Event()

    async def rows() -> Any:
        for n in range(10):
            yield f"{n}\n"
            begun.set()
            await trio.sleep(0.03)

    async def follow(url: str) -> None:
        async with httpx.AsyncClient() as client:
            texts.append((await client.get(url)).text)

    async with trio.open_nursery() as nursery:
        async with open_runtime(App([answers(rows)]), http="127.0.0.1:0", observers=()) as rt:
            nursery.start_soon(follow, str(rt.http_url))
            await begun.wait()
    assert texts == ["".join(f"{n}\n" for n in range(10))]


async def test_what_a_stop_cuts_off_is_told_as_that() -> None:
    notebook = Notebook()
    begun = trio.Event()

    async def rows() -> Any:
        while True:
            yield "row\n"
            begun.set()
            await trio.sleep(0.01)

    async def follow(url: str) -> None:
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(url)

    app = App([answers(rows)], shutdown_timeout=0.1)
    async with trio.open_nursery() as nursery:
        async with open_runtime(app, http="127.0.0.1:0", observers=[notebook]) as rt:
            nursery.start_soon(follow, str(rt.http_url))
            await begun.wait()
    (told,) = notebook.of(RequestAnswered)
    assert told.reason is not None
    assert "the service is stopping" in told.reason
    assert notebook.of(AskFailed) == []
