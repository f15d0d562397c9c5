"""Keeps the mailboxes windows on the store: what is due goes in as soon as there is room."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from motia_trio.actor import StepActor
    from motia_trio.shared import Shared
    from motia_trio.store import Window

__all__ = ["Feeder"]

# a store that fails is asked again after so many seconds
STORE_RETRY = 1.0
# and one that has something due which it cannot give yet, as another is on its way before it
SOON = 0.02


class Feeder:
    """One task for all steps: leases from the store what the mailboxes have room for.

    What is published while there is room never passes through here: the router puts it into the
    mailbox itself. The feeder brings what had to wait, each lane of a step in the store's order.
    """

    def __init__(self, shared: Shared, actors: Mapping[str, StepActor]) -> None:
        self._shared = shared
        self._actors = actors
        self._wake = trio.Event()
        self._next_due = inf
        self._behind: dict[str, set[str]] = {}  # lanes with something due, by step
        self._held: set[Window] = set()

    def stored(self, step: str, lane: str) -> None:
        """Be told that something due of this step and lane waits in the store."""
        self._fall_behind(step, lane)
        self._look(step, (lane,))

    def due_later(self, due_at: float) -> None:
        """Be told that something will be due at a wall time."""
        if due_at < self._next_due:
            self._wake.set()

    def taken(self, step: str) -> None:
        """Be told that an entry was taken out of this step's mailbox: there may be room."""
        if step in self._behind:
            self._look(step, self._behind[step])

    def look(self) -> None:
        """Look into the store soon: something may be due of which nobody knows in which lane."""
        self._wake.set()

    def _look(self, step: str, lanes: Iterable[str]) -> None:
        """Look into the store soon, if this step's mailbox has room worth a look."""
        actor = self._actors.get(step)  # a step that the store knows may not be loaded
        if actor is not None and any(actor.worth_feeding(lane) for lane in lanes):
            self._wake.set()

    async def run(self) -> None:
        """Feed, until cancelled."""
        shared = self._shared
        while True:
            self._wake = trio.Event()
            # whatever is told from here on may be missing in the agenda: let it wake the next round
            self._next_due = inf
            self._held.clear()
            try:
                agenda = shared.store.agenda(shared.clock.now())
                for window in agenda.due:
                    if (actor := self._actors.get(window.step)) is not None:
                        await self._feed(window, actor)
                if agenda.due:  # a lane whose due work is all taken waits for its next from here on
                    agenda = shared.store.agenda(shared.clock.now())
                    if any(self._is_missed(window) for window in agenda.due):
                        self._wake.set()
                wake_at = self._deadline(agenda.next_due_at)
                if self._held:
                    wake_at = min(wake_at, trio.current_time() + SOON)
            except OSError:
                wake_at = trio.current_time() + STORE_RETRY
            with trio.CancelScope(deadline=wake_at):
                await self._wake.wait()

    def _is_missed(self, window: Window) -> bool:
        """Whether what this lane has due became so since the last look, while others were fed."""
        if window.step not in self._actors or window in self._held:
            return False
        return window.lane not in self._behind.get(window.step, ())

    def _deadline(self, due_at: float | None) -> float:
        """The Trio time of the next look that nobody needs to ask for."""
        if due_at is not None:
            self._next_due = min(self._next_due, due_at)
        return inf if due_at is None else self._shared.clock.deadline(due_at)

    async def _feed(self, window: Window, actor: StepActor) -> None:
        """Fill the room that one step's mailbox has for a lane of the store."""
        step, lane = window
        places = actor.reserve_all(lane)
        if not places:
            self._fall_behind(step, lane)
            return
        filled = 0
        try:
            self._catch_up(step, lane)
            leased = await self._shared.store.lease(step, places, self._shared.clock.now(), lane)
            for delivery in leased.deliveries:
                actor.hand_over(delivery)
                filled += 1
            if leased.deliveries and leased.more:
                self._fall_behind(step, lane)
            if leased.more and not leased.deliveries:
                self._held.add(window)
        finally:
            actor.free(lane, places - filled)

    def _fall_behind(self, step: str, lane: str) -> None:
        """More is due in this lane than there is room for."""
        lanes = self._behind.get(step)
        if lanes is None:
            lanes = self._behind[step] = set()
        lanes.add(lane)

    def _catch_up(self, step: str, lane: str) -> None:
        """What is due in this lane is about to be fetched."""
        if lanes := self._behind.get(step):
            lanes.discard(lane)
            if not lanes:
                del self._behind[step]
