"""What a client says before it is let in, and what it is told if it is not. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from attrs import frozen

from motia_trio import codec
from motia_trio.data import Data

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["AUTHORIZATION", "Refusal", "handshake_of", "is_welcome"]

# the sub-protocol that says: the next one is a token. Source: stream-wire.md
AUTHORIZATION = "Authorization"


@frozen
class Refusal:
    """Why a client is not let in: an HTTP status, and words for it."""

    status: int
    error: str

    @property
    def body(self) -> bytes:
        """JSON."""
        return codec.encode({"error": self.error})

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What goes with the body."""
        headers = [(b"content-type", b"application/json")]
        return [*headers, (b"retry-after", b"1")] if self.status == 503 else headers


def handshake_of(headers: Data, target: str, protocols: Sequence[str], address: str | None) -> Data:
    """Give what ``authenticate`` is called with.

    Keys: ``headers`` (lower-case names), ``path``, ``query`` and ``query_params`` (a text, or a
    list where a name is repeated), ``address`` and ``addr``, and ``token``: what stands behind
    ``Authorization`` among the sub-protocols, in ``?authToken=``, or in a header ``Authorization:
    Bearer …``. None where there is nothing.
    """
    parts = urlsplit(target)
    query = Data(_grouped(parse_qsl(parts.query, keep_blank_values=True)))
    return Data(
        method="GET",
        path=unquote(parts.path) or "/",
        headers=headers,
        query=query,
        query_params=query,
        address=address,
        addr=address,
        token=_token(headers, query, protocols),
    )


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    return found


def _token(headers: Data, query: Data, protocols: Sequence[str]) -> str | None:
    if len(protocols) > 1 and protocols[0] == AUTHORIZATION:
        return protocols[1]
    found = dict.get(query, "authToken")
    if found is not None:
        return found[0] if isinstance(found, list) else str(found)
    scheme, _, token = dict.get(headers, "authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def is_welcome(origin: str | None, origins: Sequence[str], host: str | None = None) -> bool:
    """Whether pages of an origin may connect. What is no browser names none, and may.

    A page that came from the very ``host`` which it connects to may always.
    """
    if origin is None or "*" in origins or origin.rstrip("/") in origins:
        return True
    return host is not None and origin.partition("://")[2].lower() == host.lower()
