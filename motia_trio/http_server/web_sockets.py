"""Hypercorn's web sockets, mended: what is no message ends them, and no client fills the memory."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import trio
from hypercorn.protocol.events import Data, EndData, StreamClosed
from hypercorn.protocol.ws_stream import ASGIWebsocketState, FrameTooLargeError, WSStream
from wsproto.connection import ConnectionState
from wsproto.events import CloseConnection, Message, Ping

if TYPE_CHECKING:
    from hypercorn.protocol.events import Event

__all__ = ["BOUNDS", "WebSocket", "mend"]

#: The extension by which our own server lets an application say what a web socket may do, before
#: it accepts it: a function of ``limit``, ``interval`` and ``patience``. A message has at most
#: ``limit`` characters or bytes, and comes without compression, by which a small one could become
#: as large as it likes. Who is silent for ``interval`` seconds is pinged, and dropped when nothing
#: comes for ``patience`` more.
BOUNDS = "motia_trio.bounds"

# seconds for a client that is cut off to take the close
_PART_WITHIN = 3.0


class WebSocket(WSStream):
    """One web socket. A message that is too long, or none, is told so, and the end."""

    _heard = inf
    _parting = False
    _watching: trio.CancelScope | None = None

    def bound(self, limit: int, interval: float, patience: float) -> None:
        """Say what the client may do."""
        self.buffer.max_length = limit
        self.handshake.extensions = None
        self._heard = trio.current_time()
        self._watching = trio.CancelScope()
        self.task_group.spawn(self._watch, self._watching, interval, patience)

    async def handle(self, event: Event) -> None:
        """Take what comes."""
        if self._parting and isinstance(event, Data):
            return
        if self._watching is not None:
            self._heard = trio.current_time()
            if isinstance(event, StreamClosed):
                self._watching.cancel()
        await super().handle(event)

    async def _handle_events(self) -> None:
        for event in self.connection.events():
            if isinstance(event, Message):
                try:
                    self.buffer.extend(event)
                except FrameTooLargeError:
                    self._cut_off(1009)
                    return
                if event.message_finished:
                    await self.app_put(self.buffer.to_message())  # type: ignore[misc]
                    self.buffer.clear()
            elif isinstance(event, Ping):
                await self._send_wsproto_event(event.response())
            elif isinstance(event, CloseConnection):
                if self.connection.state == ConnectionState.OPEN:  # no frame at all
                    self._cut_off(event.code)
                    return
                if self.connection.state == ConnectionState.REMOTE_CLOSING:
                    await self._send_wsproto_event(event.response())
                await self.send(StreamClosed(stream_id=self.stream_id))

    def _cut_off(self, code: int) -> None:
        """Say why, and read no more."""
        self._parting = True
        self.buffer.clear()
        self.task_group.spawn(self._part, code)  # who reads must not wait: in HTTP/2 for itself

    async def _part(self, code: int) -> None:
        with trio.move_on_after(_PART_WITHIN):
            await self._send_wsproto_event(CloseConnection(code=code))
            await self.send(EndData(stream_id=self.stream_id))
        if not self.closed:
            await self.send(StreamClosed(stream_id=self.stream_id))

    async def _watch(self, scope: trio.CancelScope, interval: float, patience: float) -> None:
        """Ping the client when it is silent, and drop it when it remains so."""
        pinged = -inf
        with scope:
            while not self.closed:
                await trio.sleep(min(interval, patience) / 4)
                silent = trio.current_time() - self._heard
                if silent >= interval + patience:
                    break
                if silent >= interval and pinged < self._heard:
                    pinged = trio.current_time()
                    if self.state is ASGIWebsocketState.CONNECTED:
                        await self._send_wsproto_event(Ping())
        if not self.closed and not scope.cancelled_caught:
            await self.send(StreamClosed(stream_id=self.stream_id))


def mend(stream: Any) -> None:
    """Make a stream of hypercorn's that has just been created one of ours, if it is a web socket.

    Hypercorn names the class of its streams by itself. The application has only been started, and
    nothing has come for it.
    """
    if type(stream) is WSStream:
        made: Any = stream
        made.__class__ = WebSocket
        made.scope["extensions"][BOUNDS] = made.bound
