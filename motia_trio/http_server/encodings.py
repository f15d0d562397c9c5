"""Content encodings of request bodies, undone piece by piece within a limit. Pure."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from motia_trio.http_server.refusals import BodyTooLarge, Malformed, Unsupported

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ENCODINGS", "Inflater", "inflater_of"]

#: what is understood, as an ``Accept-Encoding`` header says it
ENCODINGS = b"gzip, deflate"

# bytes that one step makes at the most, so that the loop is not held
_PIECE = 256 * 1024
_GZIP = 16 + zlib.MAX_WBITS


def inflater_of(content_encoding: str, limit: int) -> Inflater | None:
    """Give what undoes an encoding, None for no encoding.

    Raises:
        Unsupported: it is not gzip or deflate, or there are several.
    """
    names = [name for each in content_encoding.split(",") if (name := each.strip().lower())]
    names = [name for name in names if name != "identity"]
    if not names:
        return None
    if len(names) > 1 or names[0] not in {"gzip", "x-gzip", "deflate"}:
        raise Unsupported(f"content-encoding {content_encoding}", accept_encoding=True)
    return Inflater(limit, gzip=names[0] != "deflate")


class Inflater:
    """Undoes gzip (of several members too) or deflate. Makes ``limit`` bytes at the most."""

    def __init__(self, limit: int, *, gzip: bool) -> None:
        self._limit = limit
        self._gzip = gzip
        self._made = 0
        self._head = b""
        self._stream = zlib.decompressobj(_GZIP) if gzip else None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Give what ``data`` stands for, in pieces.

        Raises:
            BodyTooLarge: it is over the limit. No more than that is made.
            Malformed: it is not what it says.
        """
        if self._stream is None:
            # deflate is meant to have a head of two bytes; there are clients that leave it out
            self._head = data = self._head + data
            if len(data) < 2:
                return
            headed = data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if headed else -zlib.MAX_WBITS)
        while data:
            if self._stream.eof:
                if not self._gzip:
                    raise Malformed("there is something after the end of the deflated body")
                self._stream = zlib.decompressobj(_GZIP)
            room = min(_PIECE, self._limit - self._made + 1)
            try:
                piece = self._stream.decompress(data, room)
            except zlib.error as error:
                raise Malformed(f"the body cannot be inflated: {error}") from None
            self._made += len(piece)
            if self._made > self._limit:
                raise BodyTooLarge(self._limit)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if piece:
                yield piece

    def finish(self) -> Iterator[bytes]:
        """Give what is left when all was fed.

        Raises:
            BodyTooLarge: it is over the limit.
            Malformed: the end is missing.
        """
        while self._stream is not None and not self._stream.eof:
            try:
                piece = self._stream.decompress(b"", min(_PIECE, self._limit - self._made + 1))
            except zlib.error as error:
                raise Malformed(f"the body cannot be inflated: {error}") from None
            if not piece:
                break
            self._made += len(piece)
            if self._made > self._limit:
                raise BodyTooLarge(self._limit)
            yield piece
        if self._stream is None or not self._stream.eof:
            raise Malformed("the end of the compressed body is missing")
