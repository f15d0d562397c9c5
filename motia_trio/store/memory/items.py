"""Items in memory, and when they expire."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from motia_trio.store.ages import Ages
from motia_trio.store.work import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from motia_trio.store.work import Item

__all__ = ["Items"]


class Items:
    """Items by space, group and key, and when they expire."""

    def __init__(self) -> None:
        self._spaces: dict[str, dict[str, dict[str, Item]]] = {}
        self._expiry: list[tuple[float, str, str, str]] = []
        self._ages = Ages(self._load_ages)

    def read(self, place: Place, now: float) -> Item | None:
        """Give the live item at a place."""
        space, group, key = place
        item = self._spaces.get(space, {}).get(group, {}).get(key)
        return item if item is not None and item.live(now) else None

    def items(self, space: str, group: str, now: float) -> dict[str, Item]:
        """Give the live items of a group by key, in order."""
        found = self._spaces.get(space, {}).get(group, {})
        return {key: found[key] for key in sorted(found) if found[key].live(now)}

    def groups(self, space: str, now: float) -> list[str]:
        """Give the names of the groups that have a live item, in order."""
        found = self._spaces.get(space, {})
        return sorted(
            name for name, items in found.items() if any(item.live(now) for item in items.values())
        )

    def ages(self, space: str, group: str, now: float) -> Mapping[str, object]:
        """Give the live keys of a group, the oldest first."""
        return self._ages.of(space, group, now)

    def _load_ages(self, space: str, group: str) -> Iterator[tuple[str, int, float | None]]:
        found = self._spaces.get(space, {}).get(group, {})
        return ((key, item.made, item.expires_at) for key, item in found.items())

    def take(self, items: Mapping[Place, Item | None]) -> None:
        """Write items, and remove those that are None."""
        self._ages.take(items)
        for place, item in items.items():
            groups = self._spaces.setdefault(place.space, {})
            keys = groups.setdefault(place.group, {})
            if item is None:
                keys.pop(place.key, None)
                if not keys:
                    del groups[place.group]
                continue
            keys[place.key] = item
            if item.expires_at is not None:
                note = (item.expires_at, place.space, place.group, place.key)
                heapq.heappush(self._expiry, note)

    def expired(self, limit: int, now: float) -> dict[Place, Item]:
        """Give up to ``limit`` expired items, the first to expire first, and forget their notes."""
        gone: dict[Place, Item] = {}
        while len(gone) < limit and self._expiry and self._expiry[0][0] <= now:
            found = self._noted(heapq.heappop(self._expiry))
            if found is not None:
                gone[found[0]] = found[1]
        return gone

    def next_expiry(self) -> float | None:
        """The time at which the next item expires or has expired, None if none will."""
        while self._expiry and self._noted(self._expiry[0]) is None:
            heapq.heappop(self._expiry)
        return self._expiry[0][0] if self._expiry else None

    def _noted(self, note: tuple[float, str, str, str]) -> tuple[Place, Item] | None:
        """The item that a note is about, if it is still so."""
        expires_at, space, group, key = note
        item = self._spaces.get(space, {}).get(group, {}).get(key)
        if item is None or item.expires_at != expires_at:
            return None
        return Place(space, group, key), item
