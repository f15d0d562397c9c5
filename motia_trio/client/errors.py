"""What a client of streams raises."""

from __future__ import annotations

from motia_trio.errors import MotiaTrioError

__all__ = ["ConnectionRefused", "NotJoined", "Unauthorized"]


class ConnectionRefused(MotiaTrioError):
    """The server does not let this client in, and would not at the next attempt.

    ``status`` is what it answered (401: the token or what else ``authenticate`` looks at; 403: the
    origin), or None if its certificate is not to be trusted.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(reason)


class NotJoined(MotiaTrioError):
    """The server has no such stream, or this client follows too much already.

    ``stream``, ``group`` and ``item`` (None for the whole group) are what was asked for.
    """

    def __init__(self, stream: str, group: str, item: str | None, reason: str) -> None:
        self.stream, self.group, self.item = stream, group, item
        self.reason = reason
        place = f"{stream}/{group}" if item is None else f"{stream}/{group}/{item}"
        super().__init__(f"{place} cannot be followed: {reason}")


class Unauthorized(NotJoined):
    """The server does not let this client join: ``canAccess`` or ``onJoin`` refused."""

    def __init__(self, stream: str, group: str, item: str | None) -> None:
        reason = "canAccess or onJoin of the stream refused the client's token, or its want of one"
        super().__init__(stream, group, item, reason)
