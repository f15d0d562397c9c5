"""Clients that dawdle, that do not read, that come in crowds: bounded in time and in memory."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import trio

from motia_trio import http, step
from tests.http_server.wire import connect, read_one, read_to_end, served, status_of, tell

MB = 1_000_000


@step(http("GET", "/"), name="Hello")
async def hello(req: Any) -> Any:
    return {"status": 200, "body": "hi"}


@step(http("GET", "/big"), name="Big")
async def big(req: Any) -> Any:
    return {"status": 200, "body": bytes(10 * MB)}


async def alone(rt: Any, seconds: float) -> None:
    """Wait until no connection but ours is open: the server has given up the others."""
    import psutil

    port = int(str(rt.http_url).rpartition(":")[2])
    with trio.fail_after(seconds):
        while any(
            found.laddr.port == port and found.status != psutil.CONN_LISTEN
            for found in psutil.Process().net_connections("tcp")
        ):
            await trio.sleep(0.05)


async def test_a_client_that_never_reads_is_let_go() -> None:
    """Its connection is dropped; the next client is served all the while."""
    async with served(big, hello, client_timeout=0.5) as (rt, client):
        streams = [await connect(rt) for _ in range(5)]
        for stream in streams:
            await stream.send_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        assert (await client.get("/")).text == "hi"
        await client.aclose()
        await alone(rt, 5)
        for stream in streams:
            answer = await read_to_end(stream)
            assert status_of(answer) == 200
            assert len(answer) < 10 * MB
            await stream.aclose()


async def test_one_that_reads_nothing_of_a_stream_ends_its_handler() -> None:
    ended = trio.Event()

    async def pieces() -> Any:
        try:
            while True:
                yield bytes(MB)
        finally:
            ended.set()

    @step(http("GET", "/"), name="Endless")
    async def endless(req: Any) -> Any:
        return {"status": 200, "body": pieces()}

    async with served(endless, client_timeout=0.3) as (rt, _):
        async with await connect(rt) as stream:
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            with trio.fail_after(5):
                await ended.wait()


async def test_a_slow_but_honest_reader_gets_everything() -> None:
    """It takes several times as long as a client has for a piece."""
    async with served(big, client_timeout=0.5) as (rt, _):
        async with await connect(rt) as stream:
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 65536)
            await stream.send_all(b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            got, began = 0, trio.current_time()
            with trio.fail_after(30):
                while part := await stream.receive_some(65536):
                    got += len(part)
                    await trio.sleep(0.01)
            took = trio.current_time() - began
    assert got > 10 * MB
    assert took > 1


async def test_a_header_that_dribbles_is_cut_off_at_its_time() -> None:
    """However steadily it comes; and one that never comes, too."""
    async with served(hello, client_timeout=0.5) as (rt, _):
        began = trio.current_time()
        async with await connect(rt) as dribbling, await connect(rt) as silent:
            with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
                for byte in b"GET / HTTP/1.1\r\nx: " + b"y" * 1000:
                    await dribbling.send_all(bytes([byte]))
                    await trio.sleep(0.05)
            assert await read_to_end(silent) == b""
        assert 0.4 < trio.current_time() - began < 2


async def test_one_that_was_answered_may_ask_again_within_its_time() -> None:
    async with served(hello, client_timeout=0.4) as (rt, _):
        async with await connect(rt) as stream:
            for _ in range(4):
                await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                assert status_of(await read_one(stream)) == 200
                await trio.sleep(0.25)
            assert await read_to_end(stream, 2) == b""


async def test_a_handler_may_take_longer_than_its_client() -> None:
    """The time of clients is not that of handlers."""

    @step(http("GET", "/slow"), name="Slow")
    async def slow(req: Any) -> Any:
        await trio.sleep(0.6)
        return {"status": 200, "body": "late"}

    async with served(slow, client_timeout=0.2) as (_, client):
        assert (await client.get("/slow")).text == "late"


async def test_above_max_connections_a_client_waits_until_another_leaves() -> None:
    async with served(hello, max_connections=2) as (rt, _):
        first, second = await connect(rt), await connect(rt)
        third = await connect(rt)
        await third.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        with trio.move_on_after(0.2) as waited:
            await third.receive_some(1000)
        assert waited.cancelled_caught
        await first.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        assert status_of(bytes(await first.receive_some(1000))) == 200
        await first.aclose()
        with trio.fail_after(5):
            assert status_of(bytes(await third.receive_some(1000))) == 200
        await second.aclose()
        await third.aclose()


async def test_a_thousand_slow_connections_cost_little_and_are_let_go() -> None:
    async with served(hello, client_timeout=5) as (rt, client):
        await client.get("/")
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        streams = []
        for _ in range(1000):
            stream = await connect(rt)
            await stream.send_all(b"GET / HTTP/1.1\r\nx: y")
            streams.append(stream)
        await trio.sleep(0.2)
        each = (tracemalloc.get_traced_memory()[0] - before) / 1000
        tracemalloc.stop()
        assert (await client.get("/")).text == "hi"
        assert each < 50_000, f"{each:.0f} bytes for each, of the client here too"
        for stream in streams:
            await stream.aclose()


async def test_who_does_not_read_keeps_no_more_than_its_answer() -> None:
    """A stream waits for its client, so what is made does not pile up."""
    made = 0

    async def pieces() -> Any:
        nonlocal made
        while True:
            made += 1
            yield bytes(100_000)

    @step(http("GET", "/"), name="Endless")
    async def endless(req: Any) -> Any:
        return {"status": 200, "body": pieces()}

    async with served(endless) as (rt, _):
        streams = [await connect(rt) for _ in range(10)]
        for stream in streams:
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        await trio.sleep(0.5)
        before = made
        tracemalloc.start()
        await trio.sleep(0.5)
        assert made - before <= 10
        assert tracemalloc.get_traced_memory()[0] < 3 * MB
        tracemalloc.stop()
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def test_a_stop_waits_neither_for_idle_clients_nor_for_those_that_do_not_read() -> None:
    """The first are closed at once, the others at the limit of the stop."""
    async with served(hello, big, shutdown_timeout=0.5) as (rt, client):
        await client.get("/")
        idle, deaf = await connect(rt), await connect(rt)
        await deaf.send_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
        await trio.sleep(0.2)
        began = trio.current_time()
    assert trio.current_time() - began < 4
    assert await read_to_end(idle) == b""
    await idle.aclose()
    await deaf.aclose()


async def test_a_stop_answers_what_it_was_asked_and_closes() -> None:
    @step(http("GET", "/slow"), name="Slow")
    async def slow(req: Any) -> Any:
        await trio.sleep(0.3)
        return {"status": 200, "body": "late"}

    answers: list[bytes] = []
    async with trio.open_nursery() as nursery:
        async with served(slow) as (rt, _):

            async def ask() -> None:
                answers.append(await tell(rt, b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n", eof=False))

            nursery.start_soon(ask)
            await trio.sleep(0.1)
    assert answers[0].endswith(b"late")


async def test_a_connection_that_is_closed_between_two_requests_is_closed_at_once() -> None:
    """After its thousandth, be the next one on its way or not."""
    async with served(hello) as (rt, _):
        async with await connect(rt) as stream:
            for _ in range(1000):
                await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                answer = await read_one(stream)
                assert status_of(answer) == 200
            assert b"connection: close" in answer
            await stream.send_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            with trio.fail_after(0.8):
                assert await stream.receive_some(1000) == b""
