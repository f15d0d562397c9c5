"""What a store is asked to keep in one step, and what it answers. Pure values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from attrs import field, frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from motia_trio.messages import Delivery, Message, Origin, Route
    from motia_trio.store.updates import Op

__all__ = [
    "Change",
    "Clear",
    "Committed",
    "Item",
    "Kind",
    "Mark",
    "Place",
    "Put",
    "Remove",
    "Seen",
    "Update",
    "Work",
    "Write",
]


class Place(NamedTuple):
    """Where an item is: a ``key`` in a ``group`` of a ``space``.

    The space ``""`` is the state; any other is the stream of that name.
    """

    space: str
    group: str
    key: str


@frozen
class Item:
    """A value that is kept: JSON, with the ``version`` that every write renews.

    From the wall time ``expires_at`` on it is gone for every reader. ``made`` is the
    :attr:`Change.seq` of the change that made it, in a stream: the older, the smaller.
    """

    value: bytes = field(repr=False)
    version: int
    expires_at: float | None = None
    made: int = field(default=0, eq=False, repr=False)

    def live(self, now: float) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


@frozen
class Put:
    """Keep a value at a place, until ``expires_at`` (None: until it is removed).

    One that has passed is a change too, and the item is gone at once.

    ``keep``: items that this group of a stream may have. Where this makes one more, those that were
    made first are removed in the same step, each a change after this one. What has expired does not
    count, and the state and the spaces of the runtime have no such bound.
    """

    place: Place
    value: bytes = field(repr=False)
    expires_at: float | None = None
    keep: int | None = None


@frozen
class Remove:
    """Remove what is at a place, if anything."""

    place: Place


@frozen
class Update:
    """Apply operations to the value at a place; its expiry stays.

    ``limit``: bytes it may have. ``check`` is called with what it would be, and may refuse it.
    ``expires_at`` and ``keep`` are as those of :class:`Put`, for an item that this makes.
    """

    place: Place
    ops: Sequence[Op]
    limit: int
    check: Callable[[bytes], object] | None = field(default=None, eq=False, repr=False)
    expires_at: float | None = None
    keep: int | None = None


@frozen
class Clear:
    """Remove every item of a group, in the order of the keys."""

    space: str
    group: str


Write: TypeAlias = Put | Remove | Update | Clear

# what a change did to its item
Kind: TypeAlias = Literal["create", "update", "delete"]

Mark: TypeAlias = "int | Mapping[str, int] | frozenset[str]"


@frozen
class Seen:
    """Something that was read, and how it was: what a transaction relies on.

    With a key, ``mark`` is the item's version (0: nothing there). With a group alone, the versions
    by key. With neither, the names of the groups.
    """

    space: str
    group: str | None
    key: str | None
    mark: Mark


@frozen
class Change:
    """What a write did to one item. ``old`` and ``new`` are JSON, None where there is nothing.

    ``expired``: its time did it, and nobody's write. The first write to a place whose item has
    expired, and was not swept, makes two changes: that it expired, and what was written.

    ``seq`` is its place in the order of all changes of streams: it is greater than those of all
    changes that were kept before, by this process or an earlier one, and less than 2**53. It is 0
    in the state, and in the spaces of the runtime. The numbers have gaps.
    """

    place: Place
    old: bytes | None = field(repr=False)
    new: bytes | None = field(repr=False)
    expired: bool = field(default=False, eq=False)
    seq: int = field(default=0, eq=False)

    @property
    def kind(self) -> Kind:
        """What it did to the item."""
        if self.new is None:
            return "delete"
        return "create" if self.old is None else "update"


@frozen
class Work:
    """Everything that is to be kept together: all of it or nothing.

    ``messages`` come with a route for each step that gets them; ``writes`` take effect in order;
    ``done`` acknowledges a delivery. ``seen`` must still be so, or nothing is kept. ``origin`` is
    what brought the writes about, for the messages that follow from them.
    """

    messages: Sequence[tuple[Message, Sequence[Route]]] = ()
    writes: Sequence[Write] = ()
    seen: Sequence[Seen] = ()
    done: Delivery | None = None
    origin: Origin | None = None


@frozen
class Committed:
    """What was kept.

    ``taken`` are the deliveries that were leased to the caller, in the order of the routes.
    ``duplicates`` says which messages were not kept because their topic knows their key: the id
    that was not used, and the id of the message that has the key. ``changes`` are those of the
    writes, in order.
    """

    taken: Sequence[Delivery] = ()
    duplicates: Mapping[str, str] = field(factory=dict)
    changes: Sequence[Change] = ()
