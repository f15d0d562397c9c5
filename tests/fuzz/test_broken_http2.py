"""Broken HTTP/2, spoken over plain text by its preface: bounded in time and in memory."""

from __future__ import annotations

import os
import random
import struct
import tracemalloc
from collections.abc import Iterator
from typing import Any

import hpack
import pytest
import trio

from tests.fuzz.broken import CLIENT_TIMEOUT, REQUEST_TIMEOUT, Target, attacked, unhindered
from tests.http_server.wire import connect, read_to_end

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RESET, SETTINGS, PUSH, PING, GOAWAY, WINDOW, MORE = range(10)
END_STREAM, END_HEADERS = 1, 4
NO_WINDOW = b"\x00\x04\x00\x00\x00\x00"
ROUNDS = 3000
Log = pytest.LogCaptureFixture


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


HELLO = PREFACE + frame(SETTINGS, 0, 0)


class Client:
    """Writes requests with one table of headers, as one connection has."""

    def __init__(self) -> None:
        self._encoder = hpack.Encoder()

    def ask(
        self,
        stream: int,
        path: bytes = b"/",
        method: bytes = b"GET",
        *more: tuple[bytes, bytes],
        flags: int = END_STREAM | END_HEADERS,
    ) -> bytes:
        """A request."""
        parts = [(b":method", method), (b":path", path), (b":scheme", b"http")]
        block = self._encoder.encode([*parts, (b":authority", b"x"), *more])
        return frame(HEADERS, flags, stream, block)


def asked(
    path: bytes = b"/", method: bytes = b"GET", flags: int = END_STREAM | END_HEADERS
) -> bytes:
    """One request on a connection of its own."""
    return HELLO + Client().ask(1, path, method, flags=flags)


def with_header(name: bytes, value: bytes, method: bytes = b"GET") -> bytes:
    return HELLO + Client().ask(1, b"/", method, (name, value))


def websocket(*more: tuple[bytes, bytes], version: bytes = b"13") -> bytes:
    protocol = ((b":protocol", b"websocket"), (b"sec-websocket-version", version))
    parts = [(b":method", b"CONNECT"), (b":path", b"/"), (b":scheme", b"http")]
    block = hpack.Encoder().encode([*parts, (b":authority", b"x"), *protocol, *more])
    return HELLO + frame(HEADERS, END_HEADERS, 1, block)


def over_and_over(path: bytes, after: Any) -> bytes:
    """Requests, behind each of which ``after(stream)`` stands."""
    client = Client()
    streams = range(1, 2 * ROUNDS, 2)
    return HELLO + b"".join(client.ask(stream, path) + after(stream) for stream in streams)


def cancelled(stream: int) -> bytes:
    return frame(RESET, 0, stream, b"\x00\x00\x00\x08")


def depending(pairs: Iterator[tuple[int, int]]) -> bytes:
    """Priorities of streams that are none: ``(stream, the one that it depends on)``."""
    return HELLO + b"".join(
        frame(PRIORITY, 0, stream, struct.pack(">IB", on, 16)) for stream, on in pairs
    )


BROKEN = {
    "nothing more": HELLO,
    "bad preface": PREFACE.replace(b"SM", b"XX"),
    "half a preface": PREFACE[:-5],
    "a preface with headers": b"PRI * HTTP/2.0\r\nhost: x\r\n\r\nSM\r\n\r\n",
    "a preface behind a request": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n" + PREFACE,
    "a preface twice": HELLO + PREFACE,
    "rubbish": PREFACE + b"\xff" * 300_000,
    "half a frame": HELLO + frame(SETTINGS, 0, 0, bytes(60))[:-10],
    "settings: odd size": HELLO + frame(SETTINGS, 0, 0, b"12345"),
    "settings: window too large": HELLO + frame(SETTINGS, 0, 0, b"\x00\x04\xff\xff\xff\xff"),
    "settings: frames too small": HELLO + frame(SETTINGS, 0, 0, b"\x00\x05\x00\x00\x00\x00"),
    "settings: unknown": HELLO + frame(SETTINGS, 0, 0, b"\x7f\x7f\x00\x00\x00\x00" * 1000),
    "settings: flood": HELLO + frame(SETTINGS, 0, 0) * 10_000,
    "settings: windows to and fro": asked(b"/big")
    + (frame(SETTINGS, 0, 0, NO_WINDOW) + frame(SETTINGS, 0, 0, b"\x00\x04\x00\x00\x00\x01")) * 500,
    "ping: flood": HELLO + frame(PING, 0, 0, b"12345678") * 10_000,
    "ping: odd size": HELLO + frame(PING, 0, 0, b"1"),
    "window: none": HELLO + frame(WINDOW, 0, 0, bytes(4)),
    "window: too large": HELLO + frame(WINDOW, 0, 0, b"\x7f\xff\xff\xff") * 2,
    "window: flood": HELLO + frame(WINDOW, 0, 0, b"\x00\x00\x00\x01") * 10_000,
    "window: of a stream that is none": HELLO + frame(WINDOW, 0, 7, b"\x00\x00\x00\x01"),
    "window: 0 for an answer": PREFACE + frame(SETTINGS, 0, 0, NO_WINDOW) + asked(b"/big")[33:],
    "window: 0 for an endless answer": PREFACE
    + frame(SETTINGS, 0, 0, NO_WINDOW)
    + asked(b"/endless")[33:],
    "window: used up": asked(b"/endless"),
    "window: by one byte": asked(b"/endless") + frame(WINDOW, 0, 1, b"\x00\x00\x00\x01") * 500,
    "rapid reset": over_and_over(b"/", cancelled),
    "rapid reset of what is slow": over_and_over(b"/slow", cancelled),
    "rapid reset of what has no end": over_and_over(b"/endless", cancelled),
    "rapid reset by ourselves": over_and_over(
        b"/slow", lambda stream: frame(WINDOW, 0, stream, bytes(4))
    ),
    "rapid reset by data": over_and_over(
        b"/slow", lambda stream: frame(DATA, END_STREAM, stream, b"x")
    ),
    "too many at once": over_and_over(b"/slow", lambda _: b""),
    "headers: without end": asked(flags=END_STREAM),
    "headers: empty continuations": asked(flags=0) + frame(MORE, 0, 1) * 20_000,
    "headers: many continuations": asked(flags=0) + frame(MORE, 0, 1, bytes(1000)) * 500,
    "headers: something in between": asked(flags=0) + frame(PING, 0, 0, bytes(8)),
    "headers: a bomb": HELLO
    + Client().ask(1, b"/", b"GET", (b"x", b"y" * 4000))
    + frame(HEADERS, 5, 3, b"\xbe" * 16_000),
    "headers: bad coding": HELLO + frame(HEADERS, 5, 1, b"\xff" * 8),
    "headers: a table too large": HELLO + frame(HEADERS, 5, 1, b"\x3f\xff\xff\xff\x0f\x82"),
    "headers: even stream": HELLO + Client().ask(2),
    "headers: stream 0": HELLO + Client().ask(0),
    "headers: older stream": HELLO + Client().ask(5) + Client().ask(3),
    "headers: capitals": with_header(b"A", b"b"),
    "headers: no name": with_header(b"", b"b"),
    "headers: line break": with_header(b"a", b"b\r\nc: d"),
    "headers: NUL": with_header(b"a", b"\x00"),
    "headers: connection": with_header(b"connection", b"close"),
    "headers: chunked": with_header(b"transfer-encoding", b"chunked"),
    "headers: bad length": with_header(b"content-length", b"-1", b"POST"),
    "headers: other length": with_header(b"content-length", b"10", b"POST"),
    "headers: two paths": with_header(b":path", b"/x"),
    "headers: none": HELLO + frame(HEADERS, 5, 1),
    "headers: preflight": HELLO
    + Client().ask(
        1,
        b"/",
        b"OPTIONS",
        (b"origin", b"\xff"),
        (b"access-control-request-method", b"\x01\xff"),
        (b"access-control-request-headers", b"\x02"),
    ),
    "path: empty": asked(b""),
    "path: star": asked(b"*"),
    "path: no slash": asked(b"x"),
    "path: not ASCII": asked(b"/\xff"),
    "path: NUL": asked(b"/\x00\r\n"),
    "method: odd": asked(b"/", b"G T\r\n"),
    "method: empty": asked(b"/", b""),
    "CONNECT": asked(b"/", b"CONNECT"),
    "websocket: frames ahead": websocket() + frame(DATA, 0, 1, b"\x81\xff" * 10),
    "websocket: other version": websocket(version=b"99"),
    "websocket: not ASCII": websocket((b"sec-websocket-extensions", b"\xff")),
    "body: never comes": asked(b"/", b"POST", flags=END_HEADERS),
    "body: too large": asked(b"/", b"POST", flags=END_HEADERS)
    + frame(DATA, 0, 1, bytes(16_000)) * 20,
    "body: beyond the window": asked(b"/slow", flags=END_HEADERS)
    + frame(DATA, 0, 1, bytes(16_000)) * 20,
    "body: empty frames": asked(b"/", b"POST", flags=END_HEADERS) + frame(DATA, 0, 1) * 10_000,
    "body: behind its answer": asked() + frame(DATA, 0, 1, bytes(1000)) * 50,
    "body: of a stream that is none": HELLO + frame(DATA, END_STREAM, 1, b"x"),
    "body: bad padding": asked(b"/", b"POST", flags=END_HEADERS) + frame(DATA, 8, 1, b"\xffx"),
    "trailers: a path": asked(b"/", b"POST", flags=END_HEADERS) + Client().ask(1),
    "priority: flood": depending((stream, 0) for stream in range(1, 6000, 2)),
    "priority: a chain": depending((stream, stream - 2) for stream in range(3, 6000, 2)),
    "priority: a ring": depending((stream, on) for stream, on in [(1, 3), (3, 1), (1, 3)]),
    "priority: itself": depending((stream, 1) for stream in [1]),
    "push": HELLO + frame(PUSH, END_HEADERS, 1, b"\x00\x00\x00\x02"),
    "goodbye": asked(b"/slow") + frame(GOAWAY, 0, 0, bytes(8)) + Client().ask(3),
    "unknown frames": HELLO + frame(0x42, 0, 0, bytes(1000)) * 500,
}


FLOODS = [name for name in BROKEN if name.endswith(("flood", "no end"))]


async def until_closed(target: Target, raw: bytes, seconds: float = 5) -> None:
    """Send it and read, until the service closes the connection: in time, whatever it was."""
    async with await connect(target.rt) as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            try:
                await stream.send_all(raw)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        nursery.start_soon(send)
        await read_to_end(stream, seconds)
        nursery.cancel_scope.cancel()


def groups() -> list[list[str]]:
    """Those that begin alike; with ``FUZZ_EACH`` each by itself."""
    if os.environ.get("FUZZ_EACH"):
        return [[name] for name in BROKEN]
    found: dict[str, list[str]] = {}
    for name in BROKEN:
        found.setdefault(name.partition(":")[0] if ":" in name else "others", []).append(name)
    return list(found.values())


@pytest.mark.parametrize("names", groups(), ids=lambda names: names[0].partition(":")[0])
async def test_each_is_closed_and_holds_up_nobody(names: list[str], caplog: Log) -> None:
    """Twice, so that the first time does not hurt the second."""
    late: list[str] = []

    async def one(target: Target, name: str) -> None:
        try:
            await until_closed(target, BROKEN[name])
        except trio.TooSlowError:
            late.append(name)

    async with attacked(caplog) as target:
        async with unhindered(0.5):
            for _ in range(2):
                async with trio.open_nursery() as nursery:
                    for name in names:
                        nursery.start_soon(one, target, name)
                await target.well()
    assert late == []


@pytest.mark.parametrize("name", FLOODS)
async def test_a_client_that_floods_and_does_not_read_takes_little_memory(
    name: str, caplog: Log
) -> None:
    async with attacked(caplog) as target:
        async with await connect(target.rt) as stream:
            tracemalloc.start()
            with trio.move_on_after(CLIENT_TIMEOUT):
                try:
                    while True:
                        await stream.send_all(BROKEN[name])
                except trio.BrokenResourceError:
                    pass
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < 20_000_000


async def test_streams_without_a_window_keep_no_more_than_a_piece_of_their_answers(
    caplog: Log,
) -> None:
    """What their handlers make does not pile up; the connection is not kept for it."""
    client = Client()
    raw = PREFACE + frame(SETTINGS, 0, 0, NO_WINDOW)
    raw += b"".join(client.ask(stream, b"/endless") for stream in range(1, 60, 2))
    async with attacked(caplog, client_timeout=1) as target:
        tracemalloc.start()
        async with await connect(target.rt) as stream:
            await stream.send_all(raw)
            with trio.move_on_after(0.7):
                for _ in range(1000):
                    await stream.send_all(frame(WINDOW, 0, 0, b"\x00\x00\x00\x01"))
                    await trio.sleep(0.001)
            assert tracemalloc.get_traced_memory()[1] < 30 * 300_000
            tracemalloc.stop()


async def test_more_than_a_thousand_requests_of_one_connection_are_all_answered(
    caplog: Log,
) -> None:
    """Many at once, so that some are always on their way."""
    client, got, answered, asked_for = Client(), b"", 0, 0
    async with attacked(caplog) as target, await connect(target.rt) as stream:
        await stream.send_all(HELLO)
        for first in range(1, 2400, 100):
            asking = range(first, first + 100, 2)
            await stream.send_all(b"".join(client.ask(number) for number in asking))
            await stream.send_all(frame(WINDOW, 0, 0, b"\x00\x00\xff\xff"))
            asked_for += len(asking)
            with trio.fail_after(5):
                while answered < asked_for:
                    part = await stream.receive_some(65536)
                    assert part, f"closed after {answered} answers"
                    ended, got = ends_in(got + part)
                    answered += ended
    assert answered == 1200


def ends_in(raw: bytes) -> tuple[int, bytes]:
    """How many answers end in these frames, and what is not a whole frame yet."""
    ended = place = 0
    while place + 9 <= len(raw):
        end = place + 9 + int.from_bytes(raw[place : place + 3], "big")
        if end > len(raw):
            break
        kind, flags = raw[place + 3], raw[place + 4]
        assert kind not in {RESET, GOAWAY}
        ended += kind in {DATA, HEADERS} and flags & END_STREAM
        place = end
    return ended, raw[place:]


async def test_random_changes_of_valid_frames_do_no_harm(caplog: Log) -> None:
    chance = random.Random(4)
    client = Client()
    whole = HELLO + b"".join([
        client.ask(1),
        client.ask(3, b"/", b"POST", flags=END_HEADERS),
        frame(DATA, 0, 3, b"hello"),
        frame(DATA, END_STREAM, 3, b"you"),
        frame(WINDOW, 0, 0, b"\x00\x00\x10\x00"),
        frame(PING, 0, 0, b"12345678"),
        client.ask(5, b"/events"),
        client.ask(7, b"/slow"),
        cancelled(7),
        frame(SETTINGS, 1, 0),
    ])  # fmt: skip

    async def one(target: Target, raw: bytes) -> None:
        await until_closed(target, raw, CLIENT_TIMEOUT + REQUEST_TIMEOUT + 5)

    async with attacked(caplog) as target:
        async with trio.open_nursery() as nursery:
            for _ in range(300):
                raw = bytearray(whole)
                for _ in range(chance.randint(1, 4)):
                    place = chance.randrange(len(PREFACE), len(raw))
                    raw[place : place + chance.randint(0, 3)] = chance.randbytes(
                        chance.randint(0, 3)
                    )
                nursery.start_soon(one, target, bytes(raw))
