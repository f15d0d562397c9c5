"""One web socket, from the handshake to its end."""

from __future__ import annotations

from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import trio
from attrs import field, frozen
from attrs.validators import gt
from trio_websocket import (
    CloseReason,
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.utilities import ProtocolError

from motia_trio.client.errors import ConnectionRefused
from motia_trio.client.link import Link, dial
from motia_trio.errors import MessageTooLarge
from motia_trio.failures import leaves

if TYPE_CHECKING:
    import ssl

    from motia_trio.client.address import Address

__all__ = ["Limits", "Lost", "Outgoing", "Talk", "converse"]

# seconds that the server has to answer the end of a conversation
CLOSE_WITHIN = 2.0
# bytes that are read at once
AT_ONCE = 65_536
# answers of the status 4xx that may be others the next time
_FOR_NOW = frozenset({408, 425, 429})


class Lost(Exception):
    """There is no connection, or no more. Another attempt may have one.

    ``wait`` is the number of seconds that the server asks to wait for.
    """

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        self.wait = wait
        super().__init__(reason)


@frozen
class Limits:
    """How long is too long (seconds), and how much too much (bytes)."""

    connect_timeout: float = field(default=10.0, validator=gt(0))
    ping_interval: float = field(default=20.0, validator=gt(0))
    ping_timeout: float = field(default=20.0, validator=gt(0))
    message_limit: int = field(default=64 * 2**20, validator=gt(0))

    @property
    def silence(self) -> float:
        """Seconds of silence after which a server is taken for dead: it should have answered."""
        return self.ping_interval + self.ping_timeout


class Outgoing:
    """Frames that wait to be sent, one for each subscription at the most."""

    def __init__(self) -> None:
        self._frames: dict[str, str] = {}
        self._some = trio.Event()
        self._none = trio.Event()
        self._none.set()

    def join(self, subscription: str, frame: str) -> None:
        """Have a join sent."""
        self._put(subscription, frame)

    def leave(self, subscription: str, frame: str) -> None:
        """Have a leave sent, or its join not sent if it still waits."""
        if self._frames.pop(subscription, None) is None:
            self._put(subscription, frame)

    def _put(self, subscription: str, frame: str) -> None:
        self._frames[subscription] = frame
        self._some.set()
        if self._none.is_set():
            self._none = trio.Event()

    async def sent(self) -> None:
        """Wait until nothing is left to be sent."""
        await self._none.wait()

    async def send(self, socket: WebSocketConnection) -> None:
        """Send what there is, until cancelled or the connection has ended."""
        try:
            while True:
                await self._some.wait()
                self._some = trio.Event()
                while self._frames:
                    first = next(iter(self._frames))
                    await socket.send_message(self._frames.pop(first))
                self._none.set()
        except ConnectionClosed:
            return  # whoever reads is told why


class Talk(Protocol):
    """Whoever has a connection."""

    def begin(self, outgoing: Outgoing) -> None:
        """Be told that it is open, and where to put what is to be sent."""
        ...

    def hear(self, text: str | bytes) -> None:
        """Be told a message. Must return soon."""
        ...


async def converse(
    address: Address,
    context: ssl.SSLContext | None,
    limits: Limits,
    talk: Talk,
    stop: trio.Event,
) -> None:
    """Hold one connection until it ends, or until ``stop``: then it is closed in order.

    Raises:
        Lost: it could not be had, or has ended.
        ConnectionRefused: and so it would be the next time.
        MessageTooLarge: a message is larger than the limit, and would be so the next time.
    """
    link: Link | None = None
    with trio.move_on_after(limits.connect_timeout) as patience:
        try:
            link = Link(await dial(address, context))
        except (OSError, trio.BrokenResourceError) as error:
            raise Lost(f"no connection: {_why(error)}") from error
    if link is None:
        raise Lost(f"no connection within {limits.connect_timeout:g} s")
    async with aclosing(link):
        try:
            async with trio.open_nursery(strict_exception_groups=True) as reader:
                socket = await _shake_hands(reader, link, address, limits, patience.deadline)
                await _talk(socket, link, limits, talk, stop)
                reader.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            end = _end_of(group, address)
            if end is None:
                raise
        else:
            return
    raise end


async def _shake_hands(
    reader: trio.Nursery, link: Link, address: Address, limits: Limits, deadline: float
) -> WebSocketConnection:
    """Make a web socket of a stream. trio-websocket itself would not notice that it has ended."""
    with trio.CancelScope(deadline=deadline) as patience:
        link.on_end = patience.cancel
        socket = await wrap_client_stream(
            reader,
            link,  # type: ignore[arg-type]  # any stream will do
            address.host_header,
            address.resource,
            subprotocols=address.protocols,
            extra_headers=list(address.headers),
            max_message_size=limits.message_limit,
            receive_buffer_size=AT_ONCE,
        )
        link.on_end = None
        return socket
    if trio.current_time() < deadline:
        raise Lost("the connection was closed before it was a web socket")
    raise Lost(f"the connection was no web socket within {limits.connect_timeout:g} s")


async def _talk(
    socket: WebSocketConnection, link: Link, limits: Limits, talk: Talk, stop: trio.Event
) -> None:
    outgoing = Outgoing()
    async with trio.open_nursery(strict_exception_groups=True) as tasks:
        tasks.start_soon(outgoing.send, socket)
        tasks.start_soon(_ping, socket, limits.ping_interval)
        tasks.start_soon(_watch, link, limits.silence)
        tasks.start_soon(_end_with_stop, stop, outgoing, tasks.cancel_scope)
        talk.begin(outgoing)
        await _read(socket, talk)
    if not link.torn:
        with trio.move_on_after(CLOSE_WITHIN):
            await socket.aclose()


async def _read(socket: WebSocketConnection, talk: Talk) -> None:
    while True:
        try:
            text = await socket.get_message()
        except ConnectionClosed as closed:
            raise _end_with(closed.reason) from None
        talk.hear(text)


async def _ping(socket: WebSocketConnection, interval: float) -> None:
    """Have the server say something at times, if only that it is there."""
    try:
        while True:
            await trio.sleep(interval)
            await socket.ping()
    except ConnectionClosed:
        return  # whoever reads is told why


async def _watch(link: Link, silence: float) -> None:
    while (deadline := link.heard + silence) > trio.current_time():  # noqa: ASYNC110
        await trio.sleep_until(deadline)  # which has moved on when something was heard
    raise Lost(f"nothing was heard for {silence:g} s, not even the answer to a ping")


async def _end_with_stop(stop: trio.Event, outgoing: Outgoing, scope: trio.CancelScope) -> None:
    await stop.wait()
    with trio.move_on_after(CLOSE_WITHIN / 2):
        await outgoing.sent()  # a frame that is cut in two could not be followed by a goodbye
    scope.cancel()


def _end_with(reason: CloseReason | None) -> Exception:
    """What it means that a connection was closed."""
    if reason is None:
        return Lost("it was closed")
    said = f" ({reason.reason})" if reason.reason else ""
    if reason.code == 1009:
        return MessageTooLarge(
            f"a message was too large{said}; it would be so again. For what the server sends, "
            "message_limit= of open_stream_client says how many bytes are too many"
        )
    if reason.code == 1006:
        return Lost("it broke")
    return Lost(f"the server closed it with {reason.code}{said}")


def _end_of(group: BaseExceptionGroup[BaseException], address: Address) -> Exception | None:
    """Find what ended a connection among all that came of it; None: nothing that is expected."""
    found = leaves(group)
    for error in found:
        if isinstance(error, ConnectionRejected):
            return _refusal(error, address)
        if isinstance(error, (Lost, MessageTooLarge)):
            return error
    for error in found:
        # out of trio-websocket's task, such as a ping that it cannot answer any more
        if isinstance(error, (ProtocolError, ConnectionClosed, OSError, trio.BrokenResourceError)):
            return Lost(f"it broke: {error}")
    return None


def _refusal(rejected: ConnectionRejected, address: Address) -> Exception:
    status = rejected.status_code
    try:
        phrase = f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = str(status)
    body = " ".join((rejected.body or b"").decode("utf-8", "replace").split())
    said = f"the server at {address.shown} answered {phrase}" + (f": {body:.200}" if body else "")
    if status >= 500 or status in _FOR_NOW:
        return Lost(said, _retry_after(rejected))
    hint = {
        401: "; it refused the token, or asks for one: token=",
        403: "; it does not let this client in: look at its stream_origins and authenticate",
    }.get(status, "; is that the address of a stream server?")
    return ConnectionRefused(said + hint, status)


def _why(error: BaseException) -> str:
    """What is behind the errors of several attempts, one for each address of a name."""
    cause = error.__cause__ or error
    found = leaves(cause)
    return "; ".join(dict.fromkeys(str(leaf) for leaf in found)) or str(error)


def _retry_after(rejected: ConnectionRejected) -> float:
    for name, value in rejected.headers:
        if name.lower() == b"retry-after" and value.isdigit():
            return float(value)
    return 0.0
