"""A store in a Trio run of its own, for tests that are not async."""

# assert is how a test speaks
# ruff: noqa: S101

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import trio

from motia_trio.testing.stores.probe import acknowledge

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.messages import Delivery
    from motia_trio.store import Store
    from motia_trio.store.protocol import Follow, React

__all__ = ["OpenStore"]

# seconds that opening or closing may take
LIMIT = 30.0


class OpenStore:
    """A store, open in a Trio run of its own, for tests that are not async."""

    def __init__(self, store: Store, now: float, react: React, follow: Follow) -> None:
        self._store = store
        self._opened = (now, react, follow)
        self._ready = threading.Event()
        self._closing: trio.Event
        self._token: trio.lowlevel.TrioToken
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="a store's run")
        self._thread.start()
        assert self._ready.wait(LIMIT), "the store did not open"
        self._raise()

    def _run(self) -> None:
        try:
            trio.run(self._main)
        except BaseException as error:  # noqa: BLE001, ASYNC103 - raised on the test's own thread
            self._error = error
        finally:
            self._ready.set()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    async def _main(self) -> None:
        self._closing = trio.Event()
        self._token = trio.lowlevel.current_trio_token()
        async with self._store.opened(*self._opened):
            self._ready.set()
            await self._closing.wait()

    def close(self) -> None:
        """Leave the store's scope and the run."""
        trio.from_thread.run_sync(self._closing.set, trio_token=self._token)
        self._thread.join(LIMIT)
        assert not self._thread.is_alive(), "the store did not close"
        self._raise()

    def wait(self, call: str, *args: Any) -> Any:
        """Call what the store has to be waited for."""
        return trio.from_thread.run(getattr(self._store, call), *args, trio_token=self._token)

    def acknowledge(self, delivery: Delivery, now: float) -> None:
        """Acknowledge without waiting."""
        trio.from_thread.run(acknowledge, self._store, delivery, now, trio_token=self._token)

    def begin(self, delivery: Delivery) -> None:
        """Let a handler have a delivery in hand."""
        trio.from_thread.run_sync(self._store.begin, delivery, trio_token=self._token)

    def look(self, call: Callable[[Store], Any]) -> Any:
        """See what does not need to be waited for."""
        return trio.from_thread.run_sync(call, self._store, trio_token=self._token)
