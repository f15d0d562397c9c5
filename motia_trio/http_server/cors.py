"""Who may read our answers from a page of another origin. Source: the Fetch standard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from motia_trio.data import Data
    from motia_trio.settings import Settings

__all__ = ["Cors"]

Headers = list[tuple[bytes, bytes]]


@frozen
class Cors:
    """What the settings say about other origins."""

    origins: frozenset[str]
    credentials: bool
    headers: bytes | None
    expose: bytes | None
    max_age: bytes

    @classmethod
    def of(cls, settings: Settings) -> Cors | None:
        """Read it from the settings; None when it is off."""
        if not settings.cors_origins:
            return None
        return cls(
            frozenset(origin.rstrip("/").lower() for origin in settings.cors_origins),
            settings.cors_credentials,
            ", ".join(settings.cors_headers).encode() or None,
            ", ".join(settings.cors_expose).encode() or None,
            str(settings.cors_max_age).encode(),
        )

    def answer(self, headers: Data) -> Headers:
        """The headers of any answer that is not one to a preflight."""
        sent = self._allowed(headers)
        if self.expose is not None and sent and sent[0][0] != b"vary":
            sent.append((b"access-control-expose-headers", self.expose))
        return sent

    def preflight(self, headers: Data, methods: tuple[str, ...]) -> Headers | None:
        """The headers of the answer to a preflight; None if the request is none.

        ``methods`` are those of the route, none if there is no route: then a browser is to see the
        404 that the request itself gets, rather than an error about origins.
        """
        asked = dict.get(headers, "access-control-request-method")
        if asked is None or not dict.__contains__(headers, "origin"):
            return None
        sent = self._allowed(headers)
        if not sent or sent[0][0] == b"vary":
            return []  # not one of the origins: there is nothing to allow
        allowed = ", ".join(methods) or asked
        sent.append((b"access-control-allow-methods", allowed.encode("latin-1")))
        wanted = dict.get(headers, "access-control-request-headers")
        if self.headers is not None:
            sent.append((b"access-control-allow-headers", self.headers))
        elif wanted is not None:
            sent.append((b"access-control-allow-headers", wanted.encode("latin-1")))
        sent.append((b"access-control-max-age", self.max_age))
        return sent

    def _allowed(self, headers: Data) -> Headers:
        if "*" in self.origins:
            # the same for everybody, so always sent: an answer out of a cache fits all, too
            return [(b"access-control-allow-origin", b"*")]
        origin = dict.get(headers, "origin")
        if origin is None or origin.lower() not in self.origins:
            return [(b"vary", b"Origin")]
        sent = [(b"access-control-allow-origin", origin.encode("latin-1")), (b"vary", b"Origin")]
        if self.credentials:
            sent.append((b"access-control-allow-credentials", b"true"))
        return sent
