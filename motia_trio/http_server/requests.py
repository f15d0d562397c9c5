"""From what ASGI delivers to the request that a handler sees."""

from __future__ import annotations

import codecs
import re
from email.message import Message as MimeHeader
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

import trio

from motia_trio import codec
from motia_trio.data import Data, Request, wrap
from motia_trio.errors import MalformedJson

if TYPE_CHECKING:
    from collections.abc import Iterable

    from motia_trio.http_server.asgi import Receive, Scope

__all__ = [
    "BodyTooLarge",
    "BodyTooSlow",
    "ClientGone",
    "Malformed",
    "Unsupported",
    "headers_of",
    "parse_body",
    "read_body",
    "to_request",
]


class BodyTooLarge(Exception):
    """The body is over the limit."""


class BodyTooSlow(Exception):
    """The body took too long."""


class ClientGone(Exception):
    """The client left before its request was whole."""


class Malformed(Exception):
    """The body is not what its content type says."""


class Unsupported(Exception):
    """The body is in a form that is not understood; the text names it."""


async def read_body(receive: Receive, headers: Data, limit: int, seconds: float) -> bytes:
    """Read a whole body of at most ``limit`` bytes that comes within ``seconds``. A checkpoint.

    Raises:
        BodyTooLarge, BodyTooSlow, ClientGone: as they say. A body that is declared too large is
            not read.
    """
    declared = dict.get(headers, "content-length")
    if declared is not None and declared.isdigit() and int(declared[:20]) > limit:
        raise BodyTooLarge
    if declared is None and "transfer-encoding" not in headers:
        return await _read(receive, limit)  # there is nothing to wait for
    with trio.move_on_after(seconds):
        return await _read(receive, limit)
    raise BodyTooSlow


async def _read(receive: Receive, limit: int) -> bytes:
    event = await receive()
    parts = bytearray()
    while True:
        if event["type"] == "http.disconnect":
            raise ClientGone
        parts += event.get("body", b"")
        if len(parts) > limit:
            raise BodyTooLarge
        if not event.get("more_body", False):
            return bytes(parts)
        event = await receive()


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> Data:
    """Headers by lower-case name; repeated ones joined by ``", "`` (cookies by ``"; "``)."""
    headers: dict[str, Any] = {}
    for name_raw, value_raw in raw:
        name, value = name_raw.decode("latin-1").lower(), value_raw.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    return Data(headers)


def parse_body(raw: bytes, headers: Data, *, empty: Any) -> Any:
    """Decode a body by its content type: JSON, urlencoded, text; anything else stays bytes.

    Raises:
        Malformed: it is not what the type says.
        Unsupported: multipart, or a content encoding.
    """
    if not raw:
        return empty
    encoding = dict.get(headers, "content-encoding", "identity")
    if encoding.lower() != "identity":
        raise Unsupported(f"content-encoding {encoding}")
    declared = dict.get(headers, "content-type", "")
    kind = declared.partition(";")[0].strip().lower()
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return wrap(codec.decode(raw))
        except MalformedJson as error:
            raise Malformed(str(error)) from None
    if kind == "application/x-www-form-urlencoded":
        try:
            return _pairs(raw.decode("utf-8"), errors="strict")
        except ValueError as error:
            raise Malformed(str(error)) from None
    if kind.startswith("text/"):
        try:
            return raw.decode(_charset(declared))
        except (ValueError, LookupError) as error:
            raise Malformed(str(error)) from None
    if kind.startswith("multipart/"):
        raise Unsupported(kind)
    return raw


def to_request(
    scope: Scope,
    *,
    path: str,
    params: dict[str, str],
    headers: Data,
    body: Any,
    raw_body: bytes,
    trace_id: str,
) -> Request:
    """Put a request together."""
    query: bytes = scope.get("query_string", b"")
    return Request(
        {
            "body": body,
            "headers": headers,
            "path_params": Data(params),
            "query_params": _pairs(query.decode("latin-1"), errors="replace") if query else Data(),
            "method": scope["method"],
            "path": path,
            "trace_id": trace_id,
        },
        raw_body,
    )


def _pairs(text: str, *, errors: str) -> Data:
    """Names and values of a query or form: str, or a list where a name is repeated."""
    pairs: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, errors=errors):
        if name not in pairs:
            pairs[name] = value
        elif isinstance(pairs[name], list):
            pairs[name].append(value)
        else:
            pairs[name] = [pairs[name], value]
    return Data(pairs)


# what texts are written in; Python has codecs beside these that are slow, or no charset at all
_CHARSETS = re.compile(r"utf-?\d+|ascii|iso8859|latin|cp125|koi8|big5|gb|euc|shift|windows")


def _charset(content_type: str) -> str:
    """The charset of a content type.

    Raises:
        LookupError: nobody writes text in it.
    """
    header = MimeHeader()
    header["content-type"] = content_type
    name = codecs.lookup(header.get_content_charset("utf-8")).name
    if not _CHARSETS.match(name):
        raise LookupError(f"not a charset for text: {name}")
    return name
