"""Answers that are sent while their handler still runs, from its pieces to bytes on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from motia_trio import codec
from motia_trio.http_server.responses import Head, NotAResponse, head_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Pieces", "encode_event", "encode_piece", "pieces_of"]

Headers = list[tuple[bytes, bytes]]

_EVENT_FIELDS = frozenset({"data", "event", "id", "retry", "comment"})


class Pieces:
    """How the pieces of one streamed answer are written. ``headers`` are what is sent first."""

    def __init__(
        self, head: Head, headers: Headers, encode: Callable[[Any], bytes], *, at_once: bool
    ) -> None:
        self.status = head.status
        self.headers = headers
        self.encode = encode
        #: whether the head is sent before there is a piece
        self.at_once = at_once
        #: how long the body is, if the handler says so
        self.length: int | None = None
        for name, value in headers:
            if name == b"content-length":
                if not value.isdigit() or len(value) > 18:
                    raise NotAResponse(f"the handler returned content-length {value!r:.80}")
                self.length = int(value)


def pieces_of(given: Any) -> Pieces:
    """Decide by the head of a streamed answer how its pieces are written.

    Text is UTF-8, bytes are bytes. What else comes is a server-sent event if the headers say
    ``text/event-stream``, and a line of JSON otherwise.

    Raises:
        NotAResponse: there is no status, or a header does not fit.
    """
    head = head_of(given)
    headers = list(head.headers)
    kind = next((value for name, value in headers if name == b"content-type"), None)
    if kind is None:
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
    elif kind.partition(b";")[0].strip().lower() == b"text/event-stream":
        if not any(name == b"cache-control" for name, _ in headers):
            headers.append((b"cache-control", b"no-cache"))
        return Pieces(head, headers, encode_event, at_once=True)
    return Pieces(head, headers, encode_piece, at_once=False)


def encode_piece(piece: Any) -> bytes:
    """Write one piece of a body.

    Raises:
        NotEncodable: it has no JSON form.
    """
    if isinstance(piece, str):
        return piece.encode("utf-8", "replace")
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    return codec.encode(piece) + b"\n"


def encode_event(piece: Any) -> bytes:
    """Write a mapping with ``data`` (and ``event``, ``id``, ``retry``, ``comment``) as an event.

    Text and bytes are written as they are: whoever writes the lines of events themselves may.
    Source: the HTML standard, 9.2.

    Raises:
        NotAResponse: it has other keys, or one that cannot be written.
        NotEncodable: its data has no JSON form.
    """
    if isinstance(piece, (str, bytes, bytearray, memoryview)):
        return encode_piece(piece)
    if not isinstance(piece, Mapping) or not piece or set(piece) - _EVENT_FIELDS:
        keys = ", ".join(map(str, piece)) if isinstance(piece, Mapping) else repr(piece)
        raise NotAResponse(
            f"an event has data, event, id, retry or comment; the handler gave: {keys:.80}"
        )
    lines: list[str] = []
    if (comment := piece.get("comment")) is not None:
        lines += [f": {line}" for line in _lines(str(comment))]
    for name in ("event", "id"):
        if (value := piece.get(name)) is not None:
            text = str(value)
            if any(char in text for char in "\r\n\0"):
                raise NotAResponse(f"the {name} of an event has a line break: {text!r:.80}")
            lines.append(f"{name}: {text}")
    if (retry := piece.get("retry")) is not None:
        if isinstance(retry, bool) or not isinstance(retry, int) or retry < 0:
            raise NotAResponse(f"the retry of an event is a number of ms, not {retry!r:.80}")
        lines.append(f"retry: {retry}")
    if "data" in piece:
        data = piece["data"]
        text = data if isinstance(data, str) else codec.encode(data).decode()
        lines += [f"data: {line}" for line in _lines(text)]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def _lines(text: str) -> list[str]:
    """The lines of a text as an event stream breaks them: CR, LF or both."""
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
