"""The order of all changes of streams: their numbers, the last of them, and who is told."""

from __future__ import annotations

from collections import deque
from itertools import islice
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from motia_trio.store.protocol import Missed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from motia_trio.store.protocol import Follow
    from motia_trio.store.work import Change, Item, Kind

__all__ = ["LOG_ROWS", "Log", "Logged", "missed_of", "time_of"]

# changes that a store remembers for those who come back
LOG_ROWS = 10_000


def time_of(seq: int) -> float:
    """Give a wall time, in seconds, that is not before the one for which a number was planned."""
    return (seq // 1000 + 1) / 1000


class Logged(NamedTuple):
    """What is remembered of a change: not its values. The first of all has no ``kind``."""

    seq: int
    space: str
    group: str
    key: str
    kind: Kind | None


class Log:
    """The last changes that are kept, about ``rows`` of them, in order; at least the newest.

    Numbers are planned by :meth:`next`, before it is known whether they will be kept; those that
    are not kept are never used.
    """

    def __init__(self, rows: int, kept: Iterable[Logged] = ()) -> None:
        self._rows = max(rows, 1)
        self._spare = max(self._rows // 10, 16)
        self._places: dict[int, tuple[str, str]] = {}  # by seq, in order
        self._groups: dict[tuple[str, str], deque[tuple[int, str, Kind | None]]] = {}
        #: is told what is kept
        self.follow: Follow | None = None
        #: the number of the last change that is kept; 0: there is none, and no first row either
        self.last = 0
        for row in kept:
            self._note(row)
        self._planned = self.last

    def next(self, now: float) -> int:
        """Plan the number of a change, greater than all before: microseconds by the wall clock."""
        self._planned = max(self._planned + 1, int(now * 1_000_000))
        return self._planned

    def begin(self, seq: int) -> None:
        """Have a first row, which is no change: somebody may read the store before there is one."""
        self._note(Logged(seq, "", "", "", None))

    def keep(self, changes: Sequence[Change], forget: int | None = None) -> None:
        """They are kept, and seen by readers: tell. What is up to ``forget`` is forgotten."""
        for change in changes:
            space, group, key = change.place
            self._note(Logged(change.seq, space, group, key, change.kind))
        if forget is not None:
            self._forget(forget)
        if self.follow is not None:
            self.follow(changes)

    def excess(self) -> int | None:
        """The number up to which rows are too many, if they are so many that it is worth it."""
        beyond = len(self._places) - self._rows
        if beyond < self._spare:
            return None
        return next(islice(self._places, beyond - 1, None))

    def __contains__(self, seq: int) -> bool:
        return seq in self._places

    def after(self, seq: int, space: str, group: str, key: str | None) -> list[Logged]:
        """Give the changes of a group, or of one key, after one that is in here, in order."""
        found: list[Logged] = []
        for each, name, kind in reversed(self._groups.get((space, group), ())):
            if each <= seq:
                break
            if key is None or name == key:
                found.append(Logged(each, space, group, name, kind))
        found.reverse()
        return found

    def _note(self, row: Logged) -> None:
        seq, space, group, key, kind = row
        place = (space, group)
        self._places[seq] = place
        rows = self._groups.get(place)
        if rows is None:
            rows = self._groups[place] = deque()
        rows.append((seq, key, kind))
        self.last = seq

    def _forget(self, seq: int) -> None:
        gone = []
        for each in self._places:
            if each > seq:
                break
            gone.append(each)
        for each in gone:
            place = self._places.pop(each)
            rows = self._groups[place]
            rows.popleft()
            if not rows:
                del self._groups[place]


def missed_of(rows: Iterable[Logged], items: Mapping[str, Item], now: float) -> list[Missed]:
    """Merge the changes of a group by key; ``items`` are as they are now.

    An item that was removed and made again is told of twice: that it is gone where it first was. So
    who hears only the beginning has nothing that was not there any more at the last that it heard,
    and may go on from there.
    """
    last: dict[str, int] = {}
    there: dict[str, bool] = {}
    removed: dict[str, int] = {}
    for row in rows:
        there.setdefault(row.key, row.kind != "create")
        if row.kind == "delete":
            removed.setdefault(row.key, row.seq)
        last[row.key] = row.seq
    missed: list[Missed] = []
    for key, seq in last.items():
        item = items.get(key)
        if item is not None and not item.live(now):
            item = None
        anew = not there[key] or key in removed
        if there[key] and (anew or item is None):
            missed.append(Missed(removed.get(key, seq), key, "delete", None))
        if item is not None:
            missed.append(Missed(seq, key, "create" if anew else "update", item))
    missed.sort(key=attrgetter("seq"))
    return missed
