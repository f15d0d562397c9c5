"""Items as they are in the file, with a bounded cache, and as they will be when all is written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motia_trio.store.ages import Ages

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from motia_trio.store.sqlite.plan import Plan
    from motia_trio.store.sqlite.reading import Reader
    from motia_trio.store.work import Item, Place

__all__ = ["Ahead", "Items"]

# bytes of values, keys and what an entry costs, that are kept in memory
CACHE_BYTES = 32 * 1024 * 1024
ENTRY_BYTES = 400


class Items:
    """What is committed: from memory where it can be, from the file else."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._cache: dict[Place, Item | None] = {}
        self._used = 0

    def read(self, place: Place, now: float) -> Item | None:
        """Give the live item at a place."""
        try:
            item = self._cache[place]
        except KeyError:
            item = self._reader.item(place)
            self.remember(place, item)
        if item is None or (item.expires_at is not None and now >= item.expires_at):
            return None
        return item

    def read_file(self, place: Place, now: float) -> Item | None:
        """Give the live item at a place, as it is in the file at this moment."""
        item = self._reader.item(place)
        return item if item is not None and item.live(now) else None

    def items(self, space: str, group: str, now: float) -> dict[str, Item]:
        """Give the live items of a group by key, in order."""
        found = self._reader.items(space, group)
        return {key: item for key, item in found.items() if item.live(now)}

    def groups(self, space: str, now: float) -> list[str]:
        """Give the names of the groups that have a live item, in order."""
        return self._reader.groups(space, now)

    def ages(self, space: str, group: str) -> list[tuple[str, int, float | None]]:
        """Give each key of a group, when it was made, and when it expires or has expired."""
        return self._reader.ages(space, group)

    def remember(self, place: Place, item: Item | None) -> None:
        """Keep what is in the file in memory too."""
        self.forget(place)
        self._cache[place] = item
        self._used += _cost(item)
        while self._used > CACHE_BYTES:
            # the one that was read from the file, or written, the longest ago
            oldest = next(iter(self._cache))
            self._used -= _cost(self._cache.pop(oldest))

    def forget(self, place: Place) -> None:
        """Read it from the file the next time."""
        if place in self._cache:
            self._used -= _cost(self._cache.pop(place))


def _cost(item: Item | None) -> int:
    return ENTRY_BYTES if item is None else ENTRY_BYTES + len(item.value)


class Ahead:
    """The items as they will be when everything that was submitted is written."""

    def __init__(self, kept: Items) -> None:
        self._kept = kept
        #: what is on its way, and with which commit
        self.places: dict[Place, tuple[Item | None, Plan]] = {}
        self._ages = Ages(self._load_ages)

    def submit(self, items: Mapping[Place, Item | None], plan: Plan) -> None:
        """Some items are on their way to the disk."""
        for place, item in items.items():
            self.places[place] = (item, plan)
        self._ages.take(items)

    def kept(self, items: Mapping[Place, Item | None], plan: Plan) -> None:
        """They are there."""
        for place, item in items.items():
            if self._drop(place, plan) and item is not None:
                self._kept.remember(place, item)
            else:  # gone, or a later one is on its way and may be in the file already
                self._kept.forget(place)

    def lost(self, items: Mapping[Place, Item | None], plan: Plan) -> None:
        """They never will be."""
        for place in items:
            self._drop(place, plan)
        self._ages.forget(items)

    def _drop(self, place: Place, plan: Plan) -> bool:
        if place in self.places and self.places[place][1] is plan:
            del self.places[place]
            return True
        return False

    def clear(self) -> None:
        """A commit failed: nothing that was on its way will be there."""
        self.places.clear()
        self._ages.clear()

    def read(self, place: Place, now: float) -> Item | None:
        """Give the item at a place."""
        if place not in self.places:
            return self._kept.read(place, now)
        item = self.places[place][0]
        return item if item is not None and item.live(now) else None

    def items(self, space: str, group: str, now: float) -> dict[str, Item]:
        """Give the items of a group by key, in order."""
        found = self._kept.items(space, group, now)
        for place, (item, _) in self.places.items():
            if (place.space, place.group) == (space, group):
                found.pop(place.key, None)
                if item is not None and item.live(now):
                    found[place.key] = item
        return dict(sorted(found.items()))

    def groups(self, space: str, now: float) -> list[str]:
        """Give the names of the groups, in order."""
        names = set(self._kept.groups(space, now))
        for group in {place.group for place in self.places if place.space == space}:
            if self.items(space, group, now):
                names.add(group)
            else:
                names.discard(group)
        return sorted(names)

    def ages(self, space: str, group: str, now: float) -> Mapping[str, object]:
        """Give the live keys of a group, the oldest first."""
        return self._ages.of(space, group, now)

    def _load_ages(self, space: str, group: str) -> Iterable[tuple[str, int, float | None]]:
        found = {key: (made, at) for key, made, at in self._kept.ages(space, group)}
        for place, (item, _) in self.places.items():
            if (place.space, place.group) == (space, group):
                if item is None:
                    found.pop(place.key, None)
                else:
                    found[place.key] = (item.made, item.expires_at)
        return ((key, *age) for key, age in found.items())
