"""The store that lasts as long as its scope: for tests, and for work that may be lost."""

from __future__ import annotations

import heapq
from collections import deque
from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING

import trio
from attrs import define, evolve, field

from motia_trio.messages import Ack, Bury, DeadLetter, Delivery, GiveBack, Retry
from motia_trio.store.protocol import Agenda, Counts, Leased

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from motia_trio.messages import Message, Outcome, Route

__all__ = ["MemoryStore"]


@define
class _Shelf:
    """The deliveries of one step.

    ``ready`` holds what may be leased: deliveries without a group, and heads of groups. A group is
    in ``groups`` while it has a head (ready, leased, or waiting for its retry), with what stands
    behind the head.
    """

    ready: deque[Delivery] = field(factory=deque)
    groups: dict[str, deque[Delivery]] = field(factory=dict)
    leased: dict[int, Delivery] = field(factory=dict)
    delayed: int = 0
    dead: int = 0

    def enter(self, delivery: Delivery) -> None:
        """A delivery is due: it may be leased, unless its group has a head already."""
        if delivery.fifo is None:
            self.ready.append(delivery)
        elif (behind := self.groups.get(delivery.fifo)) is not None:
            behind.append(delivery)
        else:
            self.groups[delivery.fifo] = deque()
            self.ready.append(delivery)

    def leave(self, delivery: Delivery) -> None:
        """A delivery is gone: the next one of its group becomes the head."""
        if delivery.fifo is None:
            return
        behind = self.groups[delivery.fifo]
        if behind:
            self.ready.append(behind.popleft())
        else:
            del self.groups[delivery.fifo]


class MemoryStore:
    """Keeps everything in this process. Nothing survives it."""

    def __init__(self) -> None:
        self._shelves: dict[str, _Shelf] = {}
        self._due: set[str] = set()
        self._dead: dict[int, DeadLetter] = {}
        # what is not due yet: (due_at, order, delivery, whether it is the head of its group)
        self._later: list[tuple[float, int, Delivery, bool]] = []
        self._ids = count(1)
        self._order = count()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Open the store; leaving gives back every lease."""
        try:
            yield
        finally:
            for step, shelf in self._shelves.items():
                for delivery in reversed(list(shelf.leased.values())):
                    shelf.ready.appendleft(delivery)
                    self._due.add(step)
                shelf.leased.clear()

    async def append(
        self, batch: Sequence[tuple[Message, Sequence[Route]]], now: float
    ) -> Sequence[Delivery]:
        """Keep messages with a delivery for each route."""
        await trio.lowlevel.checkpoint()
        self._promote(now)
        taken: list[Delivery] = []
        for message, routes in batch:
            for route in routes:
                shelf = self._shelf(route.step)
                new = Delivery(next(self._ids), message, route.step, route.trigger, route.fifo)
                if route.due_at > now:
                    self._delay(shelf, new, route.due_at, head=False)
                elif route.take and not shelf.ready and route.fifo not in shelf.groups:
                    if route.fifo is not None:
                        shelf.groups[route.fifo] = deque()
                    shelf.leased[new.id] = new
                    taken.append(new)
                else:
                    shelf.enter(new)
                    self._note(route.step, shelf)
        return taken

    async def lease(self, step: str, limit: int, now: float) -> Leased:
        """Lease up to ``limit`` due deliveries of one step."""
        await trio.lowlevel.checkpoint()
        self._promote(now)
        shelf = self._shelf(step)
        taken = [shelf.ready.popleft() for _ in range(min(limit, len(shelf.ready)))]
        shelf.leased.update((delivery.id, delivery) for delivery in taken)
        self._note(step, shelf)
        return Leased(taken, more=bool(shelf.ready))

    async def settle(self, delivery: Delivery, outcome: Outcome, now: float) -> None:
        """End a lease with the outcome of the attempt."""
        await trio.lowlevel.checkpoint_if_cancelled()
        shelf = self._shelf(delivery.step)
        current = shelf.leased.pop(delivery.id)
        match outcome:
            case Ack():
                shelf.leave(current)
            case GiveBack():
                shelf.ready.appendleft(current)
            case Retry(due_at, failure):
                self._delay(
                    shelf, evolve(current, failures=(*current.failures, failure)), due_at, head=True
                )
            case Bury(reason, failure):
                failures = (*current.failures, *([failure] if failure else []))
                self._dead[current.id] = DeadLetter(
                    current.id, current.message, current.step, reason, failures, now
                )
                shelf.dead += 1
                shelf.leave(current)
        self._note(delivery.step, shelf)

    def agenda(self, now: float) -> Agenda:
        """Tell which steps have something due, and when the next delayed delivery is."""
        self._promote(now)
        return Agenda(frozenset(self._due), self._later[0][0] if self._later else None)

    def counts(self) -> dict[str, Counts]:
        """Tell how many deliveries there are, by step."""
        return {
            step: Counts(
                waiting=len(shelf.ready) + sum(map(len, shelf.groups.values())),
                leased=len(shelf.leased),
                delayed=shelf.delayed,
                dead=shelf.dead,
            )
            for step, shelf in self._shelves.items()
        }

    def dead_letters(
        self, *, step: str | None = None, topic: str | None = None
    ) -> Sequence[DeadLetter]:
        """Tell the dead letters, oldest first."""
        return [
            letter
            for letter in self._dead.values()
            if (step is None or letter.step == step)
            and (topic is None or letter.message.topic == topic)
        ]

    def _shelf(self, step: str) -> _Shelf:
        shelf = self._shelves.get(step)
        if shelf is None:
            shelf = self._shelves[step] = _Shelf()
        return shelf

    def _note(self, step: str, shelf: _Shelf) -> None:
        """Keep the set of steps that have something due."""
        if shelf.ready:
            self._due.add(step)
        else:
            self._due.discard(step)

    def _delay(self, shelf: _Shelf, delivery: Delivery, due_at: float, *, head: bool) -> None:
        shelf.delayed += 1
        heapq.heappush(self._later, (due_at, next(self._order), delivery, head))

    def _promote(self, now: float) -> None:
        """Make ready what has become due."""
        while self._later and self._later[0][0] <= now:
            _, _, delivery, head = heapq.heappop(self._later)
            shelf = self._shelf(delivery.step)
            shelf.delayed -= 1
            if head:
                shelf.ready.append(delivery)
            else:
                shelf.enter(delivery)
            self._note(delivery.step, shelf)
