"""What is written of the clients of streams."""

from __future__ import annotations

import logging
from typing import Any

from motia_trio.events import (
    StreamClientClosed,
    StreamClientRefused,
    StreamConnectionFailed,
    StreamHookFailed,
    StreamJoinRefused,
)

__all__ = ["USUAL", "tell_stream"]

# close codes that say nothing of the client: it left, it was gone, or we stop
USUAL = frozenset({1000, 1001, 1005, 1006})


def tell_stream(
    event: (
        StreamClientRefused
        | StreamClientClosed
        | StreamJoinRefused
        | StreamHookFailed
        | StreamConnectionFailed
    ),
) -> tuple[int, str, dict[str, Any]]:
    """Give the level, the message and the fields of an event."""
    match event:
        case StreamClientRefused():
            fields: dict[str, Any] = {"client": event.address}
            if event.detail:
                fields["detail"] = event.detail
            return logging.INFO, f"stream client refused, {event.status}: {event.reason}", fields
        case StreamClientClosed():
            fields = {"client": event.address}
            if event.waiting:
                fields["not_sent"] = event.waiting
            level = logging.DEBUG if event.code in USUAL else logging.INFO
            if event.lagged:
                level = logging.WARNING
            return level, f"stream client closed, {event.code}: {event.reason}", fields
        case StreamJoinRefused():
            fields = {"client": event.address, "detail": event.detail}
            return logging.INFO, f"stream join refused: {event.reason}", fields
        case StreamHookFailed():
            fields = {"error": event.error, "where": event.where}
            if event.traceback:
                fields["traceback"] = event.traceback
            if event.stream is None:  # to raise is one of the ways in which it says no
                return logging.WARNING, f"{event.hook} failed: the client is refused", fields
            then = "" if event.hook == "onLeave" else ": the client is refused"
            return logging.ERROR, f"{event.hook} of stream {event.stream!r} failed{then}", fields
    fields = {"client": event.address, "error": event.error}
    if event.traceback:
        fields["traceback"] = event.traceback
    return logging.ERROR, "a connection of the streams failed; the others go on", fields
