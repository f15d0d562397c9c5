"""What people do to the file besides running on it: look at it, copy it, make it smaller."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import trio
from attrs import frozen

from motia_trio.errors import StoreBroken
from motia_trio.store.protocol import Counts
from motia_trio.store.sqlite.file import connect_visitor, copy_to, stoppable
from motia_trio.store.sqlite.writer import broken

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from motia_trio.store.sqlite.store import SqliteStore

__all__ = ["StoreInfo", "Vacuumed", "backup", "info", "look", "vacuum"]

_UNDONE = """
    SELECT s.name, count(*), count(CASE WHEN d.due_at > ? THEN 1 END)
    FROM delivery AS d JOIN step AS s ON s.id = d.step GROUP BY d.step
"""
_DEAD = "SELECT s.name, count(*) FROM dead AS e JOIN step AS s ON s.id = e.step GROUP BY e.step"
_ITEMS = "SELECT space, count(*) FROM item GROUP BY space ORDER BY space"


@frozen
class StoreInfo:
    """How a store's file is, at one moment. Sizes are in bytes.

    ``log_bytes`` is the size of the write-ahead log beside the file. ``free_bytes`` in the file are
    kept for what comes; :func:`vacuum` gives them back. ``items`` counts by space: ``""`` is the
    state, expired items that were not swept yet included.
    """

    path: str
    bytes: int
    log_bytes: int
    free_bytes: int
    page_bytes: int
    pages: int
    free_pages: int
    schema_version: int
    sqlite_version: str
    steps: Mapping[str, Counts]
    items: Mapping[str, int]

    @property
    def dead_letters(self) -> int:
        """How many dead letters there are, of all steps."""
        return sum(counts.dead for counts in self.steps.values())


@frozen
class Vacuumed:
    """Bytes of the file and its log before and after."""

    before: int
    after: int


async def info(store: SqliteStore, now: float) -> StoreInfo:
    """Look at the file of an open store, from a thread. A checkpoint.

    Raises:
        StoreBroken: it cannot be read.
    """
    leased = store.leased()
    return await trio.to_thread.run_sync(look, store.path, now, leased)


def look(path: Path, now: float, leased: Mapping[str, int] | None = None) -> StoreInfo:
    """Look at a store's file, whoever has it open; ``leased`` is how much of it is in hand.

    Nothing is changed, and no lock of ours taken. It takes a second for each few million rows.

    Raises:
        StoreDamaged, StoreTooNew: it is damaged, no store, or a newer version's.
        StoreBroken: there is none, or it cannot be read.
    """
    connection, version = connect_visitor(path)
    try:
        pragmas = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("page_size", "page_count", "freelist_count")
        }
        undone = connection.execute(_UNDONE, (now,)).fetchall() if version else []
        dead = connection.execute(_DEAD).fetchall() if version else []
        items = dict(connection.execute(_ITEMS).fetchall()) if version > 1 else {}
    except sqlite3.Error as error:
        raise StoreBroken(f"{path}: could not be read: {broken(error)}") from error
    finally:
        connection.close()
    leased = leased or {}
    found: dict[str, Counts] = {}  # a step has a row for each of its lanes
    for step, count in dead:
        found[step] = found.get(step, Counts()) + Counts(dead=count)
    for step, count, not_due in undone:
        found[step] = found.get(step, Counts()) + Counts(waiting=count - not_due, delayed=not_due)
    steps = {step: _in_hand(found[step], leased.get(step, 0)) for step in sorted(found)}
    return StoreInfo(
        path=str(path),
        bytes=_size(path),
        log_bytes=_size(_log(path)),
        free_bytes=pragmas["freelist_count"] * pragmas["page_size"],
        page_bytes=pragmas["page_size"],
        pages=pragmas["page_count"],
        free_pages=pragmas["freelist_count"],
        schema_version=version,
        sqlite_version=sqlite3.sqlite_version,
        steps=steps,
        items=items,
    )


def _in_hand(counts: Counts, leased: int) -> Counts:
    """Counts of which so many are in hand."""
    undone = counts.waiting + counts.delayed
    out = min(leased, undone)
    delayed = min(counts.delayed, undone - out)
    return Counts(undone - out - delayed, out, delayed, counts.dead)


async def backup(store: SqliteStore, target: str | os.PathLike[str]) -> int:
    """Copy an open store to a new file, as it is at one moment. Gives the copy's bytes.

    Work goes on meanwhile; only the write-ahead log grows until it is done. A cancellation gives it
    up, and leaves no part. A checkpoint.

    Raises:
        FileExistsError: there is something at ``target``.
        StoreBroken: it cannot be copied there.
    """

    def copy() -> int:
        try:
            return copy_to(store.path, Path(target), stop=_cancelled)
        except StoreBroken:
            trio.from_thread.check_cancelled()
            raise

    return await trio.to_thread.run_sync(copy)


def _cancelled() -> bool:
    """Whether the call of this thread was cancelled."""
    try:
        trio.from_thread.check_cancelled()
    except trio.Cancelled:  # noqa: ASYNC103 - it is raised again once the copy has ended
        return True  # noqa: ASYNC104
    return False


async def vacuum(store: SqliteStore) -> Vacuumed:
    """Rebuild the file without its free pages, and empty its log. A checkpoint.

    Readers go on; whoever writes waits until it is done. It needs room on the disk for another two
    copies of what is kept. A cancellation gives it up.

    Raises:
        StoreBroken: it could not be done; the file is as it was.
    """
    stop = threading.Event()
    before = _size(store.path) + _size(_log(store.path))

    def rebuild(connection: sqlite3.Connection) -> sqlite3.Error | None:
        # an error is given and not raised: the writer would take it for that of all who wait
        try:
            with stoppable(connection, stop.is_set):
                connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            return error
        return None

    try:
        error = await store.alone(rebuild)
    finally:
        stop.set()
    if error is not None:
        raise StoreBroken(f"{store.path}: {broken(error)}") from error
    return Vacuumed(before, _size(store.path) + _size(_log(store.path)))


def _log(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
