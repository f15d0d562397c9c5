"""A client's end of a connection: in memory, or on a real web socket."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from motia_trio.data import Data
from motia_trio.service import Service
from motia_trio.stream_server.crowd import Guest
from motia_trio.streams.sessions import Closing, Session
from tests.streams.followers import Client
from tests.streams.stage import Pipe

if TYPE_CHECKING:
    from tests.streams.world import World

# with it, closing a socket is a reset
_RESET = struct.pack("ii", 1, 0)
# bytes that the system takes for who does not read: little, so that the service notices
_LITTLE = 4096


class End(Protocol):
    """A connection, as whoever has it sees it."""

    open: bool

    def say(self, frame: dict[str, Any], then: Callable[[], object] | None = None) -> None:
        """Send a frame; ``then`` is called when the server has done what it says."""
        ...

    def read(self, number: float) -> None:
        """Read so many messages more, and then none."""
        ...

    def hang_up(self, *, reset: bool) -> None:
        """End it, and hear nothing more."""
        ...


class MemoryEnd:
    """A session whose messages go through a pipe in memory, which cuts the last that it takes."""

    def __init__(self, world: World, client: Client) -> None:
        self.open = True
        self._session: Session | None = None
        self._stopping = False
        self._pipe = Pipe(client, cuts=True)
        self._then: Callable[[], object] | None = None
        self._say, self._said = trio.open_memory_channel[Any](inf)
        world.connections.start_soon(self._serve, world.rt)

    async def _serve(self, rt: Service) -> None:
        crowd = rt.crowd
        guest = await crowd.admit(Data(), "/", [], {"client": ("1.2.3.4", 5)})
        assert isinstance(guest, Guest)
        try:
            async with trio.open_nursery() as nursery:
                self._session = session = crowd.session(guest, self._pipe, nursery)
                closing: Closing | None = None
                if self._stopping:
                    session.stop()
                try:
                    closing = await session.run(self._receive)
                finally:
                    self.open = False
                    crowd.tell_closed(guest, closing, session.unsent)
                    await session.leave()
                nursery.cancel_scope.cancel()
        finally:
            guest.leave()

    def stop(self) -> None:
        """Have the service end it in order."""
        self._stopping = True
        if self._session is not None:
            self._session.stop()

    async def _receive(self) -> str | None:
        if self._then is not None:
            self._then()
        frame, self._then = await self._said.receive()
        return None if frame is None else json.dumps(frame)

    def say(self, frame: dict[str, Any], then: Callable[[], object] | None = None) -> None:
        """Send a frame."""
        self._say.send_nowait((frame, then))

    def read(self, number: float) -> None:
        """Read so many messages more, and then none."""
        self._pipe.room = 0
        self._pipe.give_room(number)

    def hang_up(self, *, reset: bool) -> None:
        """End it, and hear nothing more."""
        self.open = False
        self._pipe.client = _Deaf()
        if reset:
            self._pipe.break_off()
        self._say.send_nowait((None, None))


class _Deaf(Client):
    def hear(self, text: str | bytes) -> None:
        """Nobody is there any more."""


class SocketEnd:
    """Reads when it is told to. What it joins on no stream is answered when all before is done."""

    @classmethod
    async def connect(cls, world: World, client: Client) -> SocketEnd:
        """Connect to the service that there is."""
        url = urlsplit(str(world.rt.streams_url))
        sock = trio.socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _LITTLE)
        await sock.connect((str(url.hostname), int(url.port or 0)))
        end = cls(client, sock)
        await world.nursery.start(end._run)
        return end

    def __init__(self, client: Client, sock: trio.socket.SocketType) -> None:
        self.open = True
        self._client = client
        self._stream = trio.SocketStream(sock)
        self._room = inf
        self._more = trio.Event()
        self._leaving = trio.Event()
        self._over = trio.CancelScope()
        self._say, self._said = trio.open_memory_channel[str](inf)
        self._thens: list[Callable[[], object]] = []

    async def _run(self, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self._over:
                async with trio.open_nursery() as nursery:
                    ws = await wrap_client_stream(
                        nursery, self._stream, "test", "/", max_message_size=2**24
                    )
                    task_status.started()
                    nursery.start_soon(self._send, ws)
                    nursery.start_soon(self._say_goodbye, ws)
                    await self._read(ws)
                    nursery.cancel_scope.cancel()
        finally:
            self.open = False
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(self._stream)

    async def _send(self, ws: WebSocketConnection) -> None:
        try:
            async for text in self._said:
                await ws.send_message(text)
        except ConnectionClosed:
            pass  # who reads sees that, too

    async def _say_goodbye(self, ws: WebSocketConnection) -> None:
        await self._leaving.wait()
        with trio.move_on_after(1):
            await ws.aclose()
        self._over.cancel()

    async def _read(self, ws: WebSocketConnection) -> None:
        while True:
            while self._room <= 0:
                await self._more.wait()
            try:
                text = await ws.get_message()
            except ConnectionClosed:
                return
            if "nowhere" in text[:100]:
                self._thens.pop(0)()
                continue
            self._room -= 1
            if self.open:
                self._client.hear(text)

    def say(self, frame: dict[str, Any], then: Callable[[], object] | None = None) -> None:
        """Send a frame."""
        self._say.send_nowait(json.dumps(frame))
        if then is not None:
            self._thens.append(then)
            nowhere = {"streamName": "nowhere", "groupId": "g", "subscriptionId": "s"}
            self._say.send_nowait(json.dumps({"type": "join", "data": nowhere}))

    def read(self, number: float) -> None:
        """Read so many messages more, and then none."""
        self._room = number
        self._more.set()
        self._more = trio.Event()

    def hang_up(self, *, reset: bool) -> None:
        """Go away: with a close of web sockets, or with a reset."""
        self.open = False
        if reset:
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self._over.cancel()
        else:
            self._leaving.set()
