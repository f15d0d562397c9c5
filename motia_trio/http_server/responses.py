"""From what a handler returned to what is sent. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from attrs import frozen
from pydantic import BaseModel

from motia_trio import codec

__all__ = ["Head", "NotAResponse", "Response", "error_response", "head_of", "to_response"]

Headers = list[tuple[bytes, bytes]]

# what concerns the bytes on this connection, or the trace, and is ours and the server's to say
_OF_THE_CONNECTION = frozenset({
    b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"upgrade",
    b"x-trace-id",
})  # fmt: skip


# the body of an answer that says nothing of one
_NOTHING: Any = object()


class NotAResponse(Exception):
    """What a handler returned is no response; the text says what it was."""


@frozen
class Response:
    """A status, headers as ASGI wants them, and a whole body."""

    status: int
    headers: Headers
    body: bytes


@frozen
class Head:
    """The status and the headers of an answer whose body comes in pieces."""

    status: int
    headers: Headers


def error_response(
    status: int, body: Mapping[str, Any], headers: Iterable[tuple[bytes, bytes]] = ()
) -> Response:
    """Make an answer of our own: always JSON."""
    raw = codec.encode(body)
    return Response(
        status,
        [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(raw)).encode()),
            *headers,
        ],
        raw,
    )


def to_response(result: object) -> Response:
    """Make a response of what a handler returned.

    ``{"status", "body", "headers"}`` (``status_code`` and ``statusCode`` too), or any object with
    those fields. Without ``body`` there is none; a ``body`` of None is null. Source for how bodies
    are written: motia-contract §4.

    Raises:
        NotAResponse: it is something else, or a part does not fit.
        NotEncodable: the body has no JSON form.
    """
    status, body, headers = _parts(result)
    if body is _NOTHING:
        sent = [each for each in _headers(headers) if each[0] not in _OF_THE_CONNECTION]
        if status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}:
            sent.append((b"content-length", b"0"))
        return Response(int(status), sent, b"")
    kind, raw = _encode_body(body)
    if headers is None and status == HTTPStatus.OK:  # what most answers are
        length = str(len(raw)).encode()
        return Response(200, [(b"content-type", kind), (b"content-length", length)], raw)
    sent = _headers(headers)
    empty = status in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
    if empty:
        raw = b""
    names = {name for name, _ in sent}
    if b"content-type" not in names and not empty:
        sent.append((b"content-type", kind))
    sent = [(name, value) for name, value in sent if name not in _OF_THE_CONNECTION]
    if not empty:
        sent.append((b"content-length", str(len(raw)).encode()))
    return Response(int(status), sent, raw)


def head_of(result: object) -> Head:
    """Make the head of a streamed answer of what its handler gave, without the body.

    A ``content-length`` stays: only the handler can know it.

    Raises:
        NotAResponse: there is no status, or a header does not fit.
    """
    status, _, headers = _parts(result)
    sent = _headers(headers)
    kept = [
        (name, value)
        for name, value in sent
        if name not in _OF_THE_CONNECTION or name == b"content-length"
    ]
    return Head(int(status), kept)


def _parts(result: object) -> tuple[int, object, object]:
    """Status, body and headers of what a handler returned.

    Raises:
        NotAResponse: it has no status, or one that does not fit.
    """
    status = body = headers = None
    if isinstance(result, Mapping):
        status = result.get("status")
        if status is None:
            status = _first(result.get("status_code"), result.get("statusCode"))
        body, headers = result.get("body", _NOTHING), result.get("headers")
    elif result is not None and not isinstance(result, (str, bytes, int, float, list, tuple)):
        spellings = ("status", "status_code", "statusCode")
        status = _first(*(getattr(result, name, None) for name in spellings))
        body, headers = getattr(result, "body", _NOTHING), getattr(result, "headers", None)
    if status is None:
        raise NotAResponse(
            f"the handler returned {_name(result)}; return "
            '{"status": 200, "body": …} (and "headers" if need be)'
        )
    if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
        raise NotAResponse(f"the handler returned status {status!r}; expected 200 to 599")
    return status, body, headers


def _encode_body(body: object) -> tuple[bytes, bytes]:
    """The content type that a body has by itself, and its bytes."""
    if type(body) is dict and "data" not in body:
        return b"application/json", codec.encode(body)
    if isinstance(body, str) and not hasattr(body, "value"):  # an enum's value is written as JSON
        return b"text/html; charset=utf-8", body.encode("utf-8", "replace")
    if isinstance(body, (bytes, bytearray, memoryview)):
        return b"application/octet-stream", bytes(body)
    if isinstance(body, Mapping) and body.get("type") == "Buffer" and set(body) == {"type", "data"}:
        data = body["data"]
        if isinstance(data, list) and all(type(i) is int and 0 <= i <= 255 for i in data):
            return b"application/octet-stream", bytes(data)
    return b"application/json", codec.encode(body)


def _headers(headers: object) -> Headers:
    """Headers as ASGI wants them; a value that is a list is repeated."""
    if headers is None:
        return []
    if isinstance(headers, BaseModel):
        headers = headers.model_dump()
    if not isinstance(headers, Mapping):
        raise NotAResponse(f"the handler returned headers {_name(headers)}; expected a mapping")
    sent: Headers = []
    for name, value in headers.items():
        for one in value if isinstance(value, (list, tuple)) else (value,):
            sent.append((_header_name(name), _header_value(name, one)))
    return sent


def _header_name(name: object) -> bytes:
    try:
        raw = str(name).encode("ascii").lower()
    except UnicodeEncodeError:
        raw = b""
    if not raw or any(char <= 32 or char >= 127 or char in b'()<>@,;:\\"/[]?={}' for char in raw):
        raise NotAResponse(f"the handler returned a header named {name!r}, which HTTP forbids")
    return raw


def _header_value(name: object, value: object) -> bytes:
    text = str(value).strip()
    if any((char < " " and char != "\t") or char == "\x7f" for char in text):
        raise NotAResponse(f"the handler returned a control character in header {name!r}")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        raise NotAResponse(
            f"the handler returned header {name!r} with characters that HTTP headers cannot carry"
        ) from None


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _name(value: object) -> str:
    if value is None:
        return "None"
    if isinstance(value, Mapping):
        return f"a mapping without a status (keys: {', '.join(map(str, value)) or 'none'})"
    if hasattr(type(value), "__await__"):
        return f"something to await, a {type(value).__qualname__}: is an await missing?"
    text = repr(value)
    return f"a {type(value).__qualname__}: {text if len(text) <= 60 else text[:57] + '…'}"
