"""Everything that is read from the file, on the Trio thread: each a few microseconds long."""

from __future__ import annotations

import json
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from motia_trio.messages import DeadLetter, Delivery, Failure, Message
from motia_trio.store.ids import FAN_BITS
from motia_trio.store.log import Logged
from motia_trio.store.sqlite.schema import KINDS
from motia_trio.store.sqlite.shelf import Shelf
from motia_trio.store.sqlite.writer import broken
from motia_trio.store.work import Item, Place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

__all__ = ["Reader"]

# parameters of one statement; the oldest SQLite takes 999
KEYS_AT_ONCE = 500

_MESSAGE = (
    "m.id, m.topic, m.payload, m.trace_id, m.created_at, m.sender, m.grp, m.hops, m.priority, m.key"
)
_DUE = """
    SELECT due_at, id FROM delivery
    WHERE step = ? AND head = 1 AND priority = ? AND due_at <= ? ORDER BY due_at, id LIMIT ?
"""
_LOAD = f"""
    SELECT d.id, d.trigger, d.fifo, d.attempts, d.crashes, d.expires_at, {_MESSAGE}
    FROM json_each(?) AS j CROSS JOIN delivery AS d ON d.id = j.value
    CROSS JOIN message AS m ON m.id = d.id >> {FAN_BITS}
"""  # noqa: S608 - constants of ours
_FAILURES = """
    SELECT attempt, started_at, ended_at, error, place, traceback FROM failure
    WHERE delivery = ? ORDER BY attempt
"""
_DEAD = f"""
    SELECT e.id, s.name, s.lane, e.reason, e.died_at, e.trigger, e.fifo, e.expires_at, {_MESSAGE}
    FROM dead AS e JOIN step AS s ON s.id = e.step JOIN message AS m ON m.id = e.id >> {FAN_BITS}
"""  # noqa: S608 - constants of ours
# from group to group, not through all of their keys
_GROUPS = """
    WITH RECURSIVE found(name) AS (
        SELECT min(grp) FROM item WHERE space = ?
        UNION ALL
        SELECT (SELECT min(grp) FROM item WHERE space = ? AND grp > name) FROM found
        WHERE name IS NOT NULL
    )
    SELECT name FROM found
    WHERE EXISTS (SELECT 1 FROM item WHERE space = ? AND grp = name
                  AND (expires_at IS NULL OR expires_at > ?))
"""


class Reader:
    """A connection that reads. What it tells is committed."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            told = broken(error)
            raise type(told)(f"{self._path}: could not be read: {told}") from error

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """What is read within is as it was at one moment, whatever is written meanwhile."""
        self._rows("BEGIN")
        try:
            yield
        finally:
            self._rows("COMMIT")

    # steps and what is waiting

    def last_message(self) -> int:
        """The highest number that a message ever had, 0 without one."""
        rows = self._rows("SELECT seq FROM sqlite_sequence WHERE name = 'message'")
        return int(rows[0][0]) if rows else 0

    def shelves(self) -> dict[tuple[str, str], Shelf]:
        """Every step and lane that the file knows, with nothing leased."""
        undone = self._rows("SELECT step, priority, count(*) FROM delivery GROUP BY step, priority")
        dead = dict(self._rows("SELECT step, count(*) FROM dead GROUP BY step"))
        steps = self._rows("SELECT id, name, lane FROM step")
        shelves = {
            number: Shelf(number, known=True, dead=dead.get(number, 0)) for number, _, _ in steps
        }
        for number, priority, count in undone:
            shelf = shelves[number]
            shelf.undone += count
            shelf.priorities.add(priority)
            shelf.doubt()
        return {(name, lane): shelves[number] for number, name, lane in steps}

    def due(self, step: int, priority: int, now: float, limit: int) -> list[tuple[float, int]]:
        """The due time and id of the first rows that are heads and due."""
        return self._rows(_DUE, step, priority, now, limit)

    def delayed(self, step: int, priorities: Collection[int], now: float) -> int:
        """How many rows of a step and lane are not due yet."""
        heads = """SELECT count(*) FROM delivery
                   WHERE step = ? AND head = 1 AND priority = ? AND due_at > ?"""
        behind = """SELECT count(*) FROM delivery
                    WHERE step = ? AND fifo IS NOT NULL AND head = 0 AND due_at > ?"""
        ((count,),) = self._rows(behind, step, now)
        for priority in priorities:
            count += self._rows(heads, step, priority, now)[0][0]
        return int(count)

    def head(self, step: int, fifo: str) -> tuple[int, float, bool] | None:
        """The head of a group: its id, when it is due, and whether it has been tried."""
        sql = """SELECT id, due_at, attempts + crashes > 0 FROM delivery
                 WHERE step = ? AND fifo = ? AND head = 1"""
        rows = self._rows(sql, step, fifo)
        return rows[0] if rows else None

    def load(self, step: str, lane: str, ids: Sequence[int]) -> list[Delivery]:
        """The deliveries of these ids, in their order: all of this step and lane."""
        found: dict[int, Delivery] = {}
        for row in self._rows(_LOAD, json.dumps(ids)):
            number, trigger, fifo, attempts, crashes, expires_at, *message = row
            failures = tuple(self.failures(number)) if attempts else ()
            sent = _message(message, expires_at)
            found[number] = Delivery(number, sent, step, trigger, fifo, failures, crashes, lane)
        return [found[number] for number in ids if number in found]

    def failures(self, delivery: int) -> Iterator[Failure]:
        """The failed attempts at a delivery, in order."""
        return (Failure(*row) for row in self._rows(_FAILURES, delivery))

    def undone(self, ids: Collection[int]) -> list[tuple[int, int, str | None, int]]:
        """Of these deliveries those that there are: id, step's number, fifo, crashes."""
        return self._rows(
            "SELECT d.id, d.step, d.fifo, d.crashes FROM json_each(?) AS j "
            "CROSS JOIN delivery AS d ON d.id = j.value",
            json.dumps(list(ids)),
        )

    def of_message(self, number: int) -> list[tuple[int, str, str, str | None, int]]:
        """The deliveries of a message: id, step's name, lane, fifo, attempts."""
        first = number << FAN_BITS
        return self._rows(
            "SELECT d.id, s.name, s.lane, d.fifo, d.attempts FROM delivery AS d "
            "JOIN step AS s ON s.id = d.step WHERE d.id > ? AND d.id < ?",
            first,
            first + (1 << FAN_BITS),
        )

    def sent(self, topic: str, key: str, now: float) -> str | None:
        """The id of the message that has a key of a topic."""
        sql = "SELECT message FROM sent WHERE topic = ? AND key = ? AND until > ?"
        rows = self._rows(sql, topic, key, now)
        return f"{rows[0][0]:014x}" if rows else None

    def keys_are_over(self, now: float) -> bool:
        """Whether there is a key whose time is over."""
        return bool(self._rows("SELECT 1 FROM sent WHERE until <= ? LIMIT 1", now))

    # dead letters

    def dead_letters(
        self,
        ids: Collection[int] | None,
        step: str | None,
        topic: str | None,
        died_before: float | None,
        after: int,
        limit: int | None,
    ) -> list[tuple[DeadLetter, str, int, str | None]]:
        """Dead letters that fit, by id, each with its lane, trigger and group."""
        where, parameters = ["e.id > ?"], [after]
        for clause, value in (
            (
                "e.id IN (SELECT value FROM json_each(?))",
                ids if ids is None else json.dumps([*ids]),
            ),
            ("s.name = ?", step),
            ("m.topic = ?", topic),
            ("e.died_at < ?", died_before),
        ):
            if value is not None:
                where.append(clause)
                parameters.append(value)  # type: ignore[arg-type]
        sql = f"{_DEAD} WHERE {' AND '.join(where)} ORDER BY e.id LIMIT ?"
        letters = []
        with self.one_moment():
            for row in self._rows(sql, *parameters, -1 if limit is None else limit):
                number, name, lane, reason, died_at, trigger, fifo, expires_at, *message = row
                failures = tuple(self.failures(number))
                sent = _message(message, expires_at)
                letter = DeadLetter(number, sent, name, reason, failures, died_at)
                letters.append((letter, lane, trigger, fifo))
        return letters

    # items

    def item(self, place: Place) -> Item | None:
        """The item at a place, expired or not."""
        rows = self._rows(
            "SELECT value, version, expires_at, made FROM item "
            "WHERE space = ? AND grp = ? AND key = ?",
            *place,
        )
        return Item(*rows[0]) if rows else None

    def items(self, space: str, group: str, keys: Sequence[str] | None = None) -> dict[str, Item]:
        """The items of a group by key, in order, expired or not; all, or those of some keys."""
        sql = "SELECT key, value, version, expires_at, made FROM item WHERE space = ? AND grp = ?"
        if keys is None:
            rows = self._rows(f"{sql} ORDER BY key", space, group)
        else:
            rows = []
            for at in range(0, len(keys), KEYS_AT_ONCE):
                some = keys[at : at + KEYS_AT_ONCE]
                marks = ",".join("?" * len(some))
                rows += self._rows(f"{sql} AND key IN ({marks})", space, group, *some)
        return {
            key: Item(value, version, expires_at, made)
            for key, value, version, expires_at, made in rows
        }

    def ages(self, space: str, group: str) -> list[tuple[str, int, float | None]]:
        """Each key of a group, when it was made, and when it expires or has expired."""
        sql = "SELECT key, made, expires_at FROM item WHERE space = ? AND grp = ?"
        return self._rows(sql, space, group)

    def groups(self, space: str, now: float) -> list[str]:
        """The groups with an item that is live at ``now``, in order."""
        return [name for (name,) in self._rows(_GROUPS, space, space, space, now)]

    def expired(self, limit: int, now: float) -> list[tuple[Place, Item]]:
        """The first items to have expired at ``now``."""
        rows = self._rows(
            "SELECT space, grp, key, value, version, expires_at, made FROM item "
            "WHERE expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?",
            now,
            limit,
        )
        return [(Place(*row[:3]), Item(*row[3:])) for row in rows]

    def next_expiry(self) -> float | None:
        """When the first item or key expires or has expired."""
        items = self._rows("SELECT min(expires_at) FROM item WHERE expires_at IS NOT NULL")
        keys = self._rows("SELECT min(until) FROM sent")
        return min((at for ((at,),) in (items, keys) if at is not None), default=None)

    # the log of streams

    def last_change(self) -> int:
        """The number of the last change of a stream, 0 without a first row."""
        return int(self._rows("SELECT ifnull(max(seq), 0) FROM log")[0][0])

    def changes_after(self, seq: int) -> list[Logged]:
        """What is remembered after a number, in order."""
        rows = self._rows("SELECT * FROM log WHERE seq > ? ORDER BY seq", seq)
        return [
            Logged(number, space, group, key, KINDS[kind])
            for number, space, group, key, kind in rows
        ]


def _message(row: Sequence[Any], expires_at: float | None) -> Message:
    number, topic, payload, trace_id, created_at, sender, group, hops, priority, key = row
    return Message(
        id=f"{number:014x}",
        topic=topic,
        payload=payload,
        trace_id=trace_id,
        created_at=created_at,
        sender=sender,
        group=group,
        hops=hops,
        priority=priority,
        expires_at=expires_at,
        key=key,
    )
