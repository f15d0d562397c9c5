"""What ``send`` of a stream is given: to whom an event goes, and what it says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from motia_trio import codec
from motia_trio.errors import ValueTooLarge
from motia_trio.store import check_name

__all__ = ["channel_of", "event_json"]

_CHANNEL = {"groupId": "group", "group_id": "group", "id": "id"}


def channel_of(channel: object) -> tuple[str, str | None]:
    """Give the group, and the id of the item or None: ``"room"``, ``{"groupId": …, "id"?: …}``.

    Raises:
        TypeError, ValueError: a form or a name that does not fit.
    """
    if isinstance(channel, str):
        return check_name("group", channel), None
    if not isinstance(channel, Mapping):
        raise TypeError(
            f'send takes a group, or {{"groupId": …, "id": …}}, and an event; not {channel!r:.80}'
        )
    given: dict[str, Any] = {}
    for key, value in channel.items():
        if key not in _CHANNEL:  # an event for one item must not go to the whole group
            raise ValueError(f"send: {key!r:.80} is not known; whom it is for is groupId and id")
        if value is not None:
            given[_CHANNEL[key]] = value
    group = check_name("groupId", given.get("group"))
    return group, check_name("id", given["id"]) if "id" in given else None


def event_json(event: object, limit: int) -> bytes:
    """Give an event as JSON: ``{"type": a string, "data": any value, None without one}``.

    Raises:
        TypeError, ValueError: a form that does not fit.
        NotEncodable: the data has no JSON form; the error names the path.
        ValueTooLarge: it is over ``limit`` bytes.
    """
    if not isinstance(event, Mapping):
        raise TypeError(f'send: an event is {{"type": …, "data": …}}, not {event!r:.80}')
    kind = event.get("type")
    if not isinstance(kind, str) or not kind:
        raise ValueError(f"send: the type of an event is a non-empty string, not {kind!r:.80}")
    for key in event:
        if key not in {"type", "data"}:
            raise ValueError(f"send: {key!r:.80} is not known; an event has type and data")
    raw = codec.encode({"type": kind, "data": event.get("data")})
    if len(raw) > limit:
        raise ValueTooLarge(
            f"event {kind!r:.80}: {len(raw)} bytes are over the limit of {limit}; raise "
            "message_limit, or keep an item and send its id"
        )
    return raw
