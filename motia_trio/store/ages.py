"""Which keys of a group were made first: what a bound on its items has to know, in memory."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from motia_trio.store.work import Item, Place

__all__ = ["Ages"]

# keys that are known in all groups together; the group that was asked for last stays whole
KEYS = 100_000


@define
class _Group:
    """When each key was made, and expires (infinity: never), in the order in which they were.

    ``asked`` is how many there were when somebody asked for them last.
    """

    keys: dict[str, tuple[int, float]]
    next_expiry: float
    asked: int = 0

    def drop_expired(self, now: float) -> int:
        """Drop what has expired, and give how many that were."""
        if now < self.next_expiry:
            return 0
        gone = [key for key, (_, expires_at) in self.keys.items() if expires_at <= now]
        for key in gone:
            del self.keys[key]
        self.next_expiry = min((at for _, at in self.keys.values()), default=inf)
        return len(gone)

    def take(self, key: str, item: Item | None) -> int:
        """Have a key as it will be, and give by how many there are more."""
        known = self.keys.get(key)
        if item is None:
            if known is not None:
                del self.keys[key]
                return -1
            return 0
        expires_at = inf if item.expires_at is None else item.expires_at
        self.next_expiry = min(self.next_expiry, expires_at)
        if known is not None and known[0] != item.made:
            del self.keys[key]  # it is another item now, and the youngest
        self.keys[key] = (item.made, expires_at)
        return known is None


class Ages:
    """The keys of groups by age, as they will be when all that was asked for is kept.

    A group is loaded when somebody asks for it, and is kept true from then on by :meth:`take`.
    ``load`` gives the key, the number of making, and the time of expiry of every item in a group.
    """

    def __init__(self, load: Callable[[str, str], Iterable[tuple[str, int, float | None]]]) -> None:
        self._load = load
        self._groups: dict[tuple[str, str], _Group] = {}  # the one that was asked for last is last
        self._count = 0

    def of(self, space: str, group: str, now: float) -> Mapping[str, object]:
        """Give the keys of a group that are live at ``now``, the oldest first."""
        place = (space, group)
        found = self._groups.pop(place, None)
        if found is None:
            found = self._loaded(space, group)
            self._count += len(found.keys)
        self._groups[place] = found
        self._count -= found.drop_expired(now)
        found.asked = len(found.keys)
        self._make_room()
        return found.keys

    def _loaded(self, space: str, group: str) -> _Group:
        rows = sorted((made, key, at) for key, made, at in self._load(space, group))
        keys = {key: (made, inf if at is None else at) for made, key, at in rows}
        return _Group(keys, min((at for _, at in keys.values()), default=inf))

    def _make_room(self) -> None:
        while self._count > KEYS:
            place = next(iter(self._groups))
            group = self._groups[place]
            if len(self._groups) == 1 and len(group.keys) <= 2 * group.asked:
                return  # else it grows, and nobody asks for it any more
            self._drop(place)

    def take(self, items: Mapping[Place, Item | None]) -> None:
        """Items will be so."""
        if not self._groups:
            return
        made: list[tuple[int, str, _Group, Item]] = []
        for (space, name, key), item in items.items():
            group = self._groups.get((space, name))
            if group is None:
                continue
            known = group.keys.get(key)
            if item is None or (known is not None and known[0] == item.made):
                self._count += group.take(key, item)
            else:
                made.append((item.made, key, group, item))
        made.sort(key=lambda each: each[0])  # in the order in which they were made
        for _, key, group, item in made:
            self._count += group.take(key, item)
        self._make_room()

    def forget(self, items: Mapping[Place, Item | None]) -> None:
        """Items will not be so: look at what there is when somebody asks."""
        if self._groups:
            for space, group, _ in items:
                self._drop((space, group))

    def _drop(self, place: tuple[str, str]) -> None:
        found = self._groups.pop(place, None)
        if found is not None:
            self._count -= len(found.keys)

    def clear(self) -> None:
        """Forget all groups."""
        self._groups.clear()
        self._count = 0
