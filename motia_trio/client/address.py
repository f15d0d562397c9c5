"""Where to connect, and what to say there. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote, urlsplit

from attrs import evolve, field, frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Address", "TokenIn", "parse_address", "with_token"]

#: how a token goes to the server: as a sub-protocol (a header), or as ``?authToken=`` in the URL
TokenIn = Literal["protocol", "query"]

# RFC 9110: what a header's name, and a sub-protocol, may consist of
_WORD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_PORTS = {"ws": 80, "wss": 443}


@frozen
class Address:
    """A server's URL, taken apart. ``shown`` is for people: it has no query, so no token."""

    secure: bool
    host: str
    port: int
    resource: str = field(repr=False)
    shown: str
    headers: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    protocols: tuple[str, ...] = field(default=(), repr=False)

    @property
    def host_header(self) -> str:
        """What the ``Host`` header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (
            host if self.port == _PORTS["wss" if self.secure else "ws"] else f"{host}:{self.port}"
        )


def parse_address(url: str, headers: Mapping[str, str] | None = None) -> Address:
    """Take a URL apart, and check the headers that go with it.

    Raises:
        ValueError: it is no ``ws://`` or ``wss://`` URL, or a header cannot be sent.
    """
    parts = urlsplit(url)
    shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.scheme not in _PORTS:
        raise ValueError(f"a stream server's URL begins with ws:// or wss://, unlike {shown!r}")
    if not parts.hostname:
        raise ValueError(f"the URL {shown!r} names no host")
    if parts.username is not None:
        raise ValueError(f"the URL of {shown!r} has a user in it: give token= or headers=")
    return Address(
        secure=parts.scheme == "wss",
        host=parts.hostname,
        port=_PORTS[parts.scheme] if parts.port is None else parts.port,
        resource=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        shown=shown,
        headers=tuple(_header(name, value) for name, value in (headers or {}).items()),
    )


def with_token(address: Address, token: str, token_in: TokenIn) -> Address:
    """Give the same address with a token in its place.

    Raises:
        ValueError: the token cannot be a sub-protocol, or there is no such place.
    """
    if not token:
        raise ValueError("the token is empty")
    if token_in == "query":  # noqa: S105  # a place, no secret
        mark = "&" if "?" in address.resource else "?"
        return evolve(
            address, resource=f"{address.resource}{mark}authToken={quote(token, safe='')}"
        )
    if token_in != "protocol":  # noqa: S105  # as above
        raise ValueError(f'token_in is "protocol" or "query", not {token_in!r}')
    if not _WORD.fullmatch(token):
        raise ValueError(
            "the token has characters that a sub-protocol must not have (such as / = or a space); "
            'send it in the URL: token_in="query"'
        )
    return evolve(address, protocols=("Authorization", token))


def _header(name: str, value: str) -> tuple[bytes, bytes]:
    if not _WORD.fullmatch(name):
        raise ValueError(f"a header cannot be called {name!r}")
    if not _VALUE.fullmatch(value):
        raise ValueError(f"the value of the header {name!r} has characters that no header may have")
    return name.encode("ascii"), value.strip().encode("latin-1")
