"""A crew: the tasks that take entries out of one mailbox, as many as the work needs.

An entry wakes at most one idle hand, and a hand that is about to wait while more entries do wakes
the next one. So a burst that one hand can clear without waiting costs one wake-up, and a burst of
handlers that wait gets as many hands as the lanes allow.
"""

from __future__ import annotations

import types
from contextvars import copy_context
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator

    from motia_trio.actors.mailbox import Mailbox

__all__ = ["Crew", "Hand"]

T = TypeVar("T")

# a hand that never has to wait still lets the others run after so many entries
YIELD_EVERY = 32
# idle hands kept for the next entry; more than these go home
KEEP_IDLE = 8


class Hand:
    """One task of a crew, and the scope that bounds what it does now.

    The scope's deadline is moved from entry to entry instead of opening a scope for each (a fifth
    of the cost), and only for work that waits; only a scope that was cancelled is replaced.
    """

    __slots__ = ("_armed", "_bound", "hit", "scope", "woken")

    def __init__(self) -> None:
        self.woken = False
        self.renew()

    def renew(self) -> None:
        """Begin anew, with a scope that was not cancelled."""
        self.scope = trio.CancelScope()
        self.hit = False
        self._armed = False
        self._bound = inf

    def bind(self, deadline: float) -> None:
        """Cancel what this hand does at ``deadline`` (Trio time), once it is armed."""
        self._bound = deadline

    def arm(self) -> None:
        """Make the bound count. Call it before the first wait."""
        if not self._armed:
            self._armed = True
            self.scope.deadline = self._bound

    def rebind(self, deadline: float) -> None:
        """Move the bound of what is under way."""
        self._bound = deadline
        if self._armed:
            self.scope.deadline = deadline

    def cancel(self) -> None:
        """Cancel what this hand does now, between :meth:`bind` and :meth:`unbind`."""
        self.arm()
        self.scope.cancel()

    def unbind(self) -> bool:
        """Lift the bound. Gives True if it was hit: then everything awaited raises Cancelled."""
        if self._armed:
            self._armed = False
            self.scope.deadline = inf
            self.hit = self.scope.cancel_called
        return self.hit


class Crew(Generic[T]):
    """Works off a mailbox with ``work(hand, item)``, which must not raise for a bad entry.

    ``work`` runs inside the hand's scope. It calls :meth:`Hand.bind` before the part that is
    bounded, :meth:`Hand.arm` when that is about to wait, and :meth:`Hand.unbind` after it. When
    the bound was hit, it keeps the ``Cancelled`` to itself and shields what it still awaits. What
    it raises ends the crew.
    """

    def __init__(
        self,
        mailbox: Mailbox[T],
        work: Callable[[Hand, T], Awaitable[None]],
    ) -> None:
        self._mailbox = mailbox
        self._work = work
        self._idle: list[tuple[Hand, trio.lowlevel.Task]] = []
        self._waking = False
        self._stopping = False
        self._nursery: trio.Nursery | None = None
        self._context = copy_context()
        self.only: int | None = None

    def start(self, nursery: trio.Nursery) -> None:
        """Begin taking entries, with hands in ``nursery`` and the context variables of now."""
        self._nursery = nursery
        self._context = copy_context()
        self._mailbox.on_entry = self._summon
        self._summon()

    def stop(self) -> None:
        """Take no further entry. Hands that are at work finish; idle ones go home."""
        self._stopping = True
        self._mailbox.on_entry = _nothing
        for _, task in self._idle:
            trio.lowlevel.reschedule(task)
        self._idle.clear()

    def let(self, only: int | None) -> None:
        """Bound how many entries may be in hand at once (None: the lanes alone decide)."""
        self.only = only
        self._summon()

    def _summon(self) -> None:
        """Make sure that somebody comes for what can be taken."""
        if self._waking or self._stopping or self._nursery is None:
            return
        if not self._mailbox.takeable():
            return
        if self.only is not None and self._mailbox.in_hand >= self.only:
            return
        self._waking = True
        if self._idle:
            hand, task = self._idle.pop()
            hand.woken = True
            trio.lowlevel.reschedule(task)
        else:
            # a clean context: not the one of whoever happened to publish
            self._context.run(self._nursery.start_soon, self._man)

    async def _man(self) -> None:
        """The life of one hand."""
        hand = Hand()
        self._waking = False
        served = 0
        while not self._stopping:
            crash: BaseException | None = None
            try:
                with hand.scope:
                    while not hand.hit:
                        if (entry := await self._next(hand)) is None:
                            return
                        lane, item = entry
                        try:
                            await _run(self._work(hand, item), self._summon)
                        except BaseException as error:
                            self.stop()  # nobody begins anything in a scope that is ending
                            crash = error
                            raise
                        finally:
                            self._mailbox.done(lane)
                        served += 1
                        if served % YIELD_EVERY == 0:
                            await trio.lowlevel.checkpoint()
            except RuntimeError as corrupted:
                # a coroutine that was left behind has left its scopes in this task: Trio says so
                # where ours ends, in place of the error that tells why
                if crash is not None and corrupted is not crash:
                    raise crash from crash.__cause__
                raise
            hand.renew()

    async def _next(self, hand: Hand) -> tuple[str, T] | None:
        """The next entry; None when this hand should go home. A checkpoint if it has to wait."""
        while not self._stopping:
            entry = self._mailbox.take(only=self.only)
            if entry is not None:
                return entry
            if len(self._idle) >= KEEP_IDLE:
                return None
            seat = (hand, trio.lowlevel.current_task())
            self._idle.append(seat)

            await trio.lowlevel.wait_task_rescheduled(partial(self._leave_seat, seat))
            if hand.woken:
                hand.woken = False
                self._waking = False
        return None

    def _leave_seat(self, seat: tuple[Hand, trio.lowlevel.Task], _: object) -> trio.lowlevel.Abort:
        """An idle hand is cancelled."""
        if seat in self._idle:
            self._idle.remove(seat)
        return trio.lowlevel.Abort.SUCCEEDED


@types.coroutine
def _run(work: Awaitable[None], before_wait: Callable[[], None]) -> Generator[Any, Any, None]:
    """Run a coroutine, and call ``before_wait`` when it waits for the first time, if it does."""
    coroutine = work.__await__()
    try:
        trap = coroutine.send(None)
        before_wait()
        while True:
            try:
                value = yield trap
            except BaseException as error:  # noqa: BLE001, ASYNC103 - it is the coroutine's to take
                trap = coroutine.throw(error)
                continue  # noqa: ASYNC104
            trap = coroutine.send(value)
    except StopIteration:
        return


def _nothing() -> None:
    """What a mailbox calls when nobody works on it."""
