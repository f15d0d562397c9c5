"""Rows of ``act``: each function writes one action in the order of the columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motia_trio.store.sqlite.schema import KINDS, Act

if TYPE_CHECKING:
    from motia_trio.messages import Failure, Message, Route
    from motia_trio.store.work import Change, Item, Place

__all__ = [
    "Row",
    "bury_row",
    "crashed_row",
    "delivery_row",
    "discard_row",
    "done_row",
    "failure_row",
    "first_row",
    "forget_changes_row",
    "forget_keys_row",
    "item_row",
    "key_row",
    "message_row",
    "redrive_row",
    "retry_row",
    "step_row",
]

Row = tuple[Any, ...]

# kind id step trigger fifo priority due_at expires_at now
# topic payload trace_id created_at sender grp hops key


def message_row(number: int, message: Message, step: int, route: Route, now: float) -> Row:
    """Keep a message with its first delivery."""
    return (
        int(Act.MESSAGE), number, step, route.trigger, route.fifo, message.priority, route.due_at,
        message.expires_at, now, message.topic, message.payload, message.trace_id,
        message.created_at, message.sender, message.group, message.hops, message.key,
    )  # fmt: skip


def delivery_row(number: int, message: Message, step: int, route: Route, now: float) -> Row:
    """Keep another delivery of a message."""
    return (
        int(Act.DELIVERY), number, step, route.trigger, route.fifo, message.priority, route.due_at,
        message.expires_at, now, None, None, None, None, None, None, None, None,
    )  # fmt: skip


def done_row(number: int, step: int, fifo: str | None, *, failed: bool) -> Row:
    """Drop a delivery, and its message if that was the last."""
    return (
        int(Act.DONE), number, step, None, fifo, None, None, None, None,
        None, None, None, None, None, None, 1 if failed else None, None,
    )  # fmt: skip


def retry_row(number: int, due_at: float) -> Row:
    """Count an attempt, and wait until ``due_at``."""
    return (
        int(Act.RETRY), number, None, None, None, None, due_at, None, None,
        None, None, None, None, None, None, None, None,
    )  # fmt: skip


def failure_row(number: int, failure: Failure) -> Row:
    """Keep what went wrong in an attempt."""
    return (
        int(Act.FAILURE), number, None, None, None, None, None, None, failure.ended_at,
        _writable(failure.error), _writable(failure.traceback), None, failure.started_at,
        _writable(failure.where), None,
        failure.attempt, None,
    )  # fmt: skip


def _writable(words: str) -> str:
    """Words of an error as UTF-8 can write them: names of files may have what it cannot."""
    return words if words.isascii() else words.encode(errors="backslashreplace").decode()


def bury_row(number: int, step: int, fifo: str | None, reason: str, now: float) -> Row:
    """Make a dead letter of a delivery."""
    return (
        int(Act.BURY), number, step, None, fifo, None, None, None, now,
        _writable(reason), None, None, None, None, None, None, None,
    )  # fmt: skip


def redrive_row(
    number: int, step: int, trigger: int, fifo: str | None, priority: int, due_at: float, now: float
) -> Row:
    """Make a delivery of a dead letter, as if it were new."""
    return (
        int(Act.REDRIVE), number, step, trigger, fifo, priority, due_at, None, now,
        None, None, None, None, None, None, None, None,
    )  # fmt: skip


def discard_row(number: int) -> Row:
    """Forget a dead letter."""
    return _bare(Act.DISCARD, number)


def crashed_row(number: int) -> Row:
    """Count that the process died with a delivery in hand."""
    return _bare(Act.CRASHED, number)


def _bare(act: Act, number: int) -> Row:
    return (
        int(act), number, None, None, None, None, None, None, None,
        None, None, None, None, None, None, None, None,
    )  # fmt: skip


def key_row(number: int, topic: str, key: str, until: float) -> Row:
    """Know a key of a topic for some time."""
    return (
        int(Act.KEY), number, None, None, None, None, until, None, None,
        topic, None, None, None, None, None, None, key,
    )  # fmt: skip


def forget_keys_row(limit: int, now: float) -> Row:
    """Forget keys whose time is over."""
    return (
        int(Act.FORGET), None, None, limit, None, None, None, None, now,
        None, None, None, None, None, None, None, None,
    )  # fmt: skip


def step_row(number: int, name: str, lane: str) -> Row:
    """Know a step and lane by a number."""
    return (
        int(Act.STEP), number, None, None, None, None, None, None, None,
        name, None, None, None, None, None, None, lane,
    )  # fmt: skip


def item_row(place: Place, item: Item | None, change: Change | None = None) -> Row:
    """Write an item, or remove it; in a stream, remember the change that this is."""
    number, kind = (None, None) if change is None else (change.seq, KINDS.index(change.kind))
    if item is None:
        return (
            int(Act.REMOVE), None, number, None, None, None, None, None, kind,
            place.space, None, None, None, None, place.group, None, place.key,
        )  # fmt: skip
    return (
        int(Act.PUT), item.version, number, None, None, None, None, item.expires_at, kind,
        place.space, item.value, None, None, None, place.group, item.made, place.key,
    )  # fmt: skip


def first_row(seq: int) -> Row:
    """Begin the order of the changes with a number that stands for none."""
    return (
        int(Act.REMOVE), None, seq, None, None, None, None, None, 0,
        "", None, None, None, None, "", None, "",
    )  # fmt: skip


def forget_changes_row(seq: int) -> Row:
    """Forget the changes up to a number."""
    return (
        int(Act.FORGET), seq, None, 0, None, None, None, None, None,
        None, None, None, None, None, None, None, None,
    )  # fmt: skip
