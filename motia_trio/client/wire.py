"""Frames and messages: what the client says, and what it hears. Pure.

The same wire as that of Motia's own clients; ``seq``, ``since``, ``resume``, and the
``subscriptionId`` of an answer are ours, and a server without them is understood, too.
"""

from __future__ import annotations

from typing import Any

import msgspec
from attrs import field, frozen

from motia_trio import codec

__all__ = [
    "ANSWERS",
    "CHANGES",
    "Heard",
    "ServerError",
    "UnknownFrame",
    "join_frame",
    "leave_frame",
    "parse_message",
]

#: kinds of messages that tell how one item is from now on
CHANGES = frozenset({"create", "update", "delete"})
#: kinds of messages that answer a join
ANSWERS = frozenset({"sync", "resume", "unauthorized"})


class UnknownFrame(ValueError):
    """A frame that says nothing this client knows."""


@frozen
class ServerError:
    """The server says that something sent by this client was wrong: a join, if it says which."""

    message: str
    subscription: str | None = None


@frozen
class Heard:
    """One message about a group of a stream, or about an item of it (``key``).

    ``data`` is JSON: an item, the items of a group, or an event of ``send``. ``seq`` is its place
    in the order of all changes, None from a server that does not tell; ``since`` is what a
    ``resume`` answers. ``subscription`` is the one whose join is answered, None from a server that
    does not tell, and in what is no answer.
    """

    kind: str
    stream: str
    group: str
    key: str | None
    seq: int | None
    data: bytes = field(repr=False)
    since: int | None = None
    subscription: str | None = None


class _Event(msgspec.Struct):
    type: str
    data: msgspec.Raw = msgspec.Raw(b"null")
    event: msgspec.Raw = msgspec.Raw(b"null")


class _Message(msgspec.Struct, rename="camel"):
    type: str
    stream_name: str | None = None
    group_id: str | None = None
    id: str | None = None
    seq: int | None = None
    event: _Event | None = None
    message: str = ""
    subscription_id: str | None = None


class _Since(msgspec.Struct):
    since: int


_message = msgspec.json.Decoder(_Message)
_since = msgspec.json.Decoder(_Since)


def parse_message(text: str | bytes) -> Heard | ServerError:
    """Read what the server sends.

    Raises:
        UnknownFrame: it is no JSON, or nothing that a stream server says.
    """
    if isinstance(text, bytes):
        raise UnknownFrame(f"a binary frame of {len(text)} bytes")
    try:
        message = _message.decode(text)
        if message.type == "error":
            return ServerError(message.message, message.subscription_id)
        if message.type != "stream":
            raise UnknownFrame(f"a message of type {message.type!r:.80}")
        event = message.event
        if event is None or message.stream_name is None or message.group_id is None:
            raise UnknownFrame("a message without event, streamName or groupId")
        return Heard(
            event.type,
            message.stream_name,
            message.group_id,
            message.id,
            message.seq,
            bytes(event.event if event.type == "event" else event.data),
            _since.decode(event.data).since if event.type == "resume" else None,
            message.subscription_id if event.type in ANSWERS else None,
        )
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise UnknownFrame(str(error)) from None


def join_frame(
    subscription: str, stream: str, group: str, key: str | None, since: int | None
) -> str:
    """Ask to be sent a group, or an item of it: all of it, or what came after ``since``."""
    data = _data(subscription, stream, group, key)
    if since is not None:
        data["since"] = since
    return codec.encode({"type": "join", "data": data}).decode()


def leave_frame(subscription: str, stream: str, group: str, key: str | None) -> str:
    """Ask to be sent no more for a subscription."""
    data = _data(subscription, stream, group, key)
    return codec.encode({"type": "leave", "data": data}).decode()


def _data(subscription: str, stream: str, group: str, key: str | None) -> dict[str, Any]:
    data = {"streamName": stream, "groupId": group, "subscriptionId": subscription}
    if key is not None:
        data["id"] = key
    return data
