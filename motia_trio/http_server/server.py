"""The ASGI application on real sockets."""

from __future__ import annotations

import logging
import socket
import ssl
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import repr_socket_addr

from motia_trio.errors import SettingInvalid
from motia_trio.http_server.connections import Connection

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from motia_trio.http_server.asgi import ASGIApp
    from motia_trio.http_server.connections import Stream

__all__ = ["Tls", "bound_socket", "listen", "url_of"]

# connections that the system keeps for us while we take no more
_BACKLOG = 1024
# seconds of silence, seconds between two questions then, and how many may go unanswered
_KEEPALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}


@frozen
class Tls:
    """A certificate (with those that lead to a known one) and its key: PEM files."""

    certfile: str
    keyfile: str

    def context(self) -> ssl.SSLContext:
        """Give the TLS context, for HTTP/2 and HTTP/1.1.

        Raises:
            SettingInvalid: a file is missing, or is not what it should be.
        """
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # what HTTP/2 asks for. Source: RFC 9113, 9.2
        context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        context.options |= ssl.OP_NO_COMPRESSION
        context.set_alpn_protocols(["h2", "http/1.1"])
        for name, path in (("certfile", self.certfile), ("keyfile", self.keyfile)):
            try:
                with open(path, "rb"):  # noqa: PTH123 - as it was given
                    pass
            except OSError as error:
                raise SettingInvalid(f"{name} = {path!r}: {error.strerror or error}") from None
        try:
            # a key with a password would be asked for on the terminal
            context.load_cert_chain(self.certfile, self.keyfile, password=lambda: b"")
        except (ssl.SSLError, ValueError) as error:
            reason = getattr(error, "reason", None) or str(error)
            raise SettingInvalid(
                f"certfile = {self.certfile!r}, keyfile = {self.keyfile!r}: no PEM certificate "
                f"with its key, without a password ({reason})"
            ) from None
        return context


async def listen(
    app: ASGIApp,
    bind: str,
    *,
    stop: trio.Event,
    drain: float,
    client_timeout: float = 60.0,
    max_connections: int = 10_000,
    tls: Tls | None = None,
    task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve ``app`` on ``"host:port"`` until ``stop``; reports its URL when it listens.

    Port 0 picks a free one. After ``stop`` it accepts nothing more, and requests that are being
    answered have ``drain`` seconds. Clients above ``max_connections`` wait until one leaves.

    Raises:
        SettingInvalid: ``bind`` is not ``host:port``, or there is no certificate.
        OSError: the address cannot be had: in use, not this machine's, or not permitted.
    """
    context = None if tls is None else tls.context()
    bound = bound_socket(bind, "http")
    config = Config()
    config.accesslog = None
    config.errorlog = logging.getLogger("motia_trio.hypercorn")
    config.include_server_header = False
    url = url_of("http" if context is None else "https", bound)
    server = _Server(app, config, client_timeout)
    places = trio.Semaphore(max_connections)
    listener = _Listener(
        trio.SocketListener(trio.socket.from_stdlib_socket(bound)), context, places
    )

    async def serve(stream: Stream) -> None:
        try:
            await server.serve(stream)
        finally:
            places.release()

    async with trio.open_nursery() as outer:
        outer.start_soon(server.reap)
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as accepting:
                await accepting.start(_accept, serve, listener, nursery)
                task_status.started(url)
                await stop.wait()
                accepting.cancel_scope.cancel()
            outer.cancel_scope.deadline = trio.current_time() + drain
            await server.stop()
        outer.cancel_scope.cancel()


async def _accept(
    serve: Callable[[Stream], Awaitable[None]],
    listener: _Listener,
    nursery: trio.Nursery,
    task_status: trio.TaskStatus[Any],
) -> None:
    await trio.serve_listeners(serve, [listener], handler_nursery=nursery, task_status=task_status)


class _Server:
    """The connections that are open."""

    def __init__(self, app: ASGIApp, config: Config, client_timeout: float) -> None:
        self._app = app
        self._config = config
        self._client_timeout = client_timeout
        self._context = WorkerContext(None)
        self._open: set[Connection] = set()

    async def serve(self, stream: Stream) -> None:
        """Serve one client."""
        connection = Connection(
            self._app, self._config, self._context, stream, self._client_timeout
        )
        self._open.add(connection)
        try:
            await connection.run()
        finally:
            self._open.discard(connection)

    async def stop(self) -> None:
        """Have each connection end when it has answered what it has."""
        await self._context.terminated.set()
        for connection in self._open:
            connection.stop()

    async def reap(self) -> None:
        """When it is cancelled, drop what is open: who sends to a client cannot be cancelled."""
        try:
            await trio.sleep_forever()
        finally:
            for connection in self._open:
                connection.abort()


class _Listener(trio.abc.Listener["Stream"]):
    """Accepts a client when there is a place for it."""

    def __init__(
        self,
        listener: trio.SocketListener,
        context: ssl.SSLContext | None,
        places: trio.Semaphore,
    ) -> None:
        self._listener = listener
        self._context = context
        self._places = places

    async def accept(self) -> Stream:
        """Wait for a place, and for a client."""
        await self._places.acquire()
        try:
            stream = await self._listener.accept()
        except BaseException:
            self._places.release()
            raise
        # a websocket may say nothing for hours: one whose client has vanished ends, in two minutes
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if (option := getattr(socket, name, None)) is not None:  # not on every system
                stream.setsockopt(socket.IPPROTO_TCP, option, value)
        if self._context is None:
            return stream
        return trio.SSLStream(stream, self._context, server_side=True, https_compatible=True)

    async def aclose(self) -> None:
        """Listen no more."""
        await self._listener.aclose()


def bound_socket(bind: str, option: str) -> socket.socket:
    """Give a socket that listens at ``"host:port"``; ``option`` is who says so, for errors.

    Raises:
        SettingInvalid: ``bind`` is not ``host:port``.
        OSError: the address cannot be had.
    """
    host, _, port = bind.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise SettingInvalid(f"{option} = {bind!r}: expected host:port, such as 127.0.0.1:3111")
    host = host.removeprefix("[").removesuffix("]")
    try:
        family = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, int(port)), family=family, backlog=_BACKLOG)
    except UnicodeError:
        raise SettingInvalid(f"{option} = {bind!r}: {host!r} is no name of a host") from None
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise type(error)(error.errno, f"cannot listen on {bind}: {reason}") from None


def url_of(scheme: str, listening: socket.socket) -> str:
    """Give the URL under which a socket listens."""
    return f"{scheme}://" + repr_socket_addr(listening.family, listening.getsockname())
