"""Reads many items, a page at a time, without the Trio thread and whoever has the file open."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from motia_trio.errors import StoreBroken
from motia_trio.store.sqlite.file import connect_visitor
from motia_trio.store.sqlite.writer import broken

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["groups_after", "items_after"]

_LIVE = "(expires_at IS NULL OR expires_at > ?)"
_GROUPS = f"""
    SELECT DISTINCT grp FROM item WHERE space = ? AND grp > ? AND {_LIVE} ORDER BY grp LIMIT ?
"""  # noqa: S608 - our own words
_ITEMS = f"""
    SELECT key, value FROM item WHERE space = ? AND grp = ? AND key > ? AND {_LIVE}
    ORDER BY key LIMIT ?
"""  # noqa: S608 - as above


def groups_after(path: Path, space: str, after: str, limit: int, now: float) -> list[str]:
    """Give the first ``limit`` names of groups that come after ``after``.

    Raises:
        StoreBroken: it cannot be read.
    """
    connection, _ = connect_visitor(path)
    try:
        return [name for (name,) in connection.execute(_GROUPS, (space, after, now, limit))]
    except sqlite3.Error as error:
        raise StoreBroken(f"{path}: could not be read: {broken(error)}") from error
    finally:
        connection.close()


def items_after(
    path: Path, space: str, group: str, after: str, limit: int, most: int, now: float
) -> list[tuple[str, bytes]]:
    """Give the first ``limit`` keys after ``after`` with their values, of about ``most`` bytes.

    Raises:
        StoreBroken: it cannot be read.
    """
    connection, _ = connect_visitor(path)
    found: list[tuple[str, bytes]] = []
    size = 0
    try:
        for key, value in connection.execute(_ITEMS, (space, group, after, now, limit)):
            found.append((key, value))
            size += len(value)
            if size >= most:
                break
    except sqlite3.Error as error:
        raise StoreBroken(f"{path}: could not be read: {broken(error)}") from error
    finally:
        connection.close()
    return found
