"""What a client of streams raises."""

from __future__ import annotations

from motia_trio.errors import MotiaTrioError

__all__ = ["ConnectionRefused", "Unauthorized"]


class ConnectionRefused(MotiaTrioError):
    """The server does not let this client in, and would not at the next attempt.

    ``status`` is what it answered (401: the token or what else ``authenticate`` looks at; 403: the
    origin), or None if its certificate is not to be trusted.
    """

    def __init__(self, reason: str, status: int | None = None) -> None:
        self.status = status
        super().__init__(reason)


class Unauthorized(MotiaTrioError):
    """The server does not let this client join: the stream's ``canAccess`` or ``onJoin`` refused.

    ``stream``, ``group`` and ``item`` (None for the whole group) are what was asked for.
    """

    def __init__(self, stream: str, group: str, item: str | None) -> None:
        self.stream, self.group, self.item = stream, group, item
        place = f"{stream}/{group}" if item is None else f"{stream}/{group}/{item}"
        super().__init__(
            f"the server does not let this client join {place}: "
            "canAccess or onJoin of the stream refused what the client's token stands for"
        )
