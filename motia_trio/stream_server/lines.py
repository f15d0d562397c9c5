"""What carries messages: bytes on a socket beside trio-websocket's own, and ASGI events."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from motia_trio.streams.wire import Batch, Message

__all__ = ["PING", "AsgiLine", "SocketLine", "closing_frame"]

# an empty ping. Source: RFC 6455, 5.5.2
PING = b"\x89\x00"
# the end of a head, as h11 sees it
_END = re.compile(rb"\n\r?\n")
# a frame that says goodbye begins with it. Source: RFC 6455, 5.2
_CLOSE = b"\x88"
# seconds for which a connection that is closed still reads: a close while something comes resets
# it, and the client may never see what it was told last
_LINGER = 1.0
# bytes of what comes then that are read at once
_DROPPED = 64 * 1024


def closing_frame(code: int, reason: str) -> bytes:
    """Give a frame that says goodbye, in few words. Source: RFC 6455, 5.5.1."""
    payload = code.to_bytes(2) + reason.encode()
    return b"%b%c%b" % (_CLOSE, len(payload), payload)


def _frame_of(message: Message) -> bytes:
    """A message as one frame of text, which is made once. Source: RFC 6455, 5.2."""
    if message.frame is None:
        text = message.text
        size = len(text)
        if size < 126:
            head = b"\x81%c" % size
        elif size < 65536:
            head = b"\x81\x7e" + size.to_bytes(2)
        else:
            head = b"\x81\x7f" + size.to_bytes(8)
        message.frame = head + text
    return message.frame


class SocketLine(trio.abc.Stream):
    """A socket that trio-websocket reads from and writes to, and that takes frames beside it.

    trio-websocket does the handshake, what comes in, pongs and the close; changes go out as frames
    that were made once for all, without waiting if the socket has room. Both come out whole, one
    after the other. A :class:`~motia_trio.streams.sessions.Line`.
    """

    __slots__ = (
        "_behind", "_closed", "_ended", "_head", "_lock", "_open", "_rest", "_socket", "_stream",
        "cut", "heard", "last_words", "on_end", "parted", "pinged",
    )  # fmt: skip

    def __init__(
        self,
        stream: trio.SocketStream | trio.SSLStream[trio.SocketStream],
        sock: socket.socket | None,
    ) -> None:
        self._stream = stream
        # what is written to directly; None with TLS, where only the stream can
        self._socket = sock
        self._rest: memoryview | bytes = b""
        self._lock = trio.Lock()
        self._closed = False
        #: the Trio time at which something came last
        self.heard = trio.current_time()
        #: whether it was pinged since
        self.pinged = False
        #: called when it ends, as long as that is somebody's concern
        self.on_end: Callable[[], object] | None = None
        # the last bytes of the head as far as it has come; None when it is whole
        self._head: bytes | None = b""
        # what came right behind it, and whether that may be read
        self._behind: bytes | bytearray = b""
        self._open: trio.Event | None = trio.Event()  # until it is: there are thousands
        #: gives what is said in the end, if no goodbye was said
        self.last_words: Callable[[], bytes] | None = None
        #: whether the client is cut off while it may still be sending
        self.cut = False
        #: whether a goodbye was said
        self.parted = False
        self._ended = False

    # a line

    def write(self, message: Message) -> bool:
        """Send a message, now, if the socket has room."""
        return self._write(message.frame or _frame_of(message))

    def write_batch(self, batch: Batch) -> bool:
        """Send messages, now, if the socket has room."""
        if batch.frames is None:
            batch.frames = b"".join([_frame_of(message) for message in batch.messages])
        return self._write(batch.frames)

    def ping(self) -> bool:
        """Send a ping, if nothing else waits to be sent: then that will tell as well.

        False: it takes waiting, as all does with TLS.
        """
        self.pinged = True
        if self._socket is None:
            return False
        self._write(PING)
        return True

    def say(self, data: bytes) -> None:
        """Send bytes, now, if that can be done."""
        self._write(data)

    def _write(self, data: bytes) -> bool:
        # whoever waits in the midst of something has a rest: without one, nothing is cut in two
        if self._rest or self._socket is None:
            return False
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            return False
        except OSError:
            return True  # the client is gone: whoever reads hears of it
        if sent < len(data):
            self._rest = memoryview(data)[sent:]
        return True

    @property
    def is_blocked(self) -> bool:
        """Whether part of a message has yet to go out."""
        return bool(self._rest)

    async def flush(self) -> None:
        """Send the rest of what was begun. A checkpoint if there is something."""
        if self._rest:
            async with self._lock:
                await self._send_rest()

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages. A checkpoint."""
        frames = [_frame_of(message) for message in messages]
        await self.send_all(frames[0] if len(frames) == 1 else b"".join(frames))

    # a stream

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send bytes. Who is cancelled meanwhile has sent all or nothing, once all is flushed."""
        async with self._lock:
            if self._socket is not None:
                await self._send_rest()
            if data[:1] == _CLOSE:  # who is cancelled before has not said it
                self.parted = True
            if self._socket is None:
                await self._stream.send_all(data)
            else:
                self._rest = bytes(data)
                await self._send_rest()

    async def _send_rest(self) -> None:
        sock = self._socket
        while self._rest:
            if sock is None or self._closed:
                raise trio.ClosedResourceError("the connection is closed")
            try:
                sent = sock.send(self._rest)
            except BlockingIOError:
                try:
                    await trio.lowlevel.wait_writable(sock)
                except OSError as error:
                    raise trio.BrokenResourceError("the client is gone") from error
            except OSError as error:
                self._rest = b""
                raise trio.BrokenResourceError("the client is gone") from error
            else:
                self._rest = memoryview(self._rest)[sent:] if sent < len(self._rest) else b""

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until something may be sent."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive bytes. After the head of the request nothing, until :meth:`open`."""
        if self._head is None:
            if self._open is not None:
                await self._open.wait()
            if self._behind:
                behind, self._behind = self._behind, b""
                return behind
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()
            raise
        if data:
            self.heard = trio.current_time()
            self.pinged = False
            if self._head is not None:
                return self._until_head(self._head, data)
        else:
            self._end()
        return data

    def _until_head(self, before: bytes, data: bytes | bytearray) -> bytes | bytearray:
        """Give what is still of the head, and keep the rest: to wsproto it would be no frames."""
        found = _END.search(before + data)
        if found is None:
            self._head = (before + data)[-2:]
            return data
        end = found.end() - len(before)
        self._head, self._behind = None, data[end:]
        return data[:end]

    def open(self) -> None:
        """Have what comes behind the head read, from now on."""
        if self._open is not None:
            self._open.set()
            self._open = None

    async def aclose(self) -> None:
        """End our side; what was sent is left to arrive. :meth:`linger` is to follow."""
        self._end()
        if self._ended or self._closed:
            return
        self._ended = True
        words = self.last_words() if self.last_words is not None and not self.parted else b""
        if words:
            self.cut = True
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                with trio.move_on_after(_LINGER, shield=True):  # who reads is cancelled soon
                    await self.send_all(words)
        trio.lowlevel.notify_closing(self._raw)
        if self._socket is None and not self.cut:
            self._closed = True
            await self._stream.aclose()
        elif self._socket is not None:
            with suppress(OSError):
                self._raw.shutdown(socket.SHUT_WR)

    async def linger(self) -> None:
        """After :meth:`aclose`: drop what comes until the client has closed as well, for a second.

        A checkpoint if our side has ended.
        """
        if not self._ended or self._closed:
            return
        with trio.move_on_after(_LINGER), suppress(OSError):
            while await self._raw.recv(_DROPPED):
                pass
        if self._socket is None:
            self._closed = True
            with trio.move_on_after(_LINGER), suppress(trio.BrokenResourceError):
                await self._stream.aclose()

    def abort(self) -> None:
        """Close the socket at once."""
        if not self._closed:
            self._closed = True
            self._raw.close()

    @property
    def _raw(self) -> trio.socket.SocketType:
        stream = self._stream
        return (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket

    def _end(self) -> None:
        if self.on_end is not None:
            self.on_end()


class AsgiLine:
    """A web socket of an ASGI server. A :class:`~motia_trio.streams.sessions.Line`."""

    is_blocked = False

    def __init__(self, send: Callable[[Any], Awaitable[None]]) -> None:
        self._send = send

    def write(self, message: Message) -> bool:  # noqa: ARG002 - the line's
        """Take nothing: ASGI cannot send without waiting."""
        return False

    def write_batch(self, batch: Batch) -> bool:  # noqa: ARG002 - the line's
        """Take nothing, either."""
        return False

    async def flush(self) -> None:
        """There is never anything."""

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages. A checkpoint."""
        for message in messages:
            try:
                await self._send({"type": "websocket.send", "text": message.text.decode()})
            except Exception as error:
                raise trio.BrokenResourceError("the client is gone") from error
