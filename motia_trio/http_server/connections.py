"""One connection: bytes between a socket and hypercorn's HTTP/1.1, HTTP/2 and WebSocket protocols.

The protocols are hypercorn's; this is what drives them. Its own driver waits for ever for a client
that does not read, and lets an error in one connection end the whole server.
"""

from __future__ import annotations

import logging
import socket
import struct
from contextlib import suppress
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import trio
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.h11 import H2ProtocolAssumedError
from hypercorn.utils import parse_socket_addr

from motia_trio.failures import leaves
from motia_trio.http_server.protocols import Http1, Http2
from motia_trio.http_server.tasks import Tasks

if TYPE_CHECKING:
    from hypercorn.config import Config
    from hypercorn.events import Event
    from hypercorn.trio.worker_context import WorkerContext

    from motia_trio.http_server.asgi import ASGIApp

__all__ = ["Connection", "Stream"]

log = logging.getLogger("motia_trio.hypercorn")

Stream: TypeAlias = "trio.SocketStream | trio.SSLStream[trio.SocketStream]"

# bytes that are read at once
_READ = 64 * 1024
# bytes that a client has client_timeout seconds to take
_PIECE = 64 * 1024
# seconds for which a connection that is closed still reads: a close while something comes resets
# it, and the client may never see its answer
_LINGER = 1.0
_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)


class Connection:
    """Serves one client until it, or we, have had enough.

    A client has ``client_timeout`` seconds to send the whole head of a request, to send another one
    when it was answered, and to take each 64 KiB of an answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        context: WorkerContext,
        stream: Stream,
        client_timeout: float,
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._stream = stream
        self._timeout = client_timeout
        self._sending = trio.Lock()
        # closed: what comes is dropped; ended: nothing is sent any more
        self._closed = self._ended = self._stopping = False
        # the Trio time until which it has to send something whole, infinity while it is answered
        self._patience = inf
        self._waiting = trio.CancelScope()
        self._reading = trio.CancelScope()
        self._tasks: Tasks
        self._protocol: Http1 | Http2

    async def run(self) -> None:
        """Serve it. What goes wrong with it ends here."""
        try:
            await self._run()
        except BaseException as error:  # noqa: ASYNC103 - what must pass is raised below
            found = leaves(error)
            usual = (OSError, trio.Cancelled, *_GONE)
            told = [leaf for leaf in found if not isinstance(leaf, usual)]
            if any(isinstance(leaf, KeyboardInterrupt) for leaf in told):
                raise
            if told:
                log.warning("a connection was closed for an error", exc_info=told[0])
            for leaf in found:
                if isinstance(leaf, trio.Cancelled):
                    raise leaf from None  # noqa: ASYNC104 - alone, without what was told
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _run(self) -> None:
        alpn = "http/1.1"
        stream = self._stream
        if isinstance(stream, trio.SSLStream):
            with trio.move_on_after(self._timeout) as scope:
                await stream.do_handshake()
                alpn = stream.selected_alpn_protocol() or alpn
            if scope.cancelled_caught:
                return
        sock = self._socket
        client = parse_socket_addr(sock.family, sock.getpeername())
        server = parse_socket_addr(sock.family, sock.getsockname())
        async with trio.open_nursery() as nursery:
            self._tasks = Tasks(self._app, nursery, self.abort)
            made: Any = (
                self._app, self._config, self._context, self._tasks, {},
                isinstance(stream, trio.SSLStream), client, server, self._take,
            )  # fmt: skip
            if alpn == "h2":
                await self._speak_http2(made)
            else:
                self._protocol = Http1(*made)
            self._become_idle()
            with self._reading:
                await self._read(made)
            await self._protocol.handle(Closed())

    async def _speak_http2(self, made: Any) -> None:
        self._tasks.watched = False  # it may be waited for within the protocol, which knows no time
        self._protocol = Http2(*made)
        await self._protocol.initiate()

    async def _read(self, made: Any) -> None:
        while not (self._stopping and self._patience != inf):
            data = b""
            with trio.CancelScope(deadline=self._patience) as self._waiting:
                try:
                    data = bytes(await self._stream.receive_some(_READ))
                except _GONE:
                    return
            if self._waiting.cancelled_caught:
                return
            if not self._closed:
                try:
                    await self._protocol.handle(RawData(data))
                except H2ProtocolAssumedError as error:
                    await self._speak_http2(made)
                    self._become_idle()  # it has asked for nothing yet
                    if error.data:
                        await self._protocol.handle(RawData(error.data))
            if not data:
                return

    # what the protocols call

    async def _take(self, event: Event) -> None:
        """Do what a protocol wants done: send bytes, close, be patient or not."""
        if isinstance(event, RawData):
            await self._send(event.data)
        elif isinstance(event, Closed):
            await self._close()
            await self._protocol.handle(Closed())
        elif isinstance(event, Updated):
            if event.idle:
                self._become_idle()
            else:
                self._patience = inf

    async def _send(self, data: bytes) -> None:
        failed = False
        # half a frame is worse than none, so who is cancelled sends to the end
        scope = trio.CancelScope(shield=True)
        async with self._sending:
            if self._ended:
                return
            try:
                with scope:
                    for place in range(0, len(data), _PIECE):
                        scope.deadline = trio.current_time() + self._timeout
                        await self._stream.send_all(data[place : place + _PIECE])
            except _GONE:
                failed = True
            if failed or scope.cancelled_caught:
                failed = True
                self.abort()
        if failed:
            await self._protocol.handle(Closed())

    def _become_idle(self) -> None:
        self._patience = self._waiting.deadline = trio.current_time() + self._timeout
        if self._stopping:
            self._waiting.cancel()

    async def _close(self) -> None:
        """Close in order: all that was sent is to arrive."""
        if self._closed:
            return
        self._closed = True
        self._patience = self._waiting.deadline = inf
        self._reading.deadline = trio.current_time() + _LINGER
        with suppress(*_GONE):
            async with self._sending:  # behind what other tasks have begun to send
                self._ended = True
            if isinstance(self._stream, trio.SSLStream):
                await self._stream.aclose()
            else:
                await self._stream.send_eof()

    # what the server calls

    def stop(self) -> None:
        """Take no more requests; those that are being answered get their answers."""
        self._stopping = True
        if self._patience != inf:
            self._waiting.cancel()

    def abort(self) -> None:
        """Drop it, and what the client has not taken yet."""
        self._closed = self._ended = True
        self._reading.cancel()  # it may wait within the protocol, for an answer to be over
        sock = self._socket
        with suppress(OSError):  # it may be closed already
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    @property
    def _socket(self) -> trio.socket.SocketType:
        stream = self._stream
        return (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket
