"""Live streams on the HTTP port, for clients that know one port alone: as an ASGI application."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from motia_trio.http_server.requests import headers_of
from motia_trio.http_server.web_sockets import BOUNDS
from motia_trio.stream_server.crowd import Guest
from motia_trio.stream_server.handshakes import AUTHORIZATION
from motia_trio.stream_server.lines import AsgiLine

if TYPE_CHECKING:
    from motia_trio.http_server.asgi import Receive, Scope, Send
    from motia_trio.stream_server.crowd import Crowd
    from motia_trio.stream_server.handshakes import Refusal
    from motia_trio.streams import Session
    from motia_trio.streams.sessions import Closing

__all__ = ["AsgiStreams"]

# seconds for a client to take the last of what it is sent
CLOSE_WITHIN = 3.0


class AsgiStreams:
    """Serves the web sockets that an ASGI server hands over, on any path."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._sessions: set[Session] = set()
        self._stopping = False
        self._ended = trio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client, to its end."""
        event = await receive()
        if event["type"] != "websocket.connect":
            return
        if self._stopping:
            await send({"type": "websocket.close", "code": 1001})
            return
        protocols = list(scope.get("subprotocols", ()))
        query = scope.get("query_string", b"")
        target = scope["path"] + (f"?{query.decode('latin-1')}" if query else "")
        headers = headers_of(scope["headers"])
        admitted = await self._crowd.admit(headers, target, protocols, dict(scope), same_host=True)
        if not isinstance(admitted, Guest):
            await _refuse(scope, send, admitted)
            return
        try:
            if (bound := (scope.get("extensions") or {}).get(BOUNDS)) is not None:
                settings = self._crowd.settings
                interval, timeout = settings.stream_ping_interval, settings.stream_ping_timeout
                bound(settings.stream_frame_limit, interval, timeout)
            accept: dict[str, Any] = {"type": "websocket.accept"}
            if AUTHORIZATION in protocols:
                accept["subprotocol"] = AUTHORIZATION
            await send(accept)
            async with trio.open_nursery() as nursery:
                await self._serve(admitted, receive, send, nursery)
                nursery.cancel_scope.cancel()
        finally:
            admitted.leave()

    async def _serve(
        self, guest: Guest, receive: Receive, send: Send, nursery: trio.Nursery
    ) -> None:
        session = self._crowd.session(guest, AsgiLine(send), nursery)
        self._sessions.add(session)
        if self._stopping:
            session.stop()
        limit = self._crowd.settings.stream_frame_limit

        async def frames() -> str | bytes | None:
            event = await receive()
            if event["type"] != "websocket.receive":
                return None
            text: str | None = event.get("text")
            frame: str | bytes = (event.get("bytes") or b"") if text is None else text
            if len(frame) > limit:
                session.close(1009, f"a frame has at most {limit} bytes")
                await trio.lowlevel.checkpoint()
            return frame

        closing: Closing | None = None
        try:
            closing = await session.run(frames)
            if closing is not None:
                with trio.move_on_after(CLOSE_WITHIN):
                    await send(
                        {
                            "type": "websocket.close",
                            "code": closing.code,
                            "reason": closing.reason,
                        }
                    )
        finally:
            self._sessions.discard(session)
            self._crowd.tell_closed(guest, closing, session.unsent)
            await session.leave()  # noqa: ASYNC102 - it may be cancelled
            if not self._sessions:
                self._ended.set()

    def stop(self) -> None:
        """Let nobody in any more, and have each end when all that waits for it has been sent."""
        self._stopping = True
        for session in list(self._sessions):
            session.stop()

    async def ended(self) -> None:
        """Wait until all are gone, after :meth:`stop`. A checkpoint if some are there."""
        while self._sessions:
            self._ended = trio.Event()
            await self._ended.wait()


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Answer in place of the upgrade, if the server can: else it says 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [*refusal.headers, (b"content-length", b"%d" % len(refusal.body))]
    start = {"type": "websocket.http.response.start", "status": refusal.status}
    await send({**start, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": refusal.body})
