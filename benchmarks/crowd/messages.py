"""What is sent for a change, and what a client asks first: the same on every side.

An item has 200 bytes as JSON. Its mark has fixed places: the number of the change, by which the
crowd sees that it gets all of them in order, and the time (of `time.monotonic_ns`, which all
processes of a machine share) when its publisher began.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping

__all__ = ["DIGITS", "JOIN", "MARK", "SYNC", "TIME", "item_of", "key_of", "message_of"]

SIZE = 200  # bytes of an item as JSON, its id included
DIGITS = 8  # of a change's number …
TIME = 20  # … and of its time, after a space
MARK = b'"mark":"'
STREAM, GROUP = "chat", "room"


def _compact(value: Mapping[str, object]) -> str:
    return json.dumps(value, separators=(",", ":"))


def key_of(number: int) -> str:
    """The item's id: each change makes a new one, as in a chat, so none can be merged."""
    return f"m{number:0{DIGITS}}"


def _item(number: int, text: str) -> dict[str, str]:
    return {"mark": f"{number:0{DIGITS}} {time.monotonic_ns():0{TIME}}", "text": text}


TEXT = "x" * (SIZE - len(_compact(_item(0, "") | {"id": key_of(0)})))


def item_of(number: int) -> dict[str, str]:
    """The item of this change, begun now; without its id."""
    return _item(number, TEXT)


def _stream(event: Mapping[str, object], at: float) -> str:
    return _compact(
        {
            "type": "stream",
            "timestamp": at,
            "streamName": STREAM,
            "groupId": GROUP,
            "seq": time.time_ns() // 1000,
            "event": event,
        }
    )


def message_of(number: int) -> str:
    """The message of this change, begun now, as a side that keeps nothing sends it."""
    data = item_of(number) | {"id": key_of(number)}
    return _stream({"type": "create", "data": data}, time.time_ns() // 1_000_000)


#: what a client asks: to follow the group
JOIN = _compact(
    {
        "type": "join",
        "data": {"streamName": STREAM, "groupId": GROUP, "subscriptionId": "0" * 36},
    }
)
#: what the others answer, who have no items
SYNC = _stream({"type": "sync", "data": []}, 0)
