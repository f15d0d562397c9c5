"""What comes from the client of one request: its body, and the news that it has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from motia_trio.http_server.refusals import BodyTooLarge, BodyTooSlow, ClientGone
from motia_trio.http_server.uploads import SPOOL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motia_trio.http_server.asgi import Receive
    from motia_trio.http_server.encodings import Inflater

__all__ = ["BodyReader", "BodyStream", "Incoming"]


class Incoming:
    """Reads what ASGI's ``receive`` gives, for whoever wants it: one reader, and one watcher."""

    __slots__ = ("_over", "_receive", "_watch", "ended", "gone", "kept", "limit", "received")

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._over: trio.Event | None = None
        self._watch: trio.Lock | None = None
        self.limit = limit
        #: bytes of the body that came
        self.received = 0
        #: whether the body has come to its end
        self.ended = False
        #: whether the client has left
        self.gone = False
        #: what came of the body, if somebody wants to keep it and it is no more than a file in
        #: memory may be
        self.kept: bytearray | None = None

    async def chunk(self) -> bytes | None:
        """Give the next piece of the body as it came, None after the last. A checkpoint.

        Raises:
            BodyTooLarge: the body is over the limit.
            ClientGone: the client has left.
        """
        if self.ended:
            return None
        body = await self._next()
        if self.received > self.limit:
            raise BodyTooLarge(self.limit)
        if self.kept is not None:
            self.kept += body
            if len(self.kept) > SPOOL:
                self.kept = None
        return body

    async def _next(self) -> bytes:
        if self.gone:
            raise ClientGone
        event = await self._receive()
        if event["type"] == "http.disconnect":
            self.gone = True
            self._wake()
            raise ClientGone
        body: bytes = event.get("body", b"")
        self.received += len(body)
        if not event.get("more_body", False):
            self.ended = True
            self._wake()
        return body

    def _wake(self) -> None:
        if self._over is not None:
            self._over.set()

    async def left(self) -> None:
        """Wait until the client has left.

        As long as the body comes, who reads it finds out; if nobody does, this waits with them.
        """
        if self._watch is None:
            self._watch = trio.Lock()
        async with self._watch:
            if not self.ended and not self.gone:
                self._over = trio.Event()
                await self._over.wait()
            while not self.gone:
                event = await self._receive()
                self.gone = event["type"] == "http.disconnect"

    async def discard(self, seconds: float, pause: float) -> None:
        """Read what is left of a body that nobody wants. A checkpoint.

        For ``seconds`` at the most, or until nothing came for ``pause`` seconds. A connection that
        is closed while something comes is reset, and its client may never see the answer that it
        was sent. Source: RFC 9112, 9.6.
        """
        with trio.move_on_after(seconds):
            while not self.ended and not self.gone:
                with trio.move_on_after(pause) as waiting:
                    try:
                        await self._next()
                    except ClientGone:
                        return
                if waiting.cancelled_caught:
                    return
                await trio.lowlevel.checkpoint()


class BodyStream:
    """The pieces of a body as they arrive, decompressed: ``async for``, or ``for`` in a thread."""

    def __init__(self, reader: BodyReader) -> None:
        self._reader = reader

    def __aiter__(self) -> BodyStream:
        return self

    async def __anext__(self) -> bytes:
        piece = await self._reader._next()  # noqa: SLF001 - one object in two parts
        if piece is None:
            raise StopAsyncIteration
        return piece

    def __iter__(self) -> BodyStream:
        return self

    def __next__(self) -> bytes:
        piece = self._reader._next_now()  # noqa: SLF001 - as above
        if piece is None:
            raise StopIteration
        return piece


class BodyReader:
    """Reads the body of a request as it arrives: ``request.request_body`` of ``MotiaHttpArgs``.

    ``stream`` gives its pieces, :meth:`read_all` what is left of it at once. A body that was
    decoded already is there to be read all the same.
    """

    def __init__(
        self, incoming: Incoming, *, inflater: Inflater | None = None, seconds: float = 60.0
    ) -> None:
        self._incoming = incoming
        self._inflater = inflater
        self._seconds = seconds
        self._ready: Iterator[bytes] = iter(())
        self._read = False
        self._rest: bytes | None = None
        self.stream = BodyStream(self)
        #: why it cannot be read to its end
        self.failure: Exception | None = None

    @classmethod
    def of(cls, incoming: Incoming, raw: bytes) -> BodyReader:
        """Give a reader of a body that is there already."""
        reader = cls(incoming)
        reader._ready, reader._read = iter([raw] if raw else []), True
        return reader

    async def read_all(self) -> bytes:
        """Give all that was not read yet; the same again when asked again. A checkpoint.

        Raises:
            BodyTooLarge, BodyTooSlow, Malformed, ClientGone: as they say. A handler that lets
                them pass has its client answered with 413, 408 or 400.
        """
        await trio.lowlevel.checkpoint()
        if self._rest is None:
            parts = [piece async for piece in self.stream]
            self._rest = b"".join(parts)
        return self._rest

    async def _next(self) -> bytes | None:
        """The next piece, None after the last. A checkpoint."""
        try:
            while True:
                for piece in self._ready:
                    await trio.lowlevel.checkpoint()
                    return piece
                if self._read:
                    return None
                self._take(await self._chunk())
        except trio.Cancelled:
            raise
        except Exception as error:
            self.failure = error
            raise

    async def _chunk(self) -> bytes | None:
        with trio.move_on_after(self._seconds):
            return await self._incoming.chunk()
        raise BodyTooSlow(self._seconds)

    def _take(self, chunk: bytes | None) -> None:
        """Make pieces of what came."""
        if chunk is None:
            self._read = True
            if self._inflater is not None and self._incoming.received:
                self._ready = self._inflater.finish()
        elif self._inflater is not None:
            self._ready = self._inflater.feed(chunk)
        elif chunk:
            self._ready = iter((chunk,))

    def _next_now(self) -> bytes | None:
        """The next piece for a plain loop."""
        if not trio.lowlevel.in_trio_run():
            return trio.from_thread.run(self._next)
        for piece in self._ready:
            return piece
        if not self._read:
            raise RuntimeError(
                "the body is still on its way: read it with `async for`, or in a plain handler, "
                "which has a thread of its own"
            )
        return None
