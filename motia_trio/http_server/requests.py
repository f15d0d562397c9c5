"""From what ASGI delivers to the request that a handler sees. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motia_trio.data import Data, Request
from motia_trio.http_server.refusals import MalformedQuery
from motia_trio.http_server.texts import pairs_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from motia_trio.http_server.asgi import Scope
    from motia_trio.http_server.bodies import Body
    from motia_trio.http_server.proxies import Caller

__all__ = ["headers_of", "path_of", "to_request"]


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> Data:
    """Headers by lower-case name; repeated ones joined by ``", "`` (cookies by ``"; "``)."""
    headers: dict[str, Any] = {}
    for name_raw, value_raw in raw:
        name, value = name_raw.decode("latin-1").lower(), value_raw.decode("latin-1")
        if name in headers:
            value = headers[name] + ("; " if name == "cookie" else ", ") + value
        headers[name] = value
    return Data(headers)


def path_of(scope: Scope) -> str:
    """The path as it was sent, below the place where this app is mounted."""
    raw: bytes | None = scope.get("raw_path")
    path = raw.partition(b"?")[0].decode("latin-1") if raw else scope["path"]
    if not path.startswith("/") and "://" in path:
        # the absolute form, which a server has to take. Source: RFC 9112, 3.2.2
        path = "/" + path.partition("://")[2].partition("/")[2]
    mount: str = scope.get("root_path", "").rstrip("/")
    if mount and (path == mount or path.startswith(mount + "/")):
        path = path[len(mount) :]
    return path or "/"


def to_request(
    scope: Scope,
    *,
    path: str,
    params: dict[str, str],
    headers: Data,
    body: Body,
    caller: Caller,
    trace_id: str,
) -> Request:
    """Put a request together.

    Raises:
        MalformedQuery: it cannot be read.
    """
    query: bytes = scope.get("query_string", b"")
    try:
        pairs = pairs_of(query.decode("latin-1"), errors="replace") if query else Data()
    except ValueError as error:
        raise MalformedQuery(str(error)) from None
    return Request(
        {
            "body": body.value,
            "headers": headers,
            "path_params": Data(params),
            "query_params": pairs,
            "method": scope["method"],
            "path": path,
            "trace_id": trace_id,
            "client": caller.client,
            "scheme": caller.scheme,
            "host": caller.host,
        },
        body.raw,
        reader=body.reader,
    )
