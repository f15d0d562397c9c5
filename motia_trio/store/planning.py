"""What writes do to items, worked out before anything is kept. Pure."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Protocol

from attrs import define, field, frozen

from motia_trio import codec
from motia_trio.errors import Conflict, ValueTooLarge
from motia_trio.store.names import is_stream
from motia_trio.store.updates import apply_ops
from motia_trio.store.work import Change, Clear, Item, Place, Put, Remove, Update

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from motia_trio.store.work import Mark, Seen, Write

__all__ = ["ItemReader", "Planned", "check_seen", "expiries", "plan_writes"]


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

    def ages(self, space: str, group: str, now: float) -> Mapping[str, object]:
        """Give the keys of a group of a stream that are live at ``now``, the oldest first."""
        ...


@frozen
class Planned:
    """What is to be written: the last state of each place (None: nothing), and every change."""

    items: Mapping[Place, Item | None]
    changes: Sequence[Change]


def plan_writes(
    writes: Sequence[Write],
    items: ItemReader,
    now: float,
    version: Callable[[], int],
    seq: Callable[[], int] = int,
) -> Planned:
    """Work out what ``writes`` do, in order.

    ``version`` gives a new version at each call, ``seq`` the number of a change of a stream (0,
    where nothing is kept yet).

    Raises:
        UpdateInvalid: an operation does not fit what is there.
        ValueTooLarge: an update makes a value of more bytes than its limit.
    """
    planning = _Planning(items, now, version, seq)
    for write in writes:
        match write:
            case Put():
                planning.put(write)
            case Remove(place):
                planning.remove(place)
            case Update():
                planning.update(write)
            case Clear(space, group):
                for key in planning.keys(space, group):
                    planning.remove(Place(space, group, key))
    return Planned(planning.new, planning.changes)


@define
class _Group:
    """What the writes so far do to the live items of one group of a stream.

    ``gone`` are those that were there before, ``made`` those that were not, the oldest first.
    ``before`` gives those that were there before, the oldest first, each once.
    """

    gone: set[str] = field(factory=set)
    made: dict[str, None] = field(factory=dict)
    before: Iterator[str] | None = None

    def note(self, key: str, *, was: bool, there: bool) -> None:
        """An item is ``there`` after a write, or not, and ``was`` before it, or was not."""
        if there and not was:
            self.made[key] = None
        elif was and not there:
            if key in self.made:
                del self.made[key]
            else:
                self.gone.add(key)

    def oldest(self) -> str:
        """Give the key that was made first, of those that are there."""
        if self.before is not None:
            for key in self.before:
                if key not in self.gone:
                    return key
        return next(iter(self.made))


@define
class _Planning:
    """Writes so far: the last state of each place, every change, and the groups of streams."""

    items: ItemReader
    now: float
    version: Callable[[], int]
    seq: Callable[[], int]
    new: dict[Place, Item | None] = field(factory=dict)
    changes: list[Change] = field(factory=list)
    groups: dict[tuple[str, str], _Group] = field(factory=dict)

    def put(self, write: Put) -> None:
        old = self._current(write.place)
        self._write(write, old, write.value, write.expires_at)

    def remove(self, place: Place) -> None:
        old = self._current(place)
        if old is not None:
            seq = self.seq() if is_stream(place.space) else 0
            self._set(place, old, None, seq)

    def update(self, write: Update) -> None:
        place = write.place
        old = self._current(place)
        value = _updated(old, write)
        if len(value) > write.limit:
            raise ValueTooLarge(
                f"update of {place.group!r}, {place.key!r}: the value would have "
                f"{len(value)} bytes, over the limit of {write.limit}; raise message_limit, or "
                "keep it in parts"
            )
        if write.check is not None:
            write.check(value)
        expires_at = write.expires_at if old is None else old.expires_at
        self._write(write, old, value, expires_at)

    def keys(self, space: str, group: str) -> list[str]:
        """Give the keys of a group, expired or not, in order."""
        found = {*self.items.items(space, group, -inf)}
        found |= {place.key for place in self.new if (place.space, place.group) == (space, group)}
        return sorted(found)

    def _current(self, place: Place) -> Item | None:
        old = self.new[place] if place in self.new else self.items.read(place, -inf)
        if old is not None and not old.live(self.now):
            # not swept yet: that it expired is a change too
            self.new[place] = None
            self.changes += expiries({place: old}, self.seq)
            return None
        return old

    def _write(
        self, write: Put | Update, old: Item | None, value: bytes, expires_at: float | None
    ) -> None:
        place = write.place
        if not is_stream(place.space):
            self._set(place, old, Item(value, self.version(), expires_at))
            return
        seq = self.seq()
        item = Item(value, self.version(), expires_at, old.made if old else seq)
        self._set(place, old, item, seq)
        if write.keep is not None and old is None and item.live(self.now):
            self._trim(place.space, place.group, write.keep)

    def _set(self, place: Place, old: Item | None, item: Item | None, seq: int = 0) -> None:
        self.new[place] = item
        was = old.value if old is not None else None
        new = item.value if item is not None else None
        self.changes.append(Change(place, was, new, seq=seq))
        if seq or is_stream(place.space):
            there = item is not None and item.live(self.now)
            self._group(place.space, place.group).note(place.key, was=old is not None, there=there)

    def _group(self, space: str, name: str) -> _Group:
        group = self.groups.get((space, name))
        if group is None:
            group = self.groups[space, name] = _Group()
        return group

    def _trim(self, space: str, name: str, keep: int) -> None:
        """Remove what is beyond ``keep`` items, the oldest first."""
        group = self._group(space, name)
        ages = self.items.ages(space, name, self.now)
        if group.before is None:
            group.before = iter(ages)
        for _ in range(len(ages) - len(group.gone) + len(group.made) - keep):
            self.remove(Place(space, name, group.oldest()))


def expiries(items: Mapping[Place, Item], seq: Callable[[], int]) -> list[Change]:
    """Give the changes that items which have expired are gone."""
    return [
        Change(place, item.value, None, expired=True, seq=seq() if is_stream(place.space) else 0)
        for place, item in items.items()
    ]


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
