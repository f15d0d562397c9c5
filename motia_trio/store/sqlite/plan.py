"""One commit on its way: its rows, and what it means for what the Trio thread knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from motia_trio.store.sqlite import rows as row
from motia_trio.store.sqlite.writer import Op
from motia_trio.store.work import Item

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from motia_trio.messages import DeadLetter, Delivery
    from motia_trio.store.log import Log
    from motia_trio.store.sqlite.hands import Hands
    from motia_trio.store.sqlite.items import Ahead
    from motia_trio.store.sqlite.shelf import Shelf
    from motia_trio.store.work import Change, Place

__all__ = ["Plan"]


class Plan(Op[None]):
    """Collects the rows of one commit and marks at once what it changes.

    As a context manager it takes its marks back when it is left by an error before it was
    submitted. After that, the writer calls :meth:`kept` or :meth:`lost`, on the Trio thread.
    """

    __slots__ = (
        "_ahead", "_arrivals", "_discards", "_drops", "_ends", "_hands", "_items", "_keys",
        "_keys_ahead", "_moving", "_redrives", "_retries", "_steps", "_told", "submitted", "taken",
    )  # fmt: skip

    def __init__(
        self,
        ahead: Ahead,
        keys: dict[tuple[str, str], tuple[str, Plan]],
        moving: set[int],
        hands: Hands,
    ) -> None:
        super().__init__()
        self._ahead = ahead
        self._keys_ahead = keys  # on their way to the disk: the message's id, and its commit
        self._moving = moving
        self._hands = hands
        self.taken: list[Delivery] = []
        self.submitted = False
        self._steps: list[Shelf] = []
        self._arrivals: list[tuple[Shelf, Delivery, float, bool]] = []
        self._ends: list[tuple[Shelf, Delivery, int]] = []
        self._retries: list[tuple[Shelf, Delivery, float]] = []
        self._drops: list[tuple[Shelf, int]] = []
        self._discards: list[tuple[Shelf, int]] = []
        self._redrives: list[tuple[Shelf, int, str | None]] = []
        self._keys: list[tuple[str, str]] = []
        self._items: Mapping[Place, Item | None] | None = None
        self._told: tuple[Log, Sequence[Change], int | None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None and not self.submitted:
            self.lost()

    # what it does

    def know_step(self, shelf: Shelf) -> None:
        """It makes a step and lane known to the file."""
        self._steps.append(shelf)

    def add(
        self, shelf: Shelf, delivery: Delivery, due_at: float, now: float, *, take: bool, held: bool
    ) -> None:
        """It keeps a new delivery, and leases it at once if ``take``."""
        shelf.priorities.add(delivery.message.priority)
        shelf.await_arrival(delivery.fifo, due_at, now, take=take, held=held)
        if take:
            shelf.leased[delivery.id] = delivery
            self.taken.append(delivery)
        self._arrivals.append((shelf, delivery, due_at, take))

    def end(self, shelf: Shelf, delivery: Delivery, *, dead: int = 0) -> None:
        """It ends a leased delivery, which may become a dead letter."""
        self._leave(shelf, delivery)
        self._ends.append((shelf, delivery, dead))

    def put_back(self, shelf: Shelf, delivery: Delivery, due_at: float) -> None:
        """It puts a leased delivery back, to be due later."""
        self._leave(shelf, delivery)
        self._retries.append((shelf, delivery, due_at))

    @staticmethod
    def _leave(shelf: Shelf, delivery: Delivery) -> None:
        del shelf.leased[delivery.id]
        shelf.ending.add(delivery.id)

    def drop(self, shelf: Shelf, number: int) -> None:
        """It drops a delivery that waits."""
        shelf.ending.add(number)
        shelf.dropping += 1
        self._drops.append((shelf, number))

    def discard(self, shelf: Shelf, letter: DeadLetter) -> None:
        """It forgets a dead letter."""
        self._moving.add(letter.id)
        self._discards.append((shelf, letter.id))

    def redrive(
        self, shelf: Shelf, letter: DeadLetter, fifo: str | None, due_at: float, now: float
    ) -> None:
        """It makes a dead letter a delivery again."""
        self._moving.add(letter.id)
        shelf.priorities.add(letter.message.priority)
        shelf.await_arrival(fifo, due_at, now, take=False, held=False)
        self._redrives.append((shelf, letter.id, fifo))

    def know_key(self, name: tuple[str, str], message_id: str) -> None:
        """It gives a key of a topic to a message."""
        self._keys_ahead[name] = (message_id, self)
        self._keys.append(name)

    def write(
        self, items: Mapping[Place, Item | None], changes: Sequence[Change], log: Log
    ) -> None:
        """It writes items, and removes those that are None: by these changes, which it logs."""
        if not items:
            return
        self._items = items
        self._ahead.submit(items, self)
        followed = [change for change in changes if change.seq]
        last = {change.place: change for change in followed}
        for change in followed:
            # what comes before the last of a place is written for the log's sake alone
            if last[change.place] is not change:
                passing = None if change.new is None else Item(change.new, 0)
                self.acts.append(row.item_row(change.place, passing, change))
                self.size += len(change.new or b"")
        for place, item in items.items():
            self.acts.append(row.item_row(place, item, last.get(place)))
            self.size += len(item.value) if item else 0
        if followed:
            forget = log.excess()
            if forget is not None:
                self.acts.append(row.forget_changes_row(forget))
            self._told = (log, followed, forget)

    # how it ended

    def kept(self) -> None:
        """It is in the file."""
        for shelf in self._steps:
            shelf.known = True
        for shelf, delivery, due_at, take in self._arrivals:
            shelf.undone += 1
            shelf.arrived(delivery.fifo, take=take)
            if not take:
                if delivery.fifo is None:
                    shelf.note(due_at)
                else:
                    shelf.doubt()
        for shelf, delivery, dead in self._ends:
            shelf.ending.discard(delivery.id)
            self._hands.put_down(delivery.id)
            shelf.undone -= 1
            shelf.dead += dead
            if delivery.fifo is not None:
                shelf.doubt()
        for shelf, delivery, due_at in self._retries:
            shelf.ending.discard(delivery.id)
            self._hands.put_down(delivery.id)
            shelf.note(due_at)
        for shelf, number in self._drops:
            shelf.ending.discard(number)
            shelf.dropping -= 1
            shelf.undone -= 1
            shelf.doubt()
        for shelf, number in self._discards:
            self._moving.discard(number)
            shelf.dead -= 1
        for shelf, number, fifo in self._redrives:
            self._moving.discard(number)
            shelf.arrived(fifo, take=False)
            shelf.dead -= 1
            shelf.undone += 1
            shelf.doubt()
        if self._keys:
            self._forget_keys()
        if self._items:
            self._ahead.kept(self._items, self)
        if self._told is not None:  # at last: who is told may look at all of it
            log, changes, forget = self._told
            log.keep(changes, forget)

    def lost(self) -> None:
        """It is not in the file, and never will be."""
        for shelf, delivery, _, take in self._arrivals:
            shelf.arrived(delivery.fifo, take=take)
            if take:
                del shelf.leased[delivery.id]
        self.taken.clear()
        for shelf, delivery, _ in (*self._ends, *self._retries):
            shelf.ending.discard(delivery.id)
            shelf.leased[delivery.id] = delivery
        for shelf, number in self._drops:
            shelf.ending.discard(number)
            shelf.dropping -= 1
        for _, number in self._discards:
            self._moving.discard(number)
        for shelf, number, fifo in self._redrives:
            self._moving.discard(number)
            shelf.arrived(fifo, take=False)
        if self._keys:
            self._forget_keys()
        if self._items:
            self._ahead.lost(self._items, self)

    def _forget_keys(self) -> None:
        """The file tells about them from here on."""
        for name in self._keys:
            if name in self._keys_ahead and self._keys_ahead[name][1] is self:
                del self._keys_ahead[name]
