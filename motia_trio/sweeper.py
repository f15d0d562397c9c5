"""Removes what has expired: one task, asleep until the next item or key does."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import trio

from motia_trio.events import StoreFailed
from motia_trio.failures import tell_error

if TYPE_CHECKING:
    from motia_trio.shared import Shared

__all__ = ["Sweeper"]

# items that one commit removes at the most
AT_ONCE = 500
# seconds to the next sweep at the least
SOONEST = 0.01
# a store that fails is asked again after so many seconds
STORE_RETRY = 5.0


class Sweeper:
    """Expired items are gone for every reader anyway; this frees their room and tells of it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._scope = trio.CancelScope()
        self._wake_at = inf

    def expect(self, expires_at: float) -> None:
        """Sweep when an item expires at a wall time."""
        if expires_at < self._wake_at:
            self._wake_at = expires_at
            self._scope.deadline = self._shared.clock.deadline(expires_at)

    async def run(self) -> None:
        """Sweep, until cancelled."""
        while True:
            self._wake_at = inf
            self._wake_at = min(await self._sweep(), self._wake_at)
            while self._shared.clock.now() < self._wake_at:
                deadline = self._shared.clock.deadline(self._wake_at)
                self._scope = trio.CancelScope(deadline=deadline)
                with self._scope:
                    await trio.sleep_forever()

    async def _sweep(self) -> float:
        """Remove all that has expired; give the wall time of the next sweep."""
        shared = self._shared
        while True:
            now = shared.clock.now()
            try:
                swept = await shared.store.sweep(AT_ONCE, now)
            except OSError as error:
                shared.observers.tell(StoreFailed(None, None, None, tell_error(error).error))
                return now + STORE_RETRY
            shared.router.tell_changes(swept.changes)
            if len(swept.changes) < AT_ONCE:
                return inf if swept.next_at is None else max(swept.next_at, now + SOONEST)
