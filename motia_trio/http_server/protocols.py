"""Hypercorn's protocols, mended where a client could make them fail for others, or hang."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h2.errors
import h2.events
import h2.exceptions
import h11
import trio
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import (
    BUFFER_HIGH_WATER,
    BUFFER_LOW_WATER,
    BufferCompleteError,
    H2Protocol,
    StreamBuffer,
)
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol
from hypercorn.protocol.ws_stream import Handshake, WSStream

from motia_trio.http_server.responses import error_response
from motia_trio.http_server.sending import WHOLE
from motia_trio.http_server.web_sockets import mend
from motia_trio.messages import new_trace_id

if TYPE_CHECKING:
    from hypercorn.events import Event
    from hypercorn.protocol.events import Event as StreamEvent
    from hypercorn.typing import H11SendableEvent

__all__ = ["Http1", "Http2"]

_WORDS = {
    431: "Request header too large",
    501: "Not implemented",
    505: "HTTP version not supported",
}

# bytes of HTTP/2 that are worked on before others have their turn: in 64 KiB there may be thousands
# of frames
_SLICE = 8 * 1024
# requests that one HTTP/2 connection may take back before that looks like an attack
_RESETS = 100


class _Connection(h11.Connection):
    """An HTTP/1.1 connection that does not read what follows its last request.

    To h11 that is an error of the client, and its last request would be answered as one.
    Source: RFC 9112, 9.6.
    """

    def receive_data(self, data: bytes) -> None:
        if self.their_state is not h11.MUST_CLOSE:
            super().receive_data(data)

    def next_event(self) -> type[h11.NEED_DATA | h11.PAUSED] | h11.Event:
        if self.their_state is h11.MUST_CLOSE:
            return h11.NEED_DATA
        return super().next_event()


class Http1(H11Protocol):
    """HTTP/1.1, whose errors are answered in JSON; it goes over to HTTP/2 only by its preface.

    An ``Upgrade: h2c`` is not followed: through a proxy that passes it on, it would carry requests
    that the proxy does not see.
    """

    _head = b""

    def __init__(self, *made: Any) -> None:
        super().__init__(*made)
        self.connection = _Connection(
            h11.SERVER, max_incomplete_event_size=self.config.h11_max_incomplete_size
        )

    async def handle(self, event: Event) -> None:
        """Take what comes."""
        if isinstance(event, RawData) and event.data and _is_waiting(self.stream):
            await self.send(Closed())
        else:
            await super().handle(event)

    async def _create_stream(self, request: h11.Request) -> None:
        status = self._fault_of(request)
        if status is None:
            await super()._create_stream(request)
            mend(self.stream)
        else:
            await self._send_error_response(status)
            await self.send(Closed())

    def _fault_of(self, request: h11.Request) -> int | None:
        """The status for what h11 lets pass and we do not, None if there is nothing."""
        if not request.http_version.startswith(b"1."):
            return 505
        size, names = len(request.target) + len(request.method), set()
        for name, value in request.headers:
            size += len(name) + len(value)
            names.add(name)
        if size > self.config.h11_max_incomplete_size:
            return 431  # as it would be if it came in several pieces
        if b"transfer-encoding" in names and (
            b"content-length" in names or request.http_version == b"1.0"
        ):
            return 400  # two lengths: a proxy may have read the other one. RFC 9112, 6.1
        if b"upgrade" in names and _is_broken_handshake(request, self.connection.trailing_data[0]):
            return 400
        return None

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        try:
            data = self.connection.send(event) or b""
        except h11.LocalProtocolError:
            if self.connection.their_state != h11.ERROR:
                raise
            return
        if type(event) is h11.Response and WHOLE in getattr(self.stream, "response", ()):
            self._head = data  # it goes with the body, in one piece
            return
        if self._head:
            data, self._head = self._head + data, b""
        if data:
            await self.send(RawData(data))

    async def _check_protocol(self, event: h11.Request) -> None:
        if event.method == b"PRI" and event.target == b"*" and event.http_version == b"2.0":
            raise H2ProtocolAssumedError(
                b"PRI * HTTP/2.0\r\n\r\n" + self.connection.trailing_data[0]
            )

    async def _send_error_response(self, status_code: int) -> None:
        response = error_response(
            status_code, {"error": _WORDS.get(status_code, "Malformed request")}
        )
        headers = [
            *response.headers,
            (b"connection", b"close"),
            (b"x-trace-id", new_trace_id().encode()),
            *self.config.response_headers("h11"),
        ]
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=response.body))
        await self._send_h11_event(h11.EndOfMessage())


class _Buffer(StreamBuffer):
    """What waits of one answer for its window. Hypercorn's lets more in at each look at it."""

    async def push(self, data: bytes) -> None:
        """Put bytes in; wait until most of what is in has gone out."""
        if self._complete:
            raise BufferCompleteError
        self.buffer.extend(data)
        await self._is_empty.clear()
        while len(self.buffer) >= BUFFER_HIGH_WATER and not self._complete:
            await self._paused.clear()
            await self._paused.wait()

    async def pop(self, max_length: int) -> bytes:
        """Take bytes out."""
        data = bytes(self.buffer[:max_length])
        del self.buffer[:max_length]
        if len(self.buffer) < BUFFER_LOW_WATER:
            await self._paused.set()
        if not self.buffer:
            await self._is_empty.set()
        return data


class Http2(H2Protocol):
    """HTTP/2, which survives what comes for streams that are over, and resets what is cut off."""

    _resets = 0

    async def handle(self, event: Event) -> None:
        """Take what comes, and let others have their turn meanwhile."""
        if not isinstance(event, RawData):
            await super().handle(event)
            return
        for place in range(0, len(event.data), _SLICE):
            if self.closed:
                return
            await super().handle(RawData(event.data[place : place + _SLICE]))
            await trio.lowlevel.checkpoint()

    async def _create_stream(self, request: h2.events.RequestReceived) -> None:
        await super()._create_stream(request)
        # nothing is in the other one yet: its application has only been started
        self.stream_buffers[request.stream_id] = _Buffer(self.context.event_class)
        mend(self.streams.get(request.stream_id))

    async def _handle_events(self, events: list[Any]) -> None:
        for event in events:
            stream_id = getattr(event, "stream_id", None) or 0
            if isinstance(event, h2.events.DataReceived) and stream_id not in self.streams:
                # a body that came after its answer: it counts for the connection's window all the
                # same
                self._acknowledge(event)
            elif isinstance(event, h2.events.DataReceived) and _is_waiting(self.streams[stream_id]):
                self._acknowledge(event)
                self._reset(stream_id)
                await self._close_stream(stream_id)
                await self.send(Updated(idle=self.idle))
            elif isinstance(event, h2.events.RequestReceived) and not _is_readable(event):
                self._reset(stream_id)
            elif isinstance(event, h2.events.PriorityUpdated):
                pass  # nobody uses them; and of streams that never come, a tree of them would fill
            else:
                self._resets += isinstance(event, h2.events.StreamReset) and (
                    stream_id in self.streams
                )
                if self._resets > _RESETS:
                    await self._end_attack()
                    return
                await super()._handle_events([event])
                if isinstance(event, h2.events.StreamReset):
                    await self.send(Updated(idle=self.idle))  # its application says nothing more
                # at a count of them hypercorn says GOAWAY, behind which h2 can send no answers
                self.keep_alive_requests = 0
        await self._flush()

    def _acknowledge(self, event: h2.events.DataReceived) -> None:
        with suppress(h2.exceptions.ProtocolError):
            self.connection.acknowledge_received_data(
                event.flow_controlled_length or 0, event.stream_id or 0
            )

    def _reset(self, stream_id: int) -> None:
        with suppress(h2.exceptions.ProtocolError):
            self.connection.reset_stream(stream_id, h2.errors.ErrorCodes.PROTOCOL_ERROR)

    async def _end_attack(self) -> None:
        """Close the connection of a client that takes its requests back, over and over."""
        self.connection.close_connection(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM)
        await self._flush()
        await self.send(Closed())

    async def stream_send(self, event: StreamEvent) -> None:
        """Send what a stream has to say."""
        buffer = self.stream_buffers.get(event.stream_id)
        if isinstance(event, StreamClosed) and buffer is not None and not buffer._complete:  # noqa: SLF001
            # its application is done with it, and it is not whole: the client is to know
            with suppress(h2.exceptions.ProtocolError):
                self.connection.reset_stream(event.stream_id, h2.errors.ErrorCodes.INTERNAL_ERROR)
            await self._flush()
            await buffer.close()
            with suppress(Exception):
                self.priority.unblock(event.stream_id)
        await super().stream_send(event)


def _is_waiting(stream: Any) -> bool:
    """Whether it is a websocket that is not one yet: nothing may come for it."""
    return isinstance(stream, WSStream) and not stream.handshake.accepted


def _is_broken_handshake(request: h11.Request, following: bytes) -> bool:
    """Whether it asks for a websocket, and in a way that cannot be followed."""
    headers = dict(request.headers)
    if request.method != b"GET" or headers[b"upgrade"].strip().lower() != b"websocket":
        return False
    tokens = [
        token.strip().lower()
        for name, value in request.headers
        if name == b"connection"
        for token in value.split(b",")
    ]
    if b"upgrade" not in tokens:
        return False  # then it asks for nothing
    try:
        handshake = Handshake(list(request.headers), request.http_version.decode())
    except UnicodeDecodeError:
        return True
    return bool(following) or not handshake.is_valid()


def _is_readable(event: h2.events.RequestReceived) -> bool:
    """Whether the parts are ASCII that hypercorn takes for it, and a websocket is one."""
    headers: Any = event.headers
    known = dict(headers)
    if b":path" not in known or not (known[b":method"] + known[b":path"]).isascii():
        return False
    if known[b":method"] != b"CONNECT":
        return True
    try:
        return Handshake(headers, "2").is_valid()
    except UnicodeDecodeError:
        return False
