"""One client on the port of the streams, from its first byte to its last."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio
from trio_websocket import ConnectionClosed, wrap_server_stream
from wsproto.utilities import LocalProtocolError

from motia_trio.events import StreamConnectionFailed
from motia_trio.failures import leaves, tell_error
from motia_trio.http_server.requests import headers_of
from motia_trio.stream_server.crowd import Guest
from motia_trio.stream_server.handshakes import AUTHORIZATION
from motia_trio.stream_server.lines import PING, SocketLine, closing_frame
from motia_trio.streams.sessions import Closing

if TYPE_CHECKING:
    import socket

    from trio_websocket import WebSocketConnection, WebSocketRequest

    from motia_trio.stream_server.crowd import Crowd
    from motia_trio.streams import Session

__all__ = ["Connection"]

# seconds for a handshake, and for a client to say goodbye
HANDSHAKE_WITHIN = 10.0
CLOSE_WITHIN = 3.0
# bytes that are read at once: clients send little
_READ = 2048
# what a head is answered with that cannot be read, as h11 would
_MALFORMED = b"HTTP/1.1 400 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
# why trio-websocket ends a connection by itself
_CUT_OFF = {1002: "no frame", 1007: "text that is no UTF-8", 1009: "a message too long"}
# what a client does that vanishes, or says what is no WebSocket
_USUAL = (
    OSError,
    ConnectionClosed,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    trio.BusyResourceError,
)


class Connection:
    """Serves one client. Whatever goes wrong with it ends here."""

    __slots__ = (
        "_closing", "_crowd", "_nursery", "_peer", "_socket", "_stopping", "line", "session",
    )  # fmt: skip

    def __init__(
        self,
        crowd: Crowd,
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
        sock: socket.socket | None,
        peer: tuple[str, int],
    ) -> None:
        self._crowd = crowd
        self._peer = peer
        self._stopping = False
        self._nursery: trio.Nursery | None = None
        self._closing: Closing | None = None
        self._socket: WebSocketConnection | None = None
        self.line = SocketLine(stream, sock)
        #: there once the client was let in
        self.session: Session | None = None

    def stop(self) -> None:
        """Have it end when all that waits has been sent."""
        self._stopping = True
        if self.session is not None:
            self.session.stop()
        elif self._nursery is not None:
            self._nursery.cancel_scope.cancel()

    def ping(self) -> None:
        """Ask whether the client is there."""
        if not self.line.ping() and self._nursery is not None:
            self._nursery.start_soon(self._ping)

    async def _ping(self) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.line.send_all(PING)

    async def run(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream]) -> None:
        """Serve it."""
        try:
            if isinstance(stream, trio.SSLStream):
                with trio.fail_after(HANDSHAKE_WITHIN):
                    await stream.do_handshake()
            async with trio.open_nursery() as self._nursery:
                await self._speak(self._nursery)
                self._nursery.cancel_scope.cancel()
            self._nursery = None  # who lingers is not pinged
            await self.line.linger()
        except BaseException as error:  # noqa: ASYNC103, BLE001 - what must pass is raised there
            self._nursery = None
            self._judge(error)
            if self.line.parted or self._closing is not None:
                await self.line.aclose()
                await self.line.linger()  # noqa: ASYNC102 - who was cancelled has raised above
        finally:
            self.line.abort()
            # else all of it is a cycle: of a crowd that comes and goes, those who stay would wait
            # for the garbage collector, 0.1 s at a time
            self._nursery = self._socket = self.session = self.line.last_words = None

    def _judge(self, error: BaseException) -> None:
        found = leaves(error)
        told = [leaf for leaf in found if not isinstance(leaf, (*_USUAL, trio.Cancelled))]
        told = [leaf for leaf in told if not isinstance(leaf, trio.TooSlowError)]
        if self.line.parted or self._closing is not None:
            # a ping after our goodbye is none that trio-websocket can answer
            told = [leaf for leaf in told if not isinstance(leaf, LocalProtocolError)]
        if self.session is None and any(isinstance(leaf, UnicodeError) for leaf in told):
            self.line.say(_MALFORMED)  # wsproto's: a head with other than ASCII in it
            return
        if any(isinstance(leaf, KeyboardInterrupt) for leaf in told):
            raise error
        if told:
            words = tell_error(told[0])
            self._crowd.observers.tell(
                StreamConnectionFailed(self._peer[0], words.error, words.traceback)
            )
        for leaf in found:
            if isinstance(leaf, trio.Cancelled):
                raise leaf from None  # alone, without what was told

    async def _speak(self, nursery: trio.Nursery) -> None:
        # the request is not kept: with its headers it is a tenth of what a connection costs
        entered = await self._let_in(nursery)
        if entered is None:
            return
        guest, socket = entered
        try:
            await self._serve(nursery, guest, socket)
        finally:
            guest.leave()

    async def _let_in(self, nursery: trio.Nursery) -> tuple[Guest, WebSocketConnection] | None:
        """Do the handshake. None: there was none, or the client was refused."""
        request: WebSocketRequest | None = None
        with trio.move_on_after(HANDSHAKE_WITHIN) as limit:
            self.line.on_end = limit.cancel  # then there will be no request
            request = await wrap_server_stream(
                nursery,
                self.line,
                message_queue_size=1,
                max_message_size=self._crowd.settings.stream_frame_limit,
                receive_buffer_size=_READ,
            )
            self.line.on_end = None
        if request is None or self._stopping:
            return None
        protocols = request.proposed_subprotocols
        admitted = await self._crowd.admit(
            headers_of(request.headers),
            request.path,
            protocols,
            {"client": self._peer, "scheme": "ws"},
        )
        if not isinstance(admitted, Guest):
            with trio.move_on_after(CLOSE_WITHIN):
                await request.reject(
                    admitted.status, extra_headers=admitted.headers, body=admitted.body
                )
                await self.line.aclose()
            return None
        accepted = False
        try:
            chosen = AUTHORIZATION if AUTHORIZATION in protocols else None
            with trio.fail_after(HANDSHAKE_WITHIN):
                socket = await request.accept(subprotocol=chosen)
            self.line.open()
            accepted = True
        finally:
            if not accepted:
                admitted.leave()
        return admitted, socket

    def _cut_off(self) -> Closing | None:
        """Why trio-websocket has ended the connection, if it did."""
        closed = None if self._socket is None else self._socket.closed
        if closed is None or closed.code not in _CUT_OFF:
            return None
        return Closing(closed.code, _CUT_OFF[closed.code])

    def _last_words(self) -> bytes:
        """What the client is told, if it has not been: of no frame trio-websocket tells nobody."""
        closing = self._closing or self._cut_off()
        return b"" if closing is None else closing_frame(closing.code, closing.reason)

    async def _serve(
        self, nursery: trio.Nursery, guest: Guest, socket: WebSocketConnection
    ) -> None:
        self.session = session = self._crowd.session(guest, self.line, nursery)
        if self._stopping:
            session.stop()

        async def receive() -> str | bytes | None:
            try:
                return await socket.get_message()
            except ConnectionClosed:
                return None

        self._socket = socket
        self.line.last_words = self._last_words
        closing: Closing | None = None
        try:
            closing = self._closing = await session.run(receive)
            if closing is not None:
                with trio.move_on_after(CLOSE_WITHIN) as limit:
                    await socket.aclose(closing.code, closing.reason)
                if limit.cancelled_caught:  # it had time enough
                    self.line.abort()
            elif (closing := self._cut_off()) is not None:
                self.line.cut = True
                await self.line.aclose()
        finally:
            self._crowd.tell_closed(guest, closing, session.unsent)
            await session.leave()  # noqa: ASYNC102 - it may be cancelled
