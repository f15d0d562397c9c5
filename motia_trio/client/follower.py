"""What a program iterates over: the states of a group or of an item, or the events of ``send``."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

import trio

from motia_trio.errors import Closed

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.client.line import Line
    from motia_trio.client.subscription import Gap, Subscription

__all__ = ["Follower"]

T = TypeVar("T")


class Follower(trio.abc.ReceiveChannel[T], Generic[T]):
    """One place that is followed: ``async for`` gives what there is, as it comes.

    It joins when it is first asked for something, or by ``async with``, which waits until the
    server has answered: what happens from then on is not missed. Leaving the ``async with``, or
    :meth:`aclose`, leaves the place. A follower that is only iterated over and then forgotten
    leaves at the next message that it would have had.

    States are conflated: whoever is slow gets the newest one. Events wait, up to a bound. After a
    reconnect it goes on from where it was. Where that cannot be, there is a gap: ``gaps`` counts
    it, the log has a warning, and ``on_gap`` is called with a :class:`~motia_trio.client.Gap`, in
    the task that iterates, before it gets the next state or event.

    Raises:
        NotJoined: the server has no such stream, or its limits allow no more.
        Unauthorized: the server does not let this client join.
        ConnectionRefused: a reconnect was refused.
        MessageTooLarge: a message was larger than the client's ``message_limit``.
        Closed: the follower was closed, or the client's scope was left.
        trio.BusyResourceError: another task is iterating over it.
    """

    def __init__(
        self, line: Line, subscription: Subscription, on_gap: Callable[[Gap], object] | None
    ) -> None:
        self._line = line
        self._subscription = subscription
        self._on_gap = on_gap
        self._joined = False
        self._busy = False
        # the line knows the subscription only, so that it notices when nobody has the follower
        weakref.finalize(self, subscription.abandon).atexit = False

    def __repr__(self) -> str:
        return f"<Follower of {self._subscription.place}>"

    @property
    def gaps(self) -> int:
        """How often something happened that this follower was not told of."""
        return self._subscription.gaps

    @property
    def lost(self) -> int:
        """How many events were dropped because they were not taken in time."""
        return self._subscription.lost

    async def __aenter__(self) -> Follower[T]:
        """Join, and wait until the server has answered."""
        try:
            self._join()
            while not self._subscription.begun:
                self._raise_failure()
                await self._subscription.changed()
            await trio.lowlevel.checkpoint()
        except BaseException:
            self._leave()
            raise
        return self

    async def receive(self) -> T:
        """Wait for the next state or event, and give it. A checkpoint."""
        if self._busy:
            raise trio.BusyResourceError("another task is iterating over this follower")
        self._busy = True
        try:
            self._join()
            await trio.lowlevel.checkpoint()
            return await self._next()
        finally:
            self._busy = False

    async def _next(self) -> T:
        subscription = self._subscription
        while True:
            for gap in subscription.take_gaps():
                if self._on_gap is not None:
                    self._on_gap(gap)
            if subscription.view.fresh:
                taken: T = subscription.view.take()
                return taken
            self._raise_failure()
            await subscription.changed()

    async def aclose(self) -> None:
        """Leave. Whoever waits for something raises Closed. A checkpoint."""
        self._leave()
        await trio.lowlevel.checkpoint()

    def _join(self) -> None:
        if not self._joined:
            self._joined = True
            self._line.join(self._subscription)

    def _leave(self) -> None:
        self._joined = True
        self._line.leave(self._subscription)
        place = self._subscription.place
        self._subscription.fail(lambda: Closed(f"the follower of {place} has been closed"))

    def _raise_failure(self) -> None:
        if self._subscription.failure is not None:
            raise self._subscription.failure()
