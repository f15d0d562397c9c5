"""What can be wrong with a request before its handler has a say. Each knows its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motia_trio.http_server.responses import Response, error_response

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "BodyTooLarge",
    "BodyTooSlow",
    "ClientGone",
    "Malformed",
    "MalformedQuery",
    "Refusal",
    "Unsupported",
]


class Refusal(Exception):
    """A request is refused; ``response`` is what its client is told, the text is for the log."""

    status = 400

    @property
    def response(self) -> Response:
        """The answer."""
        return error_response(self.status, self.told, self.headers)

    @property
    def told(self) -> Mapping[str, Any]:
        """What the client is told."""
        return {"error": "Malformed request body"}

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of the answer."""
        return []


class BodyTooLarge(Refusal):
    """The body is over ``limit`` bytes, as it came or after it was decompressed."""

    status = 413

    def __init__(self, limit: int) -> None:
        self.limit = limit
        super().__init__(f"the body is over {limit} bytes")

    @property
    def told(self) -> Mapping[str, Any]:
        """The error and the limit."""
        return {"error": "Request body too large", "limit": self.limit}


class BodyTooSlow(Refusal):
    """The body took too long."""

    status = 408

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the body did not come within {seconds:g} s")

    @property
    def told(self) -> Mapping[str, Any]:
        """The error."""
        return {"error": "Request timed out"}


class Malformed(Refusal):
    """The body is not what its headers say."""


class MalformedQuery(Refusal):
    """The query cannot be read."""

    @property
    def told(self) -> Mapping[str, Any]:
        """The error."""
        return {"error": "Malformed query"}


class Unsupported(Refusal):
    """The body is in a form that is not understood; the text names it."""

    status = 415

    def __init__(self, what: str, *, accept_encoding: bool = False) -> None:
        self._accept_encoding = accept_encoding
        super().__init__(what)

    @property
    def told(self) -> Mapping[str, Any]:
        """The error, and what it is about."""
        return {"error": "Unsupported media type", "type": str(self)}

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What would be understood."""
        return [(b"accept-encoding", b"gzip, deflate")] if self._accept_encoding else []


class ClientGone(Exception):
    """The client left before its request was whole, or before it had its answer."""
