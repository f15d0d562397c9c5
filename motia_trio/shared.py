"""What all actors of one runtime share, and the count of what is in flight."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field

from motia_trio.events import Observers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from motia_trio.actors import WallClock
    from motia_trio.asks import Asks
    from motia_trio.feeder import Feeder
    from motia_trio.router import Router
    from motia_trio.scheduler import Scheduler
    from motia_trio.steps import Handler, StreamDeclaration
    from motia_trio.store import Store
    from motia_trio.streams import Hub
    from motia_trio.sweeper import Sweeper
    from motia_trio.warden import Warden

__all__ = ["Activity", "Shared"]


class Activity:
    """Counts what is in flight: requests, deliveries taken from the store, and publishing."""

    def __init__(self) -> None:
        self.count = 0
        self._changed: trio.Event | None = None

    def enter(self) -> None:
        """Count one more thing in flight."""
        self.count += 1

    def leave(self) -> None:
        """Count one thing less in flight."""
        self.count -= 1
        self.touch()

    def touch(self) -> None:
        """Wake who waits for a change: there is less to do than there was."""
        if self._changed is not None:
            self._changed.set()
            self._changed = None

    async def change(self) -> None:
        """Wait until something is no longer in flight. A checkpoint."""
        if self._changed is None:
            self._changed = trio.Event()
        await self._changed.wait()


@define(eq=False)
class Shared:
    """The parts of one runtime, as its actors and contexts reach them."""

    store: Store
    clock: WallClock
    root: str
    mailbox: int
    message_limit: int
    middleware: tuple[Handler, ...] = ()
    streams: Mapping[str, StreamDeclaration] = field(factory=dict)
    observers: Observers = field(factory=lambda: Observers(()))
    activity: Activity = field(factory=Activity)
    random: random.Random = field(factory=random.Random)
    # deliveries that were in hand when the process died are handled one at a time, so that the next
    # time it dies there is no doubt which of them it was
    suspects: trio.Lock = field(factory=trio.Lock)
    # transactions that were in each other's way run one at a time
    contended: trio.Lock = field(factory=trio.Lock)
    nursery: trio.Nursery | None = None
    # whether the runtime takes no more messages
    stopping: bool = False
    router: Router = field(init=False)
    feeder: Feeder = field(init=False)
    scheduler: Scheduler = field(init=False)
    sweeper: Sweeper = field(init=False)
    warden: Warden = field(init=False)
    asks: Asks = field(init=False)
    hub: Hub = field(init=False)

    def again(self, call: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Have something that nobody waits for tried again, as long as the runtime runs."""
        try:
            if self.nursery is not None:
                self.nursery.start_soon(call, *args)
                return
        except RuntimeError:
            pass  # the nursery has just ended
        self.activity.leave()  # it comes again when the store is opened the next time
