"""Hypercorn's protocols, mended where a client could make them fail for others, or hang."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import h2.errors
import h2.events
import h2.exceptions
import h11
from hypercorn.events import RawData
from hypercorn.protocol.events import StreamClosed
from hypercorn.protocol.h2 import H2Protocol
from hypercorn.protocol.h11 import H2ProtocolAssumedError, H11Protocol

from motia_trio.http_server.responses import error_response
from motia_trio.http_server.sending import WHOLE
from motia_trio.messages import new_trace_id

if TYPE_CHECKING:
    from hypercorn.protocol.events import Event as StreamEvent
    from hypercorn.typing import H11SendableEvent

__all__ = ["Http1", "Http2"]

_WORDS = {
    431: "Request header too large",
    501: "Not implemented",
}


class Http1(H11Protocol):
    """HTTP/1.1, whose errors are answered in JSON; it goes over to HTTP/2 only by its preface.

    An ``Upgrade: h2c`` is not followed: through a proxy that passes it on, it would carry requests
    that the proxy does not see.
    """

    _head = b""

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


class Http2(H2Protocol):
    """HTTP/2, which survives what comes for streams that are over, and resets what is cut off."""

    async def _handle_events(self, events: list[Any]) -> None:
        for event in events:
            if isinstance(event, h2.events.DataReceived) and event.stream_id not in self.streams:
                # a body that came after its answer: it counts for the connection's window all the
                # same
                with suppress(h2.exceptions.ProtocolError):
                    self.connection.acknowledge_received_data(
                        event.flow_controlled_length or 0, event.stream_id
                    )
            elif isinstance(event, h2.events.RequestReceived) and not _is_ascii(event):
                with suppress(h2.exceptions.ProtocolError):
                    self.connection.reset_stream(
                        event.stream_id or 0, h2.errors.ErrorCodes.PROTOCOL_ERROR
                    )
            else:
                await super()._handle_events([event])
        await self._flush()

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


def _is_ascii(event: Any) -> bool:
    """Whether the parts are that hypercorn takes for ASCII."""
    return all(
        value.isascii() for name, value in event.headers if name in {b":method", b":path"}
    ) and any(name == b":path" for name, _ in event.headers)
