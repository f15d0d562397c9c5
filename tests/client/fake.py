"""A stream server in memory that says what a test has it say."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from unittest import mock

import trio
import trio.testing
from attrs import define, field
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    wrap_server_stream,
)

from motia_trio.client import StreamClient, open_stream_client
from motia_trio.client.address import Address

if TYPE_CHECKING:
    import pytest

URL = "ws://streams.test:3112/"
A1, A2, B1 = {"id": "a", "n": 1}, {"id": "a", "n": 2}, {"id": "b", "n": 1}


async def settled() -> None:
    """Wait until all that was sent has been heard."""
    await trio.testing.wait_all_tasks_blocked(0.001)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log has as warnings."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


class Wire(trio.abc.Stream):
    """The server's end of a connection, which may fail in odd ways."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        self.mute = self.deaf = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, or not."""
        if self.mute:
            await trio.lowlevel.checkpoint()
        else:
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive, or not."""
        data = await self._stream.receive_some(max_bytes)
        if self.deaf:
            await trio.sleep_forever()
        return data

    async def aclose(self) -> None:
        """Close."""
        await self._stream.aclose()


@define(eq=False)
class Connection:
    """A web socket that a client opened, seen from the server."""

    request: WebSocketRequest
    socket: WebSocketConnection
    stream: Wire
    frames: Any = field(factory=lambda: trio.open_memory_channel(10_000))
    _answers: deque[tuple[Any, ...]] = field(factory=deque)

    async def frame(self) -> dict[str, Any]:
        """The next frame that the client sends."""
        got: dict[str, Any] = await self.frames[1].receive()
        return got

    async def joined(self) -> dict[str, Any]:
        """The data of the next frame, which must be a join."""
        frame = await self.frame()
        assert frame["type"] == "join"
        data: dict[str, Any] = frame["data"]
        return data

    async def send(self, message: object) -> None:
        """Send a message as JSON, text and bytes as they are."""
        raw = isinstance(message, (str, bytes))
        await self.socket.send_message(message if raw else json.dumps(message))  # type: ignore[arg-type]

    async def say(
        self,
        kind: str,
        seq: int | None,
        data: object,
        item: str | None = None,
        place: str = "chat/room-1",
        join: str | None = None,
    ) -> None:
        """Send what a stream server would say of a place; ``join``: whose join it answers."""
        stream, group = place.split("/")
        message: dict[str, Any] = {
            "type": "stream",
            "timestamp": 1,
            "streamName": stream,
            "groupId": group,
        }
        if item is not None:
            message["id"] = item
        if seq is not None:
            message["seq"] = seq
        if join is not None:
            message["subscriptionId"] = join
        key = "event" if kind == "event" else "data"
        message["event"] = {"type": kind, key: data}
        await self.send(message)

    def will_say(self, *answer: Any) -> None:
        """Have the next join that nothing is said to yet answered: what :meth:`say` takes."""
        self._answers.append(answer)

    async def hear(self, frame: dict[str, Any]) -> None:
        """Note a frame, and answer it if it is known how."""
        self.frames[0].send_nowait(frame)
        if frame["type"] == "join" and self._answers:
            await self.say(*self._answers.popleft())

    async def drop(self) -> None:
        """Be gone without a word."""
        await trio.aclose_forcefully(self.stream)

    async def close(self, code: int, reason: str | None = None) -> None:
        """Close in order, with a code."""
        await self.socket.aclose(code, reason)


class FakeServer:
    """What is there to be connected to, and each connection in turn."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._accepted = trio.open_memory_channel[Connection](1_000)
        #: every attempt to connect: when, and to where
        self.attempts: list[tuple[float, Address]] = []
        #: whether connections are refused by the machine; a number: how many from now on
        self.down: bool | int = False
        #: a status and a body, rather than a web socket
        self.refusal: tuple[int, bytes] | None = None
        self.refusal_headers: list[tuple[bytes, bytes]] = []
        #: whether attempts end, or wait, before there is a web socket
        self.hangs_up = False
        self.is_deaf = False
        self.open = 0

    async def dial(self, address: Address, context: object) -> trio.abc.Stream:
        """Stand in for the network."""
        await trio.lowlevel.checkpoint()
        self.attempts.append((trio.current_time(), address))
        if self.down:
            if self.down is not True:
                self.down -= 1
            raise OSError("all attempts to connect failed")
        ours, theirs = trio.testing.memory_stream_pair()
        self._nursery.start_soon(self._serve, Wire(ours))
        return theirs

    async def accept(self) -> Connection:
        """The next connection."""
        return await self._accepted[1].receive()

    async def _serve(self, stream: Wire) -> None:
        if self.hangs_up:
            await stream.aclose()
            return
        if self.is_deaf:
            await trio.sleep_forever()
        self.open += 1
        try:
            async with trio.open_nursery() as nursery:
                request = await wrap_server_stream(nursery, stream)
                if self.refusal is not None:
                    status, body = self.refusal
                    await request.reject(
                        status, body=body or None, extra_headers=list(self.refusal_headers)
                    )
                    await stream.aclose()
                    return  # noqa: ASYNC121 - what is left in there has seen the end
                chosen = (
                    "Authorization" if "Authorization" in request.proposed_subprotocols else None
                )
                socket = await request.accept(subprotocol=chosen)
                connection = Connection(request, socket, stream)
                await self._accepted[0].send(connection)
                try:
                    while True:
                        await connection.hear(json.loads(await socket.get_message()))
                except ConnectionClosed:
                    connection.frames[0].close()
        finally:
            self.open -= 1


@contextmanager
def reached_by_all(server: FakeServer) -> Iterator[None]:
    """Have every client connect to a server in memory."""
    with mock.patch("motia_trio.client.connection.dial", server.dial):
        yield


@asynccontextmanager
async def fake_server() -> AsyncIterator[FakeServer]:
    """Run a server for the length of a scope."""
    async with trio.open_nursery() as nursery:
        server = FakeServer(nursery)
        with reached_by_all(server):
            yield server
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(**options: Any) -> AsyncIterator[tuple[FakeServer, StreamClient, Connection]]:
    """Run a server and a client that is connected to it."""
    async with fake_server() as server, open_stream_client(URL, **options) as client:
        yield server, client, await server.accept()
