"""Watches for handlers that run on after their bound: says so, and answers who waits for them."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import trio

from motia_trio.events import HandlerOverdue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motia_trio.actor import StepActor
    from motia_trio.shared import Shared

__all__ = ["GRACE", "Warden"]

# seconds after its bound that a handler has to clean up before it is told as overdue
GRACE = 1.0
# and again after so many seconds, each time after twice as many, as long as it goes on
REPEAT = 60.0
# seconds between two looks, at the least
SOONEST = 0.001


class Warden:
    """One task for all actors; sleeps until the first handler in flight would be overdue."""

    def __init__(self, shared: Shared, actors: Sequence[StepActor]) -> None:
        self._shared = shared
        self._actors = actors
        self._scope = trio.CancelScope()
        self._wake_at = inf

    def expect(self, bound: float) -> None:
        """Look again when a handler that began now is overdue. ``bound`` is a Trio time."""
        if bound + GRACE < self._wake_at:
            self._wake_at = self._scope.deadline = bound + GRACE

    async def run(self) -> None:
        """Watch, until cancelled."""
        while True:
            # sums of floats may say that a time has come which others say has not: never at once
            self._wake_at = max(self._look(), trio.current_time() + SOONEST)
            self._scope = trio.CancelScope(deadline=self._wake_at)
            with self._scope:
                await trio.sleep_forever()

    def _look(self) -> float:
        """Report what is overdue; give the Trio time of the next look."""
        now = trio.current_time()
        following = inf
        for actor in self._actors:
            following = min(following, actor.answer_late() + GRACE)
            for running in actor.in_flight():
                late = now - running.bound
                if late >= GRACE and now >= running.told_again_at:
                    running.told_again_at = now + max(REPEAT, late)
                    self._shared.observers.tell(
                        HandlerOverdue(
                            actor.step.name, actor.step.source, running.trace_id, seconds=late
                        )
                    )
                following = min(following, max(running.bound + GRACE, running.told_again_at))
        return following
