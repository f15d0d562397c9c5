"""What writes do to items, worked out before anything is kept. Pure."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from motia_trio import codec
from motia_trio.errors import Conflict, ValueTooLarge
from motia_trio.store.updates import apply_ops
from motia_trio.store.work import Change, Clear, Item, Place, Put, Remove, Update

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from motia_trio.store.work import Mark, Seen, Write

__all__ = ["ItemReader", "Planned", "check_seen", "plan_writes"]


class ItemReader(Protocol):
    """The items as they will be when everything that was asked for before is kept."""

    def read(self, place: Place, now: float) -> Item | None:
        """Give the item at a place that is live at ``now`` (-infinity: also an expired one)."""
        ...

    def items(self, space: str, group: str, now: float) -> Mapping[str, Item]:
        """Give the items of a group that are live at ``now``."""
        ...

    def groups(self, space: str, now: float) -> Sequence[str]:
        """Give the groups that have an item that is live at ``now``."""
        ...


@frozen
class Planned:
    """What is to be written: the last state of each place (None: nothing), and every change."""

    items: Mapping[Place, Item | None]
    changes: Sequence[Change]


def plan_writes(
    writes: Sequence[Write], items: ItemReader, now: float, version: Callable[[], int]
) -> Planned:
    """Work out what ``writes`` do, in order. ``version`` gives a new version at each call.

    Raises:
        UpdateInvalid: an operation does not fit what is there.
        ValueTooLarge: an update makes a value of more bytes than its limit.
    """
    new: dict[Place, Item | None] = {}
    changes: list[Change] = []

    def current(place: Place) -> Item | None:
        old = new[place] if place in new else items.read(place, -inf)
        if old is not None and not old.live(now):  # not swept yet: that it expired is a change too
            new[place] = None
            changes.append(Change(place, old.value, None, expired=True))
            return None
        return old

    def change(place: Place, item: Item | None) -> None:
        old = current(place)
        if old is None and item is None:
            return
        new[place] = item
        changes.append(Change(place, old.value if old else None, item.value if item else None))

    for write in writes:
        match write:
            case Put(place, value, expires_at):
                change(place, Item(value, version(), expires_at))
            case Remove(place):
                change(place, None)
            case Update(place, limit=limit):
                old = current(place)
                value = _updated(old, write)
                if len(value) > limit:
                    raise ValueTooLarge(
                        f"update of {place.group!r}, {place.key!r}: the value would have "
                        f"{len(value)} bytes, over the limit of {limit}; raise message_limit, or "
                        "keep it in parts"
                    )
                if write.check is not None:
                    write.check(value)
                change(place, Item(value, version(), old.expires_at if old else None))
            case Clear(space, group):
                keys = set(items.items(space, group, -inf))
                keys |= {place.key for place in new if (place.space, place.group) == (space, group)}
                for key in sorted(keys):
                    change(Place(space, group, key), None)
    return Planned(new, changes)


def _updated(old: Item | None, write: Update) -> bytes:
    value = codec.decode(old.value) if old else None
    return codec.encode(apply_ops(value, write.ops))


def check_seen(seen: Sequence[Seen], items: ItemReader, now: float) -> None:
    """See whether what a transaction relies on is still so.

    Raises:
        Conflict: it is not; says what has changed.
    """
    for each in seen:
        mark: Mark
        if each.group is None:
            what, mark = (
                f"the groups of {each.space or 'state'!r}",
                frozenset(items.groups(each.space, now)),
            )
        elif each.key is None:
            what = f"group {each.group!r}"
            mark = {
                key: item.version for key, item in items.items(each.space, each.group, now).items()
            }
        else:
            what = f"{each.group!r}, {each.key!r}"
            item = items.read(Place(each.space, each.group, each.key), now)
            mark = item.version if item else 0
        if mark != each.mark:
            raise Conflict(f"{what} was changed meanwhile")
