"""Sends answers, whole or piece by piece, to clients that read, dawdle or leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from motia_trio.http_server.refusals import ClientGone

if TYPE_CHECKING:
    from motia_trio.http_server.asgi import Event, Scope, Send
    from motia_trio.http_server.incoming import Incoming
    from motia_trio.http_server.responses import Response
    from motia_trio.http_server.streaming import Pieces
    from motia_trio.streamed import Streamed

__all__ = ["WATCHED", "WHOLE", "AnswerCut", "Sender"]

#: The extension by which our own server tells of the connection: whether it gives up a client by
#: itself that does not read. Of other servers this is theirs to care for.
WATCHED = "motia_trio.watched"
#: What tells it that the body, or a piece of it, comes right behind the head.
WHOLE = "motia_trio.whole"

# bytes that are sent at once; a client has a bounded time for each
_PIECE = 64 * 1024
# seconds for which what still comes of a body that nobody wants is read and dropped
_LINGER = 5.0
# seconds without anything after which nothing more is expected
_PAUSE = 0.5

Headers = list[tuple[bytes, bytes]]


class AnswerCut(Exception):
    """An answer could not be sent to its end: the connection has to be closed, so that it shows."""


class Sender:
    """Sends the answer to one request. ``seconds`` is what the client has to take each piece."""

    __slots__ = ("_bounded", "_head_only", "_incoming", "_lingers", "_seconds", "_send", "begun")

    def __init__(self, send: Send, incoming: Incoming, scope: Scope, seconds: float) -> None:
        self._send = send
        self._incoming = incoming
        self._seconds = seconds
        self._head_only = scope["method"] == "HEAD"
        extensions = scope.get("extensions") or {}
        # whether what still comes is read and dropped, so that the answer is not lost
        self._lingers = extensions.get(WATCHED, False)
        # whether each send has to have its bound here
        self._bounded = not extensions.get(WATCHED, True)
        #: whether anything was sent
        self.begun = False

    async def whole(self, response: Response, headers: Headers) -> None:
        """Send a whole answer. ``headers`` come after its own. A checkpoint."""
        body = b"" if self._head_only else response.body
        start: Event = {
            "type": "http.response.start",
            "status": response.status,
            "headers": [*response.headers, *headers],
        }
        self.begun = True
        incoming = self._incoming
        if (
            not self._bounded
            and len(body) <= _PIECE
            and (incoming.ended or incoming.gone or not self._lingers)
        ):
            start[WHOLE] = True
            await self._send(start)
            await self._send({"type": "http.response.body", "body": body, "more_body": False})
            return
        if body:
            start[WHOLE] = True  # a client that leaves in between would have a head alone
        await self._put(start)
        await self._write(body)
        await self._end()

    async def streamed(self, streamed: Streamed, pieces: Pieces, headers: Headers) -> None:
        """Send an answer while its handler makes it, unless the client leaves. A checkpoint.

        Raises:
            AnswerCut: it was begun, and will not be whole.
            Exception: what kept it from being begun.
        """
        start = {
            "type": "http.response.start",
            "status": pieces.status,
            "headers": [*pieces.headers, *headers],
        }
        if self._head_only or pieces.status in {204, 304}:
            streamed.abandon()
            self.begun = True
            await self._put(start)
            await self._end()
            return
        error: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch, nursery.cancel_scope)
            try:
                await self._pump(streamed, pieces, start)
            except trio.Cancelled:
                streamed.abandon()
                raise
            except Exception as raised:  # noqa: BLE001 - raised below, without the nursery's group
                error = raised
            nursery.cancel_scope.cancel()
        if error is None and not self._incoming.gone:
            await self._end()
            return
        streamed.abandon()
        if error is None or isinstance(error, ClientGone):
            raise AnswerCut("the client has left")
        if self.begun:
            raise AnswerCut(f"{type(error).__name__}: {error}") from error
        raise error

    async def _watch(self, scope: trio.CancelScope) -> None:
        await self._incoming.left()
        scope.cancel()

    async def _pump(self, streamed: Streamed, pieces: Pieces, start: Any) -> None:
        if pieces.at_once:
            await self._begin(start)
        left = pieces.length
        async for piece in streamed:
            raw = pieces.encode(piece)
            if not self.begun:
                await self._begin(start)
            if left is not None:
                left -= len(raw)
                if left < 0:
                    raise ValueError(f"the body is longer than its content-length, {pieces.length}")
            if raw:
                await self._write(raw)
        if left:
            raise ValueError(f"the body lacks {left} of its content-length, {pieces.length}")
        if not self.begun:
            await self._begin(start)

    async def _begin(self, start: Any) -> None:
        self.begun = True
        await self._put(start)

    async def _write(self, body: bytes) -> None:
        """Send a part of a body, in pieces for each of which the client has its time."""
        for place in range(0, len(body), _PIECE):
            piece = body[place : place + _PIECE]
            await self._put({"type": "http.response.body", "body": piece, "more_body": True})

    async def _end(self) -> None:
        """End the answer, once nothing comes any more that would have it reset."""
        if self._lingers and not self._incoming.ended:
            await self._incoming.discard(_LINGER, _PAUSE)
        await self._put({"type": "http.response.body", "body": b"", "more_body": False})

    async def _put(self, event: Any) -> None:
        """Send one event. Raises ClientGone if the client does not take it in time."""
        if not self._bounded:
            await self._send(event)
            return
        with trio.move_on_after(self._seconds):
            await self._send(event)
            return
        raise ClientGone
