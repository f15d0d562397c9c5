"""Who is in a group of a stream, and what each of them follows of it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motia_trio.streams.wire import Batch, Message

__all__ = ["Member", "Room", "Shown", "Subscription"]

# bytes of items that are kept as clients get them, of all groups together
SHOWN_BYTES = 16 * 1024 * 1024


class Member(Protocol):
    """A connection, as the hub sees it."""

    def push(self, message: Message) -> None:
        """Have a message sent. Returns at once, and never raises."""
        ...

    def push_batch(self, batch: Batch) -> None:
        """Have messages sent, one after the other. Returns at once, and never raises."""
        ...

    def answer(self, messages: Sequence[Message]) -> None:
        """Have a join answered. Returns at once, and never raises."""
        ...


@define(eq=False)
class Subscription:
    """What one join follows: a group of a stream, or one item of it."""

    id: str
    stream: str
    group: str
    key: str | None
    #: what its last join asked to go on from
    since: int | None = None
    #: whether the member is sent its changes; and whether it has been left
    begun: bool = False
    over: bool = False


@define(eq=False)
class Room:
    """Members of a group: counted, as one may join several times.

    ``present`` are all who have joined; ``members`` follow the group, and ``items`` has those who
    follow an item of it, by key. In these two are only such whose join was answered.
    """

    present: dict[Member, int] = field(factory=dict)
    members: dict[Member, int] = field(factory=dict)
    items: dict[str, dict[Member, int]] = field(factory=dict)
    #: the last change here, told or not
    changed: int = 0
    #: the items as clients get them, as they were at a change
    data: bytes = b""
    data_seq: int = -1

    def is_fresh(self, told: int) -> bool:
        """Whether the items are as ``data`` has them, to whoever has been told so far."""
        return self.changed <= self.data_seq <= told

    def whom(self, key: str | None) -> list[Member]:
        """Who is told of something about a key, or about the group: each once."""
        whom = list(self.members)
        if key is not None and key in self.items:
            whom += [member for member in self.items[key] if member not in self.members]
        return whom

    def enter(self, member: Member) -> None:
        """Count a member in, which is not told of anything yet."""
        _count_up(self.present, member)

    def follow(self, member: Member, key: str | None) -> None:
        """Have a member told of the group, or of an item."""
        _count_up(self.members if key is None else self.items.setdefault(key, {}), member)

    def leave(self, member: Member, subscription: Subscription) -> None:
        """Count a member out, and tell it of nothing more that it followed, if it did."""
        if subscription.begun:
            key = subscription.key
            followers = self.members if key is None else self.items[key]
            _count_down(followers, member)
            if key is not None and not followers:
                del self.items[key]
        _count_down(self.present, member)


class Shown:
    """The items of groups as clients get them, kept for the next who joins: a bounded number."""

    def __init__(self, limit: int = SHOWN_BYTES) -> None:
        self._limit = limit
        self._rooms: dict[Room, None] = {}
        #: bytes that are kept
        self.bytes = 0

    def keep(self, room: Room, data: bytes, seq: int) -> None:
        """Keep what a group is at a change. What was kept the longest ago may have to go."""
        self.drop(room)
        room.data, room.data_seq = data, seq
        self._rooms[room] = None
        self.bytes += len(data)
        while self.bytes > self._limit:
            self.drop(next(iter(self._rooms)))

    def drop(self, room: Room) -> None:
        """Keep it no more."""
        if room in self._rooms:
            del self._rooms[room]
            self.bytes -= len(room.data)
            room.data, room.data_seq = b"", -1


def _count_up(counted: dict[Member, int], member: Member) -> None:
    counted[member] = counted.get(member, 0) + 1


def _count_down(counted: dict[Member, int], member: Member) -> None:
    if counted[member] == 1:
        del counted[member]
    else:
        counted[member] -= 1
