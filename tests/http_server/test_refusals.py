"""Requests that are broken, in any way: each is answered or closed, and the service is well."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from motia_trio import http, step
from motia_trio.events import RequestAnswered
from tests.http_server.wire import body_of, connect, read_to_end, served, status_of, tell
from tests.support import Notebook


@step(http("GET", "/"), http("POST", "/"), http("GET", "/x/:id"), name="Hello")
async def hello(req: Any) -> Any:
    return {"status": 200, "body": {"id": req.path_params.get("id")}}


async def well(rt: Any) -> None:
    """The service answers."""
    assert status_of(await tell(rt, b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")) == 200


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: b\x00c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\n folded\r\n\r\n", 200),
        (b"G\xc3\xa4T / HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: a\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: x\r\na: " + b"x" * 100_000 + b"\r\n\r\n", 431),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 300 + b"\r\n", 431),
        (b"CONNECT x:80 HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n", 204),
        (b"GET http://other/x/7 HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        (b"GET /x/%zz HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        (b"GET /x/%ff HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        (b"GET /x/% HTTP/1.1\r\nhost: x\r\n\r\n", 200),
        (b"GET //////// HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        (b"GET /x/../../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n", 404),
        (b"BREW / HTTP/1.1\r\nhost: x\r\n\r\n", 405),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n", 200),
        (
            (
                b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"
                b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n"
            ),
            403,
        ),
    ],
)
async def test_a_broken_or_odd_request_has_its_answer(raw: bytes, status: int) -> None:
    """In JSON, where there is a body; and the next request is answered as ever."""
    async with served(hello) as (rt, _):
        answer = await tell(rt, raw, eof=status in {200, 204, 404, 405} or b"a: b" in raw)
        assert status_of(answer) == status
        if status not in {204, 403}:
            assert isinstance(body_of(answer), dict)
        await well(rt)


async def test_a_client_that_sends_no_more_is_answered() -> None:
    """Half-closed: it has sent its request and listens."""
    async with served(hello) as (rt, _):
        answer = await tell(rt, b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi")
        assert status_of(answer) == 200


async def test_requests_one_behind_the_other_are_answered_in_order() -> None:
    """Pipelined, in one piece and byte by byte, and half-closed behind the last."""
    raw = b"".join(b"GET /x/%d HTTP/1.1\r\nhost: x\r\n\r\n" % number for number in range(20))
    async with served(hello) as (rt, _):
        whole = await tell(rt, raw)
        async with await connect(rt) as stream:
            for byte in raw:
                await stream.send_all(bytes([byte]))
            await stream.send_eof()
            split = await read_to_end(stream)
    for answer in (whole, split):
        assert answer.count(b"HTTP/1.1 200") == 20
        places = [answer.index(b'{"id":"%d"}' % number) for number in range(20)]
        assert places == sorted(places)


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ran: list[object] = []

    @step(http("POST", "/body"), name="Body")
    async def body(req: Any) -> Any:
        ran.append(req)
        return {"status": 200}

    notebook = Notebook()
    async with served(body, hello, notebook=notebook) as (rt, _):
        for _ in range(20):
            async with await connect(rt) as stream:
                await stream.send_all(
                    b"POST /body HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\nx"
                )
        await well(rt)
    assert ran == []
    assert [event.path for event in notebook.of(RequestAnswered)] == ["/"]
    assert not caplog.records


async def test_random_bytes_do_no_harm() -> None:
    seed = random.Random(4)
    good = (
        b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
        b"5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n"
    )
    async with served(hello) as (rt, _):

        async def one(raw: bytes) -> None:
            answer = await tell(rt, raw)
            assert answer == b"" or status_of(answer) < 500 or status_of(answer) == 501

        async with trio.open_nursery() as nursery:
            for number in range(300):
                raw = bytearray(good)
                for _ in range(seed.randint(1, 8)):
                    place = seed.randrange(len(raw))
                    raw[place : place + seed.randint(0, 3)] = seed.randbytes(seed.randint(0, 3))
                nursery.start_soon(one, bytes(raw))
                if number % 50 == 0:
                    await trio.sleep(0.05)
        await well(rt)


async def test_the_log_of_the_server_has_nothing_to_say_of_clients_that_vanish(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Whole crowds of them, in the middle of their answers."""

    @step(http("GET", "/big"), name="Big")
    async def big(req: Any) -> Any:
        return {"status": 200, "body": b"x" * 3_000_000}

    async with served(big, hello) as (rt, _):

        async def vanish(seconds: float) -> None:
            stream = await connect(rt)
            await stream.send_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n" * 3)
            await trio.sleep(seconds)
            await trio.aclose_forcefully(stream)

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(vanish, number / 300)
        await well(rt)
    assert not caplog.records
