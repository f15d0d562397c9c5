"""The load without a socket: an ASGI application is called as its server would call it.

So many tasks each call it with the next request when the last was answered. What comes and goes is
what hypercorn hands over: the same scope, a body in two events, and the extension by which our
server says that it watches slow clients itself. Bytes are neither parsed nor written. What a
request takes here and what it takes over a socket differ by what the server costs.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import trio
from benchmarks.peers.channel import ReadEnd
from benchmarks.web.exchanges import EXCHANGES, Exchange, numbered

from motia_trio.http_server.sending import WATCHED

__all__ = ["drive"]

App = Callable[
    [
        MutableMapping[str, Any],
        Callable[[], Awaitable[MutableMapping[str, Any]]],
        Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ],
    Awaitable[None],
]

PATIENCE = 30.0  # seconds for what is left to do when the time is over


async def drive(app: App, name: str, tasks: int, seconds: float, first: int) -> tuple[float, int]:
    """Requests a second, and the number after the last one that was used."""
    exchange = EXCHANGES[name]
    numbers = itertools.count(first)
    count = sent = 0

    async def client() -> None:
        nonlocal count, sent
        while time.perf_counter() < end:
            sent += 1
            await call(app, exchange, next(numbers))
            if time.perf_counter() < end:
                count += 1

    async with trio.open_nursery() as nursery:
        if exchange.handled:
            pipe = ReadEnd()
            done: set[int] = set()

            async def collect() -> None:
                while True:
                    await trio.lowlevel.wait_readable(pipe.fd)
                    done.update(number for number in pipe.read() if number >= first)

            nursery.start_soon(collect)
        end = time.perf_counter() + seconds
        async with trio.open_nursery() as clients:
            for _ in range(tasks):
                clients.start_soon(client)
        if exchange.handled:
            with trio.fail_after(PATIENCE):
                while len(done) < sent:  # noqa: ASYNC110 - an order that is lost has no event
                    await trio.sleep(0.01)
        nursery.cancel_scope.cancel()
    return count / seconds, first + sent


async def call(app: App, exchange: Exchange, number: int) -> None:
    """One request; the answer must be right."""
    path = numbered(exchange.path.encode(), number)
    body = numbered(exchange.body, number)
    headers = [(b"host", b"localhost")]
    events: list[dict[str, Any]] = [{"type": "http.request", "body": b"", "more_body": False}]
    if body:
        headers.append((b"content-type", b"application/json"))
        headers.append((b"content-length", b"%d" % len(body)))
        events.append({"type": "http.request", "body": body, "more_body": True})
    scope = {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": exchange.method,
        "scheme": "http",
        "path": path.decode(),
        "raw_path": path,
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 40000),
        "server": ("127.0.0.1", 3111),
        "state": {},
        "extensions": {WATCHED: True},
    }
    status, lines, answer = 0, [], b""

    async def receive() -> MutableMapping[str, Any]:
        if events:
            return events.pop()
        await trio.sleep_forever()
        raise AssertionError

    async def send(event: MutableMapping[str, Any]) -> None:
        nonlocal status, lines, answer
        if event["type"] == "http.response.start":
            status, lines = event["status"], list(event["headers"])
        else:
            answer += event.get("body", b"")

    await app(scope, receive, send)
    right = numbered(exchange.answer, number)
    stamped = not exchange.header or tuple(exchange.header.split(b": ")) in map(tuple, lines)
    if status != exchange.status or answer != right or not stamped:
        raise SystemExit(f"{exchange.path}: expected {right!r}, got {status} {answer[:300]!r}")
