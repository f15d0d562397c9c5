"""What a follower makes of the messages it hears: a group's items, one item, or events. Pure.

States are kept as JSON and read when they are taken, so that whoever has one may change it, and
shares it with nobody.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
from attrs import field, frozen

from motia_trio import codec
from motia_trio.client.wire import UnknownFrame
from motia_trio.errors import MalformedJson

if TYPE_CHECKING:
    from motia_trio.client.wire import Heard

__all__ = ["EventsView", "GroupView", "ItemView", "StreamEvent", "View"]

T_co = TypeVar("T_co", covariant=True)


class View(Protocol[T_co]):
    """What of a place is of interest, and whether there is something that was not taken yet."""

    #: whether what was missed while there was no connection is known from a ``resume``
    resumes: bool

    @property
    def fresh(self) -> bool:
        """Whether there is something to take."""
        ...

    def take(self) -> T_co:
        """Take what is there, while ``fresh``."""
        ...

    def sync(self, message: Heard) -> None:
        """Have all of it, as it is now.

        Raises:
            UnknownFrame: the message's data is not what a sync has.
        """
        ...

    def change(self, message: Heard, /) -> bool:
        """Have one item change: ``create``, ``update`` or ``delete``.

        Gives whether that could be done: False, if only a sync can tell what there is now.
        """
        ...

    def event(self, message: Heard, /) -> int:
        """Have an event of ``send``. Gives how many had to be dropped for it."""
        ...


class _Named(msgspec.Struct):
    id: str | int | None = None


_named = msgspec.json.Decoder(_Named)
_items = msgspec.json.Decoder(list[msgspec.Raw])


def _name(data: bytes | msgspec.Raw) -> str | None:
    """Tell the id that an item carries, if it carries one."""
    try:
        name = _named.decode(data).id
    except (msgspec.DecodeError, RecursionError):
        return None
    return None if name is None else str(name)


class GroupView:
    """The items of a group in the order of the last sync; what was made since then comes last.

    An update of an item that is not here makes it, and a create of one that is here replaces it:
    what a resume tells is merged, and the connection may have been lost before all of it came.

    In a sync only the id that an item carries tells which it is, and an item that is no object
    carries none. So where there are such, changes cannot be applied.
    """

    resumes = True

    def __init__(self) -> None:
        self._items: dict[str, bytes] = {}
        self._nameless: list[bytes] = []
        self._synced = False
        self.fresh = False

    def take(self) -> list[Any]:
        """Take the newest state. What it was in between is not kept."""
        self.fresh = False
        return [codec.decode(raw) for raw in (*self._items.values(), *self._nameless)]

    def sync(self, message: Heard) -> None:
        """Have other items than before: fresh only if they are."""
        try:
            raws = [bytes(raw) for raw in _items.decode(message.data)]
        except (msgspec.DecodeError, RecursionError) as error:
            raise UnknownFrame(f"a sync of a group without a list of items: {error}") from None
        before = [*self._items.values(), *self._nameless]
        self._items, self._nameless = {}, []
        for raw in raws:
            name = _name(raw)
            if name is None:
                self._nameless.append(raw)
            else:
                self._items[name] = raw
        if not self._synced or before != [*self._items.values(), *self._nameless]:
            self.fresh = True
        self._synced = True

    def change(self, message: Heard, /) -> bool:
        """Have one item made, replaced or taken away."""
        name = _name(message.data)
        if name is None or (self._nameless and name not in self._items):
            return False
        if message.kind == "delete":
            if self._items.pop(name, None) is not None:
                self.fresh = True
        elif self._items.get(name) != message.data:
            self._items[name] = message.data
            self.fresh = True
        return True

    def event(self, _message: Heard, /) -> int:
        """Events are not part of the state."""
        return 0


class ItemView:
    """One item as it is, None when there is none."""

    resumes = True

    def __init__(self) -> None:
        self._item = b""
        self.fresh = False

    def take(self) -> Any:
        """Take the newest state. What it was in between is not kept."""
        self.fresh = False
        return codec.decode(self._item)

    def sync(self, message: Heard) -> None:
        """Have the item, or that there is none."""
        self._set(message.data)

    def change(self, message: Heard, /) -> bool:
        """Have it made, replaced or taken away."""
        self._set(b"null" if message.kind == "delete" else message.data)
        return True

    def event(self, _message: Heard, /) -> int:
        """Events are not part of the state."""
        return 0

    def _set(self, raw: bytes) -> None:
        if raw != self._item:
            self._item = raw
            self.fresh = True


@frozen
class StreamEvent:
    """An event that a step sent with ``send``: its ``type``, its ``data``, any JSON value.

    ``item`` is the id of the item that it was sent to, None if it was sent to the whole group.
    """

    type: str
    data: Any = field(default=None)
    item: str | None = None


class EventsView:
    """Events in the order in which they came, and no more than ``room`` at once.

    If one more comes the oldest goes.
    """

    resumes = False  # nobody keeps events

    def __init__(self, type: str | None, room: int) -> None:  # noqa: A002  # Motia's word
        self._type = type
        self._room = room
        self._waiting: deque[StreamEvent] = deque()

    @property
    def fresh(self) -> bool:
        """Whether there is an event to take."""
        return bool(self._waiting)

    def take(self) -> StreamEvent:
        """Take the oldest event out."""
        return self._waiting.popleft()

    def sync(self, message: Heard) -> None:
        """Items are of no interest."""

    def change(self, _message: Heard, /) -> bool:
        """Items are of no interest."""
        return True

    def event(self, message: Heard, /) -> int:
        """Have one more, if it is of the type that is wanted."""
        try:
            event = codec.decode(message.data)
        except MalformedJson as error:
            raise UnknownFrame(f"an event that cannot be read: {error}") from None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise UnknownFrame("an event without a type")
        if self._type is not None and event["type"] != self._type:
            return 0
        self._waiting.append(StreamEvent(event["type"], event.get("data"), message.key))
        if len(self._waiting) <= self._room:
            return 0
        self._waiting.popleft()
        return 1
