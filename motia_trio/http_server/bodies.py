"""From a body on its way to what a handler gets as ``body`` and ``raw_body``."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen

from motia_trio import codec
from motia_trio.data import Data, wrap
from motia_trio.errors import MalformedJson
from motia_trio.http_server.encodings import inflater_of
from motia_trio.http_server.incoming import BodyReader
from motia_trio.http_server.multipart import Form, read_form
from motia_trio.http_server.refusals import BodyTooLarge, BodyTooSlow, Malformed
from motia_trio.http_server.texts import charset_of, pairs_of

if TYPE_CHECKING:
    from motia_trio.http_server.encodings import Inflater
    from motia_trio.http_server.incoming import Incoming

__all__ = ["Body", "parse_body", "take_body"]

# bytes of a body above which it is decoded in a thread
_LARGE = 1024 * 1024


@frozen
class Body:
    """A body: decoded, as it was received, and for who reads it piece by piece.

    ``form`` has files that are to be closed when the request is over.
    """

    value: Any
    raw: bytes = b""
    reader: BodyReader | None = None
    form: Form | None = None


async def take_body(
    incoming: Incoming,
    headers: Data,
    *,
    empty: Any,
    seconds: float,
    piece_within: float | None,
    has_length: bool,
) -> Body:
    """Read and decode a body that comes within ``seconds``. A checkpoint.

    With ``piece_within``, the handler reads itself: what has no form of its own is left to it, and
    each piece has so many seconds to come. ``has_length`` tells that the protocol always says
    whether there is a body: where no header does, there is nothing to wait for.

    Raises:
        BodyTooLarge, BodyTooSlow, ClientGone, Malformed, Unsupported: as they say. A body that is
            declared too large is not read.
    """
    length = dict.get(headers, "content-length")
    if length is None and has_length and not dict.__contains__(headers, "transfer-encoding"):
        chunk = await incoming.chunk()  # that there is nothing
        while chunk is not None and not incoming.ended:
            chunk = await incoming.chunk()
        if not incoming.received:
            reader = None if piece_within is None else BodyReader.of(incoming, b"")
            return Body(empty, b"", reader)
        raise Malformed("a body without a length")
    if length is not None and length.isdigit() and int(length[:20]) > incoming.limit:
        raise BodyTooLarge(incoming.limit)
    encoding = dict.get(headers, "content-encoding")
    inflater = None if encoding is None else inflater_of(encoding, incoming.limit)
    kind = _kind(headers)
    if piece_within is not None and not _has_form(kind):
        reader = BodyReader(incoming, inflater=inflater, seconds=piece_within)
        return Body(empty, b"", reader)
    with trio.move_on_after(seconds):
        if kind == "multipart/form-data":
            body = await _take_form(incoming, headers, inflater)
        else:
            raw, plain = await _read(incoming, inflater)
            if len(plain) <= _LARGE:
                value = parse_body(plain, headers, empty=empty)
            else:  # it takes a while, and others need not wait for it
                parse = partial(parse_body, plain, headers, empty=empty)
                value = await trio.to_thread.run_sync(parse)
            body = Body(value, raw)
        if piece_within is None:
            return body
        return Body(body.value, body.raw, BodyReader.of(incoming, body.raw), body.form)
    raise BodyTooSlow(seconds)


async def _read(incoming: Incoming, inflater: Inflater | None) -> tuple[bytes, bytes]:
    """A whole body, as it was received and decompressed."""
    raw, plain = bytearray(), bytearray()
    while (chunk := await incoming.chunk()) is not None:
        raw += chunk
        if inflater is not None:
            for piece in inflater.feed(chunk):
                plain += piece
                await trio.lowlevel.checkpoint()
    if inflater is None:
        whole = bytes(raw)
        return whole, whole
    if raw:
        for piece in inflater.finish():
            plain += piece
    return bytes(raw), bytes(plain)


async def _take_form(incoming: Incoming, headers: Data, inflater: Inflater | None) -> Body:
    incoming.kept = bytearray()
    reader = BodyReader(incoming, inflater=inflater, seconds=inf)
    fields, form = await read_form(headers["content-type"], reader.stream)
    return Body(fields, bytes(incoming.kept or b""), None, form)


def _kind(headers: Data) -> str:
    """The media type, in lower case, without what follows it."""
    declared: str = dict.get(headers, "content-type", "")
    return declared.partition(";")[0].strip().lower()


def _has_form(kind: str) -> bool:
    """Whether bodies of this type are decoded."""
    return (
        kind in {"application/json", "application/x-www-form-urlencoded", "multipart/form-data"}
        or kind.endswith("+json")
        or kind.startswith("text/")
    )


def parse_body(raw: bytes, headers: Data, *, empty: Any) -> Any:
    """Decode a body by its content type: JSON, urlencoded, text; anything else stays bytes.

    Raises:
        Malformed: it is not what the type says.
    """
    kind = _kind(headers)
    if not raw:  # a form without fields is one
        return Data() if kind == "application/x-www-form-urlencoded" else empty
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return wrap(codec.decode(raw))
        except MalformedJson as error:
            raise Malformed(f"not JSON: {error}") from None
    if kind == "application/x-www-form-urlencoded":
        try:
            return pairs_of(raw.decode("utf-8"), errors="strict")
        except ValueError as error:
            raise Malformed(f"not urlencoded: {error}") from None
    if kind.startswith("text/"):
        try:
            return raw.decode(charset_of(headers["content-type"]))
        except (ValueError, LookupError) as error:
            raise Malformed(f"not a text: {error}") from None
    return raw
