"""What a group of a stream is at one change, or what became of it since an earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motia_trio.store.log import missed_of
from motia_trio.store.protocol import Snapshot
from motia_trio.store.work import Place

if TYPE_CHECKING:
    from motia_trio.store.log import Log, Logged
    from motia_trio.store.sqlite.reading import Reader
    from motia_trio.store.work import Item

__all__ = ["take_snapshot"]


def take_snapshot(
    reader: Reader,
    log: Log,
    space: str,
    group: str,
    key: str | None,
    now: float,
    since: int | None,
) -> Snapshot:
    """Read it from the file, all at one moment; what is logged from memory, as far as it is there.

    The file may be ahead of the log in memory: a commit is written before the Trio thread hears.
    """
    with reader.one_moment():
        last = reader.last_change()
        newer = reader.changes_after(log.last) if last > log.last else []
        if since is None or not (since in log or any(row.seq == since for row in newer)):
            return Snapshot(last, _live(_items(reader, space, group, key), now))
        rows = log.after(since, space, group, key)
        rows += [row for row in newer if row.seq > since and _concerns(row, space, group, key)]
        items = reader.items(space, group, [*{row.key: None for row in rows}])
    return Snapshot(last, {}, missed_of(rows, items, now))


def _concerns(row: Logged, space: str, group: str, key: str | None) -> bool:
    return (row.space, row.group) == (space, group) and key in {None, row.key}


def _items(reader: Reader, space: str, group: str, key: str | None) -> dict[str, Item]:
    if key is None:
        return reader.items(space, group)
    item = reader.item(Place(space, group, key))
    return {} if item is None else {key: item}


def _live(items: dict[str, Item], now: float) -> dict[str, Item]:
    return {key: item for key, item in items.items() if item.live(now)}
