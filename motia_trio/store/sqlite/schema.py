"""The tables of the file, how they came to be, and the rows through which they are changed.

Everything that is written goes through one temporary view, ``act``: each row that is inserted into
it is one action, and the view's triggers carry it out. So a whole batch of actions is one
statement, which is its own transaction, and the writer gives Python's lock away once for all of
it: with a statement for each action, it would wait for the lock at each (5 ms when the Trio thread
is busy).
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from motia_trio.store.ids import FAN_BITS

if TYPE_CHECKING:
    from motia_trio.store.work import Kind

__all__ = ["ACTIONS", "APPLICATION_ID", "COLUMNS", "KINDS", "MIGRATIONS", "Act"]

# "MoTr": says in the file's header whose it is
APPLICATION_ID = 0x4D6F5472

# user_version n is the schema after the first n of these; each runs once, in a transaction
MIGRATIONS = (
    # 1: messages. A delivery's id holds its message's id in the high bits, so neither needs an
    # index to find the other. A row of `step` is one lane of a step, which is what is leased from.
    # `head`: may be leased when it is due; others stand behind in a group.
    # AUTOINCREMENT: the highest id is known when its message is gone.
    """
    CREATE TABLE step (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL, lane TEXT NOT NULL DEFAULT 'queue',
        UNIQUE (name, lane)
    );
    CREATE TABLE message (
        id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT NOT NULL, payload BLOB NOT NULL,
        trace_id TEXT NOT NULL, created_at REAL NOT NULL, sender TEXT, grp TEXT,
        hops INTEGER NOT NULL, priority INTEGER NOT NULL, key TEXT
    );
    CREATE TABLE delivery (
        id INTEGER PRIMARY KEY, step INTEGER NOT NULL, trigger INTEGER NOT NULL, fifo TEXT,
        head INTEGER NOT NULL, priority INTEGER NOT NULL, due_at REAL NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0, crashes INTEGER NOT NULL DEFAULT 0, expires_at REAL
    );
    CREATE INDEX delivery_due ON delivery (step, priority, due_at, id) WHERE head = 1;
    CREATE INDEX delivery_fifo ON delivery (step, fifo, head, due_at, id)
        WHERE fifo IS NOT NULL;
    CREATE TABLE failure (
        delivery INTEGER NOT NULL, attempt INTEGER NOT NULL, started_at REAL NOT NULL,
        ended_at REAL NOT NULL, error TEXT NOT NULL, place TEXT NOT NULL, traceback TEXT NOT NULL,
        PRIMARY KEY (delivery, attempt)
    );
    CREATE TABLE dead (
        id INTEGER PRIMARY KEY, step INTEGER NOT NULL, trigger INTEGER NOT NULL, fifo TEXT,
        reason TEXT NOT NULL, died_at REAL NOT NULL, expires_at REAL
    );
    CREATE TABLE sent (
        topic TEXT NOT NULL, key TEXT NOT NULL, message INTEGER NOT NULL, until REAL NOT NULL
    );
    CREATE UNIQUE INDEX sent_key ON sent (topic, key);
    CREATE INDEX sent_until ON sent (until);
    """,
    # 2: items of the state and of streams
    """
    CREATE TABLE item (
        id INTEGER PRIMARY KEY, space TEXT NOT NULL, grp TEXT NOT NULL, key TEXT NOT NULL,
        value BLOB NOT NULL, version INTEGER NOT NULL, expires_at REAL
    );
    CREATE UNIQUE INDEX item_place ON item (space, grp, key);
    CREATE INDEX item_expiry ON item (expires_at) WHERE expires_at IS NOT NULL;
    """,
    # 3: the order of all changes of streams, the last of them; and since when an item is there.
    # `kind`: see `KINDS`
    """
    ALTER TABLE item ADD COLUMN made INTEGER NOT NULL DEFAULT 0;
    UPDATE item SET made = id WHERE space <> '';
    CREATE TABLE log (
        seq INTEGER PRIMARY KEY, space TEXT NOT NULL, grp TEXT NOT NULL, key TEXT NOT NULL,
        kind INTEGER NOT NULL
    );
    """,
)

# what a row of `log` stands for: the first of all for nothing
KINDS: tuple[Kind | None, ...] = (None, "create", "update", "delete")


class Act(IntEnum):
    """What a row of ``act`` does, and which columns it needs besides ``id`` (a delivery's)."""

    NOTHING = 0
    MESSAGE = 1  # id (a message's), all of the message, and all of its first delivery
    DELIVERY = 2  # step trigger fifo priority due_at expires_at now
    DONE = 3  # step fifo; hops: whether there are failures
    RETRY = 4  # due_at; the failure
    FAILURE = 5  # attempt in hops, its times in created_at and now, error place traceback
    BURY = 6  # reason in topic, now
    REDRIVE = 7  # step trigger fifo priority due_at now
    DISCARD = 8
    PUT = 9  # id (the new version), topic (space), grp, key, payload, expires_at; made in hops
    REMOVE = 10  # topic (space), grp, key; both, of a stream: seq in step, kind in now
    KEY = 11  # id (a message's), topic, key, due_at (until when)
    FORGET = 12  # keys: now, trigger (how many at the most); changes: id (up to which seq)
    CRASHED = 13
    STEP = 14  # id (the number of a step and lane), topic (the step's name), key (the lane's)


COLUMNS = (
    "kind", "id", "step", "trigger", "fifo", "priority", "due_at", "expires_at", "now", "topic",
    "payload", "trace_id", "created_at", "sender", "grp", "hops", "key",
)  # fmt: skip

_FIRST = f"(new.id >> {FAN_BITS} << {FAN_BITS})"
_INSERT = """
    INSERT INTO delivery (id, step, trigger, fifo, head, priority, due_at, expires_at)
    VALUES ({id}, new.step, new.trigger, new.fifo,
            NOT EXISTS (SELECT 1 FROM delivery
                        WHERE step = new.step AND fifo = new.fifo AND head = 1),
            new.priority, new.due_at, new.expires_at);
"""
# the head of a group that has never been due gives way to what is due before it
_GIVE_WAY = """
    UPDATE delivery SET head = 0
    WHERE step = new.step AND fifo = new.fifo AND head = 1 AND attempts = 0 AND crashes = 0
          AND due_at > new.now AND (due_at, id) > (new.due_at, {id});
"""
_MESSAGE = """
    INSERT INTO message VALUES (new.id, new.topic, new.payload, new.trace_id, new.created_at,
                                new.sender, new.grp, new.hops, new.priority, new.key);
"""
_PROMOTE = """
    UPDATE delivery SET head = 1
    WHERE id = (SELECT id FROM delivery WHERE step = new.step AND fifo = new.fifo AND head = 0
                ORDER BY due_at, id LIMIT 1)
          AND NOT EXISTS (SELECT 1 FROM delivery
                          WHERE step = new.step AND fifo = new.fifo AND head = 1);
"""
_DROP_MESSAGE = f"""
    DELETE FROM message
    WHERE id = new.id >> {FAN_BITS}
          AND NOT EXISTS (SELECT 1 FROM delivery
                          WHERE id > {_FIRST} AND id < {_FIRST} + {1 << FAN_BITS})
          AND NOT EXISTS (SELECT 1 FROM dead
                          WHERE id > {_FIRST} AND id < {_FIRST} + {1 << FAN_BITS});
"""  # noqa: S608 - constants of ours
_FIRST_ID = f"(new.id << {FAN_BITS} | 1)"
_DROP = "DELETE FROM delivery WHERE id = new.id;"
_BURY = """
    INSERT INTO dead SELECT id, step, trigger, fifo, new.topic, new.now, expires_at
    FROM delivery WHERE id = new.id;
"""
# not a trigger of its own: each costs something at every row, also of the state
_LOG = """
    INSERT INTO log SELECT new.step, new.topic, new.grp, new.key, new.now
    WHERE new.step IS NOT NULL;
"""
_DROP_FAILURES = "DELETE FROM failure WHERE delivery = new.id;"


def _trigger(name: str, when: str, *body: str) -> str:
    return (
        f"CREATE TEMP TRIGGER act_{name} INSTEAD OF INSERT ON act WHEN {when} "
        f"BEGIN {' '.join(body)} END;"
    )


# made anew in every connection that writes
ACTIONS = "\n".join(
    (
        f"CREATE TEMP VIEW act AS SELECT {', '.join(f'NULL AS {name}' for name in COLUMNS)};",
        _trigger(
            "message",
            f"new.kind = {Act.MESSAGE} AND new.fifo IS NULL",
            _MESSAGE,
            _INSERT.format(id=_FIRST_ID),
        ),
        _trigger(
            "message_fifo",
            f"new.kind = {Act.MESSAGE} AND new.fifo IS NOT NULL",
            _MESSAGE,
            _GIVE_WAY.format(id=_FIRST_ID),
            _INSERT.format(id=_FIRST_ID),
        ),
        _trigger(
            "delivery",
            f"new.kind = {Act.DELIVERY}",
            _GIVE_WAY.format(id="new.id"),
            _INSERT.format(id="new.id"),
        ),
        # the order in which triggers fire is nobody's promise: each does all of one thing
        _trigger("done", f"new.kind = {Act.DONE} AND new.fifo IS NULL", _DROP, _DROP_MESSAGE),
        _trigger(
            "done_fifo",
            f"new.kind = {Act.DONE} AND new.fifo IS NOT NULL",
            _DROP,
            _DROP_MESSAGE,
            _PROMOTE,
        ),
        _trigger(
            "done_failures", f"new.kind = {Act.DONE} AND new.hops IS NOT NULL", _DROP_FAILURES
        ),
        _trigger(
            "retry",
            f"new.kind = {Act.RETRY}",
            "UPDATE delivery SET due_at = new.due_at, attempts = attempts + 1 WHERE id = new.id;",
        ),
        _trigger(
            "failure",
            f"new.kind = {Act.FAILURE}",
            """INSERT OR REPLACE INTO failure
               VALUES (new.id, new.hops, new.created_at, new.now, new.topic, new.sender,
                       new.payload);""",
        ),
        _trigger("bury", f"new.kind = {Act.BURY} AND new.fifo IS NULL", _BURY, _DROP),
        _trigger(
            "bury_fifo", f"new.kind = {Act.BURY} AND new.fifo IS NOT NULL", _BURY, _DROP, _PROMOTE
        ),
        _trigger(
            "redrive",
            f"new.kind = {Act.REDRIVE}",
            _GIVE_WAY.format(id="new.id"),
            _INSERT.format(id="new.id"),
            "DELETE FROM dead WHERE id = new.id;",
            _DROP_FAILURES,
        ),
        _trigger(
            "discard",
            f"new.kind = {Act.DISCARD}",
            "DELETE FROM dead WHERE id = new.id;",
            _DROP_FAILURES,
            _DROP_MESSAGE,
        ),
        _trigger(
            "put",
            f"new.kind = {Act.PUT}",
            """INSERT INTO item (space, grp, key, value, version, expires_at, made)
               VALUES (new.topic, new.grp, new.key, new.payload, new.id, new.expires_at, new.hops)
               ON CONFLICT (space, grp, key) DO UPDATE
               SET value = excluded.value, version = excluded.version,
                   expires_at = excluded.expires_at, made = excluded.made;""",
            _LOG,
        ),
        _trigger(
            "remove",
            f"new.kind = {Act.REMOVE}",
            "DELETE FROM item WHERE space = new.topic AND grp = new.grp AND key = new.key;",
            _LOG,
        ),
        _trigger(
            "key",
            f"new.kind = {Act.KEY}",
            """INSERT INTO sent (topic, key, message, until)
               VALUES (new.topic, new.key, new.id, new.due_at)
               ON CONFLICT (topic, key) DO UPDATE
               SET message = excluded.message, until = excluded.until;""",
        ),
        _trigger(
            "forget",
            f"new.kind = {Act.FORGET}",
            """DELETE FROM sent WHERE rowid IN
               (SELECT rowid FROM sent WHERE until <= new.now LIMIT new.trigger);""",
            "DELETE FROM log WHERE seq <= new.id;",
        ),
        _trigger(
            "step",
            f"new.kind = {Act.STEP}",
            "INSERT OR IGNORE INTO step VALUES (new.id, new.topic, new.key);",
        ),
        _trigger(
            "crashed",
            f"new.kind = {Act.CRASHED}",
            "UPDATE delivery SET crashes = crashes + 1 WHERE id = new.id;",
        ),
    )
)  # fmt: skip
