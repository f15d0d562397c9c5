"""What goes over the wire, each way. Pure.

Source: ``stream-wire.md``, which is what Motia's clients send and expect; ``seq``, ``since`` and
``resume`` are ours.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from attrs import define, frozen

from motia_trio import codec
from motia_trio.errors import MalformedJson
from motia_trio.store import check_name

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BadFrame", "Batch", "Frame", "Kind", "Message", "error_message", "item_data", "items_data",
    "make_message", "parse_frame",
]  # fmt: skip

Kind = Literal["sync", "resume", "create", "update", "delete", "event", "unauthorized", "error"]

# keys of an item alone, without a look into their values
_keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
# JavaScript's numbers are whole up to here
_GREATEST = 2**53


class BadFrame(ValueError):
    """A frame that no client should send. Its words go back to whoever did."""


@frozen
class Frame:
    """A client asks to join, or to leave, a group or an item of it.

    ``since``: the ``seq`` of the last message that it had, to be sent only what came after.
    """

    leaves: bool
    stream: str
    group: str
    key: str | None
    subscription: str
    since: int | None = None


def parse_frame(text: str) -> Frame:
    """Read what a client sends.

    Raises:
        BadFrame: it is no JSON, or not a ``join`` or ``leave`` as it should be.
    """
    try:
        frame = codec.decode(text)
    except MalformedJson as error:
        raise BadFrame(f"not JSON: {error}") from None
    if not isinstance(frame, dict):
        raise BadFrame('expected an object {"type": "join" or "leave", "data": {…}}')
    kind, data = frame.get("type"), frame.get("data")
    if kind not in ("join", "leave"):  # in a tuple: it may be a list
        raise BadFrame(f'unknown type {kind!r:.80}; expected "join" or "leave"')
    if not isinstance(data, dict):
        raise BadFrame(f"{kind}: data must be an object with streamName, groupId, subscriptionId")
    key = data.get("id")
    since = data.get("since")
    if since is not None and (type(since) is not int or not 0 <= since < _GREATEST):
        raise BadFrame(f"{kind}: since is the seq of a message, a whole number, not {since!r:.80}")
    return Frame(
        kind == "leave",
        intern(_name(kind, data, "streamName")),  # thousands may name the same
        intern(_name(kind, data, "groupId")),
        None if key is None else intern(_name(kind, data, "id")),
        _name(kind, data, "subscriptionId"),
        since,
    )


def _name(kind: str, data: dict[str, Any], field: str) -> str:
    if field not in data:
        raise BadFrame(f"{kind}: {field} is missing")
    try:
        return check_name(field, data[field])
    except ValueError as error:
        raise BadFrame(f"{kind}: {error}") from None


@define(eq=False)
class Message:
    """One message, encoded once for all who get it.

    ``text`` is UTF-8. ``place`` is the stream, the group and the key that it is about (None: the
    group). ``frame`` is for the edge that sends it, which keeps there what it makes of ``text``.
    """

    text: bytes
    kind: Kind
    seq: int
    place: tuple[str, str, str | None]
    kind_at: int = 0
    frame: bytes | None = None

    @property
    def is_change(self) -> bool:
        """Whether it tells of an item as it is from now on: a later one may take its place."""
        return self.kind in _CHANGES

    def as_create(self) -> Message:
        """Give this update as what it is to whoever never heard of the item."""
        at = self.kind_at  # all three words have six letters
        text = self.text[:at] + b"create" + self.text[at + 6 :]
        return Message(text, "create", self.seq, self.place, at)


@define(eq=False)
class Batch:
    """Messages about one group that go out together; ``frames`` is the edge's, as of a message."""

    messages: list[Message]
    frames: bytes | None = None


_CHANGES = frozenset({"create", "update", "delete"})


def make_message(
    kind: Kind,
    data: bytes | None,
    *,
    stamp: int,
    seq: int,
    stream: str,
    group: str,
    key: str | None,
    subscription: str | None = None,
) -> Message:
    """Put a message together. ``data`` is JSON, as :func:`item_data` and its like give it.

    ``stamp`` is its time in microseconds: on the wire it is in milliseconds, with decimals if
    several fall into one. ``subscription`` is the one whose join is answered.
    """
    whole, part = divmod(stamp, 1000)
    time = b"%d.%03d" % (whole, part) if part else b"%d" % whole
    head = b'{"type":"stream","timestamp":%b,"seq":%d,"streamName":%b,"groupId":%b,' % (
        time, seq, codec.encode(stream), codec.encode(group),
    )  # fmt: skip
    if key is not None:
        head += b'"id":%b,' % codec.encode(key)
    if subscription is not None:
        head += b'"subscriptionId":%b,' % codec.encode(subscription)
    head += b'"event":{"type":"'
    if kind == "event":
        text = b'%bevent","event":%b}}' % (head, data or b"null")
    elif kind == "unauthorized":
        text = head + b'unauthorized"}}'
    else:
        text = b'%b%b","data":%b}}' % (head, kind.encode(), data if data is not None else b"null")
    return Message(text, kind, seq, (stream, group, key), len(head))


def error_message(words: str, subscription: str | None = None) -> Message:
    """Tell a client what was wrong with what it sent, and which of its joins will not be."""
    text = b'{"type":"error","message":%b}' % codec.encode(words)
    if subscription is not None:
        text = text[:-1] + b',"subscriptionId":%b}' % codec.encode(subscription)
    return Message(text, "error", 0, ("", "", None))


def item_data(raw: bytes, key: str) -> bytes:
    """Give an item as clients get it: with its ``id``, if it is an object without one.

    Source: motia-contract §7. One that has another ``id`` keeps it.
    """
    if raw[:1] != b"{":
        return raw
    try:
        names = _keys.decode(raw)
    except msgspec.DecodeError:  # keys that are no text of UTF-8: nothing of ours writes such
        return raw
    if "id" in names:
        return raw
    return b'{"id":%b%b%b' % (codec.encode(key), b"," if names else b"", raw[1:])


def items_data(items: Iterable[tuple[str, bytes]]) -> bytes:
    """Give the items of a group, by key, as clients get them."""
    return b"[%b]" % b",".join([item_data(raw, key) for key, raw in items])
