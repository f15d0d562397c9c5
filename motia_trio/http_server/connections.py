"""One connection: bytes between a socket and hypercorn's HTTP/1.1, HTTP/2 and WebSocket protocols.

The protocols are hypercorn's; this is what drives them. Hypercorn's own driver waits for ever for a
client that does not read, and lets a protocol's error end the whole server.
"""

from __future__ import annotations

import logging
from math import inf
from typing import TYPE_CHECKING, Any, cast

import trio
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol
from hypercorn.utils import parse_socket_addr

from motia_trio.failures import leaves
from motia_trio.http_server.asgi import WATCHED
from motia_trio.http_server.sending import AnswerCut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from hypercorn.config import Config
    from hypercorn.events import Event
    from hypercorn.trio.worker_context import WorkerContext

    from motia_trio.http_server.asgi import ASGIApp

__all__ = ["Connection", "Stream"]

log = logging.getLogger("motia_trio.hypercorn")

Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]

# bytes that are read at once
_READ = 2**16
# bytes that a client has client_timeout seconds to take
_PIECE = 64 * 1024
# seconds for which a connection that was closed still reads, so that the answer is not lost
_LINGER = 1.0
# events of a body that wait for the app before the connection stops reading
_EVENTS = 10


class Connection:
    """Serves one client until it, or we, have had enough."""

    def __init__(
        self,
        app: ASGIApp,
        config: Config,
        context: WorkerContext,
        stream: Stream,
        *,
        client_timeout: float,
    ) -> None:
        self._app = app
        self._config = config
        self._context = context
        self._stream = stream
        self._timeout = client_timeout
        self._sending = trio.Lock()
        self._closed = self._stopping = False
        # until when the client has to have sent something whole; None: there is no such time
        self._patience = inf
        self._reading = trio.CancelScope()
        self._protocol: H11Protocol | H2Protocol

    async def run(self) -> None:
        """Serve it. Whatever goes wrong in it ends here."""
        try:
            await self._run()
        except Exception as error:  # noqa: BLE001 - clients may send anything
            found = leaves(error)
            if not all(isinstance(leaf, (OSError, trio.BrokenResourceError)) for leaf in found):
                log.warning("a connection was closed for an error", exc_info=error)
        finally:
            await trio.aclose_forcefully(self._stream)

    async def _run(self) -> None:
        protocol = "http/1.1"
        if isinstance(self._stream, trio.SSLStream):
            with trio.move_on_after(self._timeout):
                await self._stream.do_handshake()
                protocol = self._stream.selected_alpn_protocol() or protocol
            if self._stream_is_new():
                return
            socket = self._stream.transport_stream.socket
        else:
            socket = self._stream.socket
        address = parse_socket_addr(socket.family, socket.getpeername())
        own = parse_socket_addr(socket.family, socket.getsockname())
        async with trio.open_nursery() as nursery:
            tasks = _Tasks(self._app, nursery, watched=protocol != "h2")
            made = (
                cast("Any", None), self._config, self._context, tasks, {},
                isinstance(self._stream, trio.SSLStream), address, own, self._handle,
            )  # fmt: skip
            self._made = made
            self._protocol = _Http2(*made) if protocol == "h2" else _Http1(*made)
            await self._protocol.initiate()
            self._become_idle()
            with self._reading:
                await self._read()
            await self._lost()
