"""What the tests of the edge use: an app on a socket, and bytes to and from it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import trio

from motia_trio import App, Service, open_runtime
from tests.support import Notebook


@asynccontextmanager
async def served(
    *steps: Any, notebook: Notebook | None = None, mount: Any = None, **settings: Any
) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """An app of these steps on a real socket, and a client of it."""
    app = App(steps, mount=mount, **settings)
    observers = () if notebook is None else [notebook]
    async with open_runtime(app, http="127.0.0.1:0", observers=observers) as rt:
        async with httpx.AsyncClient(base_url=str(rt.http_url), timeout=30) as client:
            yield rt, client


async def connect(rt: Service) -> trio.SocketStream:
    """A bare connection to a service."""
    parts = urlsplit(str(rt.http_url))
    assert parts.hostname is not None
    assert parts.port is not None
    return await trio.open_tcp_stream(parts.hostname, parts.port)


async def read_to_end(stream: trio.SocketStream, seconds: float = 10) -> bytes:
    """All that comes until the other side closes, in order or not."""
    answer = bytearray()
    with trio.fail_after(seconds):
        try:
            while part := await stream.receive_some(65536):
                answer += part
        except trio.BrokenResourceError:
            pass
    return bytes(answer)


async def tell(rt: Service, raw: bytes, *, eof: bool = True) -> bytes:
    """Send bytes, half-close unless told not to, and give all that comes back."""
    async with await connect(rt) as stream:
        try:
            await stream.send_all(raw)
            if eof:
                await stream.send_eof()
        except trio.BrokenResourceError:
            pass
        return await read_to_end(stream)


async def read_one(stream: trio.SocketStream) -> bytes:
    """One answer of a connection that stays open. Its head has to tell the length."""
    answer = bytearray()
    with trio.fail_after(10):
        while True:
            head, gap, body = bytes(answer).partition(b"\r\n\r\n")
            if gap:
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
                if len(body) >= length:
                    return bytes(answer)
            part = await stream.receive_some(65536)
            assert part, answer
            answer += part


def status_of(answer: bytes) -> int:
    """The status of the first answer in these bytes."""
    assert answer.startswith(b"HTTP/1.1 "), answer[:100]
    return int(answer[9:12])


def body_of(answer: bytes) -> Any:
    """The JSON body of an answer."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])
