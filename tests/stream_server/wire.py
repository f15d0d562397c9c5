"""What the tests of the streams' edge use: an app on real sockets, and frames to and from it."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

from motia_trio import App, Service, open_runtime
from tests.support import Notebook

# a client that is gone, that has said that it is, or another of whose tasks is still sending
_NOT_NOW = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

# where clients connect: the port of the streams, and the one of HTTP
both_doors = pytest.mark.parametrize("door", ["streams", "http"])


@asynccontextmanager
async def open_streams(
    *streams: dict[str, Any],
    notebook: Notebook | None = None,
    app: App | None = None,
    **settings: Any,
) -> AsyncIterator[Service]:
    """An app with the stream ``chat`` and these, at both doors."""
    app = app or App(streams=[{"name": "chat"}, *streams])
    observers = None if notebook is None else [notebook]
    async with open_runtime(
        app, http="127.0.0.1:0", streams="127.0.0.1:0", observers=observers, **settings
    ) as rt:
        yield rt


def address(rt: Service, door: str = "streams") -> tuple[str, int]:
    """Where to connect."""
    url = urlsplit(str(rt.streams_url if door == "streams" else rt.http_url))
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


def request(path: str = "/", *lines: str, **headers: str | None) -> bytes:
    """A handshake as it should be, but for what is given: a header by its name, None: without."""
    given: dict[str, str | None] = {
        "host": "test",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-key": base64.b64encode(os.urandom(16)).decode(),
        "sec-websocket-version": "13",
    }
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = [f"{name}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join([f"GET {path} HTTP/1.1", *head, *lines, "", ""]).encode("latin-1")


def frame(
    opcode: int, payload: bytes | str = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0
) -> bytes:
    """One frame, masked with zeros. Source: RFC 6455, 5.2."""
    raw = payload.encode() if isinstance(payload, str) else payload
    first, mask = opcode | (0x80 if fin else 0) | rsv << 4, 0x80 if masked else 0
    if len(raw) < 126:
        head = bytes([first, mask | len(raw)])
    elif len(raw) < 65536:
        head = bytes([first, mask | 126]) + struct.pack("!H", len(raw))
    else:
        head = bytes([first, mask | 127]) + struct.pack("!Q", len(raw))
    return head + (b"\0\0\0\0" if masked else b"") + raw


def text(value: Any) -> bytes:
    """A value as a frame of text."""
    return frame(TEXT, json.dumps(value))


def join(
    group: str = "r",
    key: str | None = None,
    *,
    name: str = "chat",
    number: int | str = 1,
    **more: Any,
) -> dict[str, Any]:
    """What a client sends to join."""
    data = {"streamName": name, "groupId": group, "subscriptionId": str(number), **more}
    return {"type": "join", "data": data if key is None else {**data, "id": key}}


class Peer:
    """One client, which does what it is told and no more: it answers no pings, and no close."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.heard = b""
        #: the head of the answer to its handshake
        self.head = b""

    @property
    def status(self) -> int:
        return int(self.head[9:12])

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        for line in self.head.split(b"\r\n")[1:]:
            key, _, value = line.decode().partition(": ")
            if key.lower() == name:
                return value
        return None

    async def shake(self, raw: bytes) -> Peer:
        """Send a handshake, and read the head of the answer."""
        await self.stream.send_all(raw)
        return await self.be_answered()

    async def be_answered(self) -> Peer:
        while b"\r\n\r\n" not in self.heard:
            assert await self._more(), f"closed after {self.heard!r}"
        self.head, _, self.heard = self.heard.partition(b"\r\n\r\n")
        return self

    async def body(self) -> Any:
        """The JSON of an answer that is no upgrade."""
        while len(self.heard) < int(self.header("content-length") or "0"):
            assert await self._more()
        return json.loads(self.heard)

    async def send(self, value: Any) -> None:
        """Send a value as JSON."""
        await self.stream.send_all(text(value))

    async def frame(self, seconds: float = 10) -> tuple[int, bytes] | None:
        """The next frame: its opcode and payload. None: the connection is closed, or reset."""
        with trio.fail_after(seconds):
            while len(self.heard) < 2:
                if not await self._more():
                    return None
            size, at = self.heard[1], 2
            if size > 125:
                at = 4 if size == 126 else 10
                while len(self.heard) < at:
                    assert await self._more()
                size = int.from_bytes(self.heard[2:at])
            while len(self.heard) < at + size:
                if not await self._more():
                    return None
            opcode, payload = self.heard[0] & 15, self.heard[at : at + size]
            self.heard = self.heard[at + size :]
            return opcode, payload

    async def hear(self, seconds: float = 10) -> dict[str, Any]:
        """The next message."""
        while True:
            found = await self.frame(seconds)
            assert found is not None, "the connection is closed"
            if found[0] == TEXT:
                message: dict[str, Any] = json.loads(found[1])
                return message
            assert found[0] in {PING, PONG}, found

    async def event(self, seconds: float = 10) -> tuple[str, Any]:
        """The kind and the data of the next message about a stream."""
        event = (await self.hear(seconds))["event"]
        return event["type"], event.get("data")

    async def ending(self, seconds: float = 10) -> tuple[int, str] | None:
        """Read to the end; the code and the reason of the close, None if there was none."""
        found: tuple[int, str] | None = None
        with trio.fail_after(seconds):
            while (each := await self.frame(seconds)) is not None:
                if each[0] == CLOSE:
                    found = int.from_bytes(each[1][:2]), each[1][2:].decode()
                    try:
                        await self.stream.send_all(frame(CLOSE, each[1][:2]))
                    except _NOT_NOW:
                        continue
        return found

    async def _more(self) -> bool:
        try:
            more = await self.stream.receive_some(65536)
        except trio.BrokenResourceError:
            return False
        self.heard += more
        return bool(more)


@asynccontextmanager
async def connected(rt: Service, door: str = "streams") -> AsyncIterator[Peer]:
    """A client that has said nothing yet."""
    async with await trio.open_tcp_stream(*address(rt, door)) as stream:
        with trio.fail_after(20):
            yield Peer(stream)


@asynccontextmanager
async def client(
    rt: Service, door: str = "streams", path: str = "/", **headers: str
) -> AsyncIterator[Peer]:
    """A client that was let in."""
    async with connected(rt, door) as peer:
        await peer.shake(request(path, **headers))
        assert peer.status == 101, peer.head
        yield peer


@asynccontextmanager
async def follower(
    rt: Service, door: str = "streams", group: str = "r", key: str | None = None
) -> AsyncIterator[Peer]:
    """A client that has joined, and has its sync."""
    async with client(rt, door) as peer:
        await peer.send(join(group, key))
        assert (await peer.event())[0] == "sync"
        yield peer


async def until(fact: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something holds."""
    with trio.fail_after(seconds):
        while not fact():
            await trio.sleep(0.005)
