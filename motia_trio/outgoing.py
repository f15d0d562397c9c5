"""What somebody wants to publish, of any of the forms that ``enqueue`` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isfinite
from typing import Any

from attrs import frozen

from motia_trio import codec
from motia_trio.errors import nearest
from motia_trio.store import check_name

__all__ = ["ABSENT", "Outgoing", "outgoing"]

ABSENT: Any = object()

_KEYS = {
    "topic": "topic",
    "data": "data",
    "messageGroupId": "group",
    "message_group_id": "group",
    "group": "group",
    "delaySeconds": "delay",
    "delay_seconds": "delay",
    "delay": "delay",
    "at": "at",
    "key": "key",
    "priority": "priority",
    "expires": "expires",
}
# motia-contract §8 has no bound; ten thousand years are none to whoever means a delay
LONGEST = 10_000 * 366 * 86_400.0
PRIORITIES = range(-10, 11)


@frozen
class Outgoing:
    """One message to publish.

    ``delay`` is in seconds, ``at`` a wall time; with neither, the queue's own delay counts.
    ``expires`` is in seconds from now, or with ``expires_at`` a wall time.
    """

    topic: str
    payload: bytes
    group: str | None = None
    delay: float | None = None
    at: float | None = None
    key: str | None = None
    priority: int = 0
    expires: float | None = None
    expires_at: float | None = None

    def due_at(self, now: float, delay: float) -> float:
        """The wall time at which it is due, for a queue that delays by ``delay`` seconds."""
        if self.at is not None:
            return max(now, self.at)
        return now + (delay if self.delay is None else self.delay)

    def ends_at(self, now: float) -> float | None:
        """The wall time from which on it is a dead letter, None for never."""
        return self.expires_at if self.expires is None else now + self.expires


def outgoing(topic: object, data: object = ABSENT, **options: Any) -> list[Outgoing]:
    """Make what is to be published of any of the forms that ``enqueue`` takes.

    ``(topic, data, **options)``, ``({"topic": …, "data": …, **options})`` or a list of the latter.

    Raises:
        TypeError, ValueError: a form, a key or a value that does not fit.
        NotEncodable: the data has no JSON form.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(topic, str):
        return [_one(topic, None if data is ABSENT else data, **given)]
    if data is not ABSENT or given:
        raise TypeError("enqueue(message) takes no more arguments; they are keys of the message")
    messages = topic if isinstance(topic, Sequence) else [topic]
    return [_of_mapping(message) for message in messages]


def _of_mapping(message: object) -> Outgoing:
    if not isinstance(message, Mapping):
        raise TypeError(
            f"enqueue takes {{'topic': …, 'data': …}} or (topic, data), not {message!r:.80}"
        )
    fields: dict[str, Any] = {}
    for key, value in message.items():
        if key not in _KEYS:
            close = nearest(str(key), _KEYS)
            raise ValueError(
                f"enqueue does not know the key {key!r}"
                + (f"; did you mean {close!r}?" if close else "")
                + "; it knows topic, data, messageGroupId, delaySeconds, at, key, priority, expires"
            )
        if value is not None or key in {"topic", "data"}:
            if _KEYS[key] in fields:
                raise ValueError(f"enqueue is given {key!r} twice, in two spellings; give one")
            fields[_KEYS[key]] = value
    if "topic" not in fields:
        raise ValueError(f"enqueue needs a topic: {message!r:.80}")
    return _one(fields.pop("topic"), fields.pop("data", None), **fields)


def _one(
    topic: object,
    data: object,
    *,
    group: object = None,
    delay: object = None,
    at: object = None,
    key: object = None,
    priority: object = 0,
    expires: object = None,
) -> Outgoing:
    if not isinstance(topic, str) or not topic:
        raise ValueError(f"a topic is a non-empty string, not {topic!r}")
    if group is not None and not isinstance(group, str):
        raise ValueError(f"messageGroupId is a string, not {group!r}")
    if delay is not None and at is not None:
        raise ValueError("delaySeconds and at say the same thing; give one")
    whole = isinstance(priority, int) and not isinstance(priority, bool)
    if not whole or priority not in PRIORITIES:
        raise ValueError(f"priority is a whole number from -10 to 10, not {priority!r}")
    ends = isinstance(expires, datetime)
    return Outgoing(
        topic=_utf8("a topic", topic),
        payload=codec.encode(data),
        group=None if group is None else _utf8("messageGroupId", group),
        delay=None if delay is None else _seconds("delaySeconds", delay),
        at=None if at is None else _moment("at", at),
        key=None if key is None else check_name("key", key),
        priority=priority,  # type: ignore[arg-type]
        expires=None if expires is None or ends else _seconds("expires", expires),
        expires_at=_moment("expires", expires) if ends else None,
    )


def _utf8(what: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{what} must be writable as UTF-8: {text!r}") from None
    return text


def _seconds(name: str, value: object) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            seconds = float(value)
        except OverflowError:
            raise ValueError(f"{name} is more than there is time") from None
        if isfinite(seconds) and 0 <= seconds <= LONGEST:
            return seconds
    what = "a number of seconds from 0"
    what += ", or a datetime with a timezone" if name == "expires" else ""
    raise ValueError(f"{name} is {what}, not {value!r}")


def _moment(name: str, value: object) -> float:
    if not isinstance(value, datetime) or value.tzinfo is None or value.utcoffset() is None:
        raise ValueError(
            f"{name} is a datetime with a timezone, such as datetime(…, tzinfo=UTC), not {value!r}"
        )
    return value.timestamp()
