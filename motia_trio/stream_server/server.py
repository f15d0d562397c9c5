"""The port of the streams: who is let on, pinged, and sent away in the end."""

from __future__ import annotations

import errno
import logging
import socket
from typing import TYPE_CHECKING

import trio

from motia_trio.http_server.server import bound_socket, url_of
from motia_trio.stream_server.connections import Connection

if TYPE_CHECKING:
    import ssl
    from typing import Any

    from motia_trio.http_server import Tls
    from motia_trio.stream_server.crowd import Crowd

__all__ = ["listen"]

log = logging.getLogger("motia_trio")

# connections beyond their limit that may be in their handshake, to be told that there is no room
_HANDSHAKES = 256
# connections that are taken on before others have their turn
_AT_ONCE = 32
# bytes that the system keeps for a client that does not read
_SEND_BUFFER = 256 * 1024
# seconds to wait when the process has no more files, and for what is left at the end of a stop
_NO_FILES, _LEFT = 0.1, 5.0
_OUT_OF = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


async def listen(
    crowd: Crowd,
    bind: str,
    *,
    stop: trio.Event,
    tls: Tls | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve streams on ``"host:port"`` until ``stop``; reports its URL when it listens.

    Port 0 picks a free one. After ``stop`` it accepts nothing more; each client is sent what waits
    for it, within ``shutdown_timeout``, and closed with 1001.

    Raises:
        SettingInvalid: ``bind`` is not ``host:port``, or there is no certificate.
        OSError: the address cannot be had: in use, not this machine's, or not permitted.
    """
    context = None
    if tls is not None:
        context = tls.context()
        context.set_alpn_protocols(["http/1.1"])
    listening = bound_socket(bind, "streams")
    listening.settimeout(0)
    url = url_of("ws" if context is None else "wss", listening)
    server = _Server(crowd, listening, context)
    try:
        async with trio.open_nursery() as outer:
            async with trio.open_nursery() as clients:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(server.accept, clients)
                    outer.start_soon(server.ping)
                    task_status.started(url)
                    await stop.wait()
                    accepting.cancel_scope.cancel()
                trio.lowlevel.notify_closing(listening)
                listening.close()
                outer.cancel_scope.deadline = (
                    trio.current_time() + crowd.settings.shutdown_timeout + _LEFT
                )
                server.stop()
            outer.cancel_scope.cancel()
    finally:
        listening.close()


class _Server:
    """The clients that are there."""

    def __init__(
        self, crowd: Crowd, listening: socket.socket, context: ssl.SSLContext | None
    ) -> None:
        self._crowd = crowd
        self._listening = listening
        self._context = context
        self._open: set[Connection] = set()
        self._places = trio.Semaphore(crowd.settings.stream_max_connections + _HANDSHAKES)

    async def accept(self, clients: trio.Nursery) -> None:
        """Take clients on, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._listening)
            for _ in range(_AT_ONCE):
                await self._places.acquire()
                try:
                    sock, peer = self._listening.accept()
                except BlockingIOError:
                    self._places.release()
                    break
                except OSError as error:
                    self._places.release()
                    if error.errno in _OUT_OF:
                        log.warning("streams: no client can be taken on: %s", error.strerror)
                        await trio.sleep(_NO_FILES)
                        break
                    continue  # it is gone again already
                clients.start_soon(self._serve, sock, peer)

    async def _serve(self, sock: socket.socket, peer: Any) -> None:
        connection: Connection | None = None
        try:
            sock.settimeout(0)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)
            plain = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
            if self._context is None:
                connection = Connection(self._crowd, plain, sock, peer[:2])
                stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = plain
            else:
                stream = trio.SSLStream(
                    plain, self._context, server_side=True, https_compatible=True
                )
                connection = Connection(self._crowd, stream, None, peer[:2])
            self._open.add(connection)
            await connection.run(stream)
        except OSError:  # it was gone before it was there
            sock.close()
        finally:
            if connection is not None:
                self._open.discard(connection)
            self._places.release()

    def stop(self) -> None:
        """Have every connection end when all that waits for it has been sent."""
        for connection in list(self._open):
            connection.stop()

    async def ping(self) -> None:
        """Ask who is silent whether it is there, and drop who does not answer. Until cancelled."""
        settings = self._crowd.settings
        interval, timeout = settings.stream_ping_interval, settings.stream_ping_timeout
        while True:
            await trio.sleep(min(interval, timeout) / 4)
            now = trio.current_time()
            for number, connection in enumerate(list(self._open)):
                line = connection.line
                silent = now - line.heard
                if connection.session is None:
                    continue
                if silent >= interval + timeout:
                    line.abort()
                elif silent >= interval and not line.pinged:
                    connection.ping()
                if number % 256 == 255:
                    await trio.lowlevel.checkpoint()
