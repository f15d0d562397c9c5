"""The actor of one step: receive → place → settle."""

from __future__ import annotations

from contextlib import asynccontextmanager
from math import inf
from typing import TYPE_CHECKING, Any

import trio

from motia_trio.actors import Crew, Mailbox
from motia_trio.attempts import Attempts
from motia_trio.context import RUNNING, Context
from motia_trio.entries import STORED, Ask, Entry, Tick, lanes_of
from motia_trio.errors import Abandoned, MotiaTrioError, Overloaded, TimedOut
from motia_trio.events import Refused
from motia_trio.messages import Delivery, new_trace_id
from motia_trio.settling import Settler
from motia_trio.warden import GRACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from motia_trio.actors import Life, MailboxStatistics
    from motia_trio.data import Request
    from motia_trio.entries import Running
    from motia_trio.shared import Shared
    from motia_trio.steps import Step

__all__ = ["StepActor"]


class StepActor:
    """Runs one step: a mailbox, a crew of hands, and the outcome of every attempt."""

    __slots__ = (
        "_attempts", "_crew", "_holding", "_lanes", "_life", "_mailbox", "_open", "_retry_at",
        "_settler", "_shared", "_stop", "_way_in", "name", "step",
    )  # fmt: skip

    def __init__(self, step: Step, shared: Shared) -> None:
        self.step = step
        self.name = step.name
        self._shared = shared
        self._settler = Settler(step, shared)
        self._crew: Crew[Entry] | None = None
        self._life: Life | None = None
        self._open = True
        self._holding = False
        self._retry_at = 0.0
        self._stop = trio.Event()
        lanes = lanes_of(step, shared.mailbox)
        places = max(shared.mailbox, len(lanes))  # each lane keeps one, however few there are
        self._mailbox: Mailbox[Entry] = Mailbox(places, lanes)
        self._lanes = [lane for lane in STORED if lane in lanes]
        self._way_in = _WayIn(self._lanes)
        self._attempts = Attempts(
            step,
            shared,
            self._settler,
            self._proven,
            threads=sum(lane.limit for lane in lanes.values()),
        )

    # what the edges and the router call

    async def ask(
        self,
        trigger: int,
        request: Request,
        trace_id: str,
        gone: Callable[[], Awaitable[None]] | None = None,
    ) -> Any:
        """Have the handler run for a request, and give what it returns. A checkpoint.

        What it gives may be :class:`~motia_trio.streamed.Streamed`. ``gone`` is run beside it: when
        that returns first, nobody waits any more, and the handler is cancelled.

        Raises:
            Abandoned: ``gone`` returned first.
            Overloaded: the mailbox is full, or the step is quarantined.
            TimedOut: the handler had no answer within its bound.
            HandlerFailed: it raised; an observer was told what.
            StepCrashed: its actor ended meanwhile.
            Closed: the runtime is stopping.
        """
        if not self._open:
            reason = "is stopping" if self._holding else "is quarantined"
            self._refuse(trace_id, reason, max(1.0, self._retry_at - trio.current_time()))
        deadline = trio.current_time() + self.step.triggers[trigger].limits.timeout
        entry = Ask(trigger, request, trace_id, deadline)
        if not self._mailbox.offer("http", entry):
            self._refuse(trace_id, "has a full mailbox", 1.0)
        self._shared.activity.enter()
        # no scope around the wait: who works on it answers at the bound, and the warden for
        # those who do not
        self._shared.warden.expect(deadline)
        if gone is None:
            return await entry.reply.wait()
        answer, error = None, None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_abandon_when, gone, entry)
            try:
                answer = await entry.reply.wait()
            except MotiaTrioError as raised:  # raised below, out of the nursery's groups
                error = raised
            except trio.Cancelled:
                entry.abandon()
                raise
            nursery.cancel_scope.cancel()
        if error is not None:
            raise error
        return answer

    def _refuse(self, trace_id: str, reason: str, retry_after: float) -> None:
        self._shared.observers.tell(Refused(self.name, trace_id, reason))
        raise Overloaded(f"step {self.name!r} {reason}", retry_after)

    def tick(self, tick: Tick) -> bool:
        """Have the handler run for a time that has come.

        False: the step is quarantined or stopping, or its mailbox is full; nothing was done.
        """
        if not self._takes("cron") or not self._mailbox.offer("cron", tick):
            return False
        self._shared.activity.enter()
        return True

    def reserve(self, lane: str) -> bool:
        """Keep one place for a delivery; False when there is no room or nobody to work."""
        return self._takes(lane) and self._mailbox.reserve(lane)

    def reserve_all(self, lane: str) -> int:
        """Keep every place that deliveries of a lane may have, and give their number."""
        lane = self._way_in[lane]
        if not self._takes(lane):
            return 0
        places = self._mailbox.room(lane)
        for _ in range(places):
            self._mailbox.reserve(lane)
        return places

    def free(self, lane: str, places: int) -> None:
        """Give back places that were kept for deliveries of a lane and are not needed."""
        for _ in range(places):
            self._mailbox.free(self._way_in[lane])
        if places:
            self._shared.feeder.taken(self.name)

    def hand_over(self, delivery: Delivery) -> None:
        """Put a leased delivery into a place that was kept for it."""
        self._shared.activity.enter()
        self._mailbox.fill(self._way_in[delivery.lane], delivery, delivery.message.priority)

    async def withdraw(self, message_id: str) -> int:
        """Drop what waits here of a message, and give how much that is. A checkpoint."""
        found = [
            entry
            for lane in self._lanes
            for entry in self._mailbox.withdraw(lane, lambda each: _is_of(each, message_id))
        ]
        for entry in found:
            if isinstance(entry, Delivery):  # as is all that is in these lanes
                await self._settler.done(entry)
        if found:
            self._shared.feeder.taken(self.name)
        return len(found)

    @property
    def is_fed(self) -> bool:
        """Whether the step has a trigger that gets what the store keeps."""
        return bool(self._lanes)

    def worth_feeding(self, lane: str) -> bool:
        """Whether the room for deliveries of a lane is worth a look into the store."""
        lane, mailbox = self._way_in[lane], self._mailbox
        if not self._takes(lane):
            return False
        room = mailbox.room(lane)
        # others may have all but one place: then what this lane has is handled one at a time
        return room > 0 and (room * 2 >= mailbox.share(lane) or not mailbox.used(lane))

    def _takes(self, lane: str) -> bool:
        return self._open and not self._holding and self._mailbox.has(lane)

    # what the tree shows

    def mailbox_statistics(self) -> MailboxStatistics:
        """The figures of the mailbox."""
        return self._mailbox.statistics()

    def in_flight(self) -> list[Running]:
        """The attempts in hand."""
        return list(self._attempts.running.values())

    def answer_late(self) -> float:
        """Answer the requests that have waited over their bound, begun or not.

        Gives the Trio time of the next bound, infinite if there is none.
        """
        now = trio.current_time()
        asks = [
            running.ask for running in self._attempts.running.values() if running.ask is not None
        ]
        asks += [entry for entry in self._mailbox.waiting() if isinstance(entry, Ask)]
        following = inf
        for ask in asks:
            if ask.reply.given:
                continue
            if now >= ask.deadline + GRACE:
                ask.reply.fail(TimedOut(f"step {self.name!r} did not answer in time"))
            else:
                following = min(following, ask.deadline)
        return following

    # its life

    async def run(self, life: Life) -> None:
        """Live: enter the step's lifespan, work off the mailbox, leave. A crash raises."""
        async with self._lifespan(), trio.open_nursery() as nursery:
            self._life = life
            self._crew = Crew(self._mailbox, self._attempts.work)
            if life.probing:
                self._crew.only = 1
            self._open = not self._stop.is_set()
            self._crew.start(nursery)
            life.started()
            self._shared.feeder.look()
            try:
                await self._stop.wait()
            finally:
                self._crew.stop()

    async def hold(self) -> None:
        """Take no more deliveries; those that wait go back. Requests go on. A checkpoint.

        Answers that would never end are ended.
        """
        for running in self.in_flight():
            if running.ask is not None:
                running.ask.end()
        self._holding = self._attempts.holding = True
        for entry in reversed(self._mailbox.drain(*STORED, "cron")):
            await self._attempts.release(entry)

    def stop(self) -> None:
        """Take nothing more; what is in hand goes on to its end."""
        self._open = False
        self._stop.set()

    async def down(self, retry_after: float | None) -> None:
        """Be told of a crash. In quarantine nothing may wait here. A checkpoint."""
        if retry_after is not None:
            self._open = False
            self._retry_at = trio.current_time() + retry_after
            await self.give_back(Overloaded(f"step {self.name!r} is quarantined", retry_after))

    async def give_back(self, refusal: Exception) -> None:
        """Empty the mailbox: deliveries go back unattempted, requests get the refusal."""
        for entry in reversed(self._mailbox.drain()):
            if isinstance(entry, Ask):
                entry.reply.fail(refusal)
                self._shared.activity.leave()
            elif isinstance(entry, Tick):
                entry.done(False)  # noqa: FBT003 - what it is called with is told in its docstring
                self._shared.activity.leave()
            else:
                await self._settler.give_back(entry)

    def _proven(self) -> None:
        """An attempt went well: a probe ends."""
        if self._life is not None and self._life.probing:
            self._life.proven()
            if self._crew is not None:
                self._crew.let(None)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        if self.step.lifespan is None:
            yield
            return
        ctx = Context(self._shared, self.step, trace_id=new_trace_id())
        RUNNING.set(ctx)  # for what it starts; a handler's own is set for each
        scope = self.step.lifespan(ctx)
        if not hasattr(scope, "__aenter__"):
            raise TypeError(
                f"lifespan(ctx) of step {self.name!r} gave {type(scope).__qualname__}, which is no "
                "async context manager; put @contextlib.asynccontextmanager above it"
            )
        async with scope as resources:
            await ctx.finish()  # what it called and did not await, as in a handler
            self._attempts.resources = resources
            try:
                yield
            finally:
                self._attempts.resources = None
        await ctx.finish()


class _WayIn(dict[str, str]):
    """The mailbox's lane for what the store has in a lane.

    What was stored for a kind of trigger that the step has no more comes in by the lane of another:
    somebody has to look at it, to tell what becomes of it.
    """

    def __init__(self, lanes: Sequence[str]) -> None:
        super().__init__({lane: lane for lane in lanes})
        self._other = lanes[0] if lanes else ""

    def __missing__(self, lane: str) -> str:
        return self._other


def _is_of(entry: Entry, message_id: str) -> bool:
    return isinstance(entry, Delivery) and entry.message.id == message_id


async def _abandon_when(gone: Callable[[], Awaitable[None]], ask: Ask) -> None:
    await gone()
    ask.abandon()
    ask.reply.fail(Abandoned("the client has left"))
