"""Runs steps at the times of their schedules: one task for all, asleep until the first is due.

A tick goes straight to its step's mailbox. What outlives the process is a record for each schedule,
kept before the tick is handed over, so that no tick is run twice.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, TypeAlias

import trio

from motia_trio.entries import Tick
from motia_trio.errors import Overloaded
from motia_trio.events import StoreFailed, TickSkipped
from motia_trio.failures import tell_error
from motia_trio.messages import new_trace_id
from motia_trio.plans import Record, plans_of
from motia_trio.store import MAX_CRASHES, Put, Work

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motia_trio.actor import StepActor
    from motia_trio.plans import Plan, ScheduleNode
    from motia_trio.shared import Shared

__all__ = ["Scheduler"]

# seconds by which a tick may be late: more than a loop that was held up or a clock that was set a
# little, looked at once a minute, explain. After that it was missed
LATE = 120.0
# ticks that are kept and handed over together, and schedules that are looked at, between two
# chances for other tasks
AT_ONCE, LOOKED_AT = 128, 32
# of missed ticks, how many are counted
COUNTED = 1000
# a store that fails is asked again after so many seconds
STORE_RETRY = 5.0
_TAKES_NOTHING = "it is quarantined, or its mailbox is full"


Due: TypeAlias = "tuple[Plan, float]"


class Scheduler:
    """Hands ticks to the actors whose steps have schedules."""

    def __init__(self, shared: Shared, actors: Sequence[StepActor]) -> None:
        self._shared = shared
        self._actors = {actor.name: actor for actor in actors}
        plans = {actor.name: plans_of(actor.step) for actor in actors}
        self._plans = {step: found for step, found in plans.items() if found}
        self._planned = False
        self._heap: list[tuple[float, int, Plan]] = []
        self._scope = trio.CancelScope()
        # whose records changed and are to be kept; one writes at a time, so that none is overtaken
        self._changed: set[Plan] = set()
        self._wake = trio.Event()
        self._writing = trio.Lock()
        self._failing = False

    def nodes(self, step: str) -> tuple[ScheduleNode, ...]:
        """Tell how the schedules of a step stand. Where nothing runs: how they would."""
        plans = self._plans.get(step, [])
        if not self._planned:
            now = self._shared.clock.now()
            for plan in plans:
                self._recall(plan, now)
        return tuple(plan.node() for plan in plans)

    def run_now(self, step: str, which: int | str | None) -> str:
        """Run a schedule's trigger, by its index or expression, or the only one; give the trace id.

        Raises:
            KeyError: there is no such step, or no such trigger.
            ValueError: it has several, and nothing says which.
            Overloaded: it is still running, or its step takes nothing now.
        """
        plan = self._find(step, which)
        if plan.is_full:
            raise Overloaded(f"step {step!r} still runs for {plan.trigger.expression!r}")
        trace_id, now = new_trace_id(), self._shared.clock.now()
        done = partial(self._ended, plan, by_hand=True)
        if not self._actors[step].tick(Tick(plan.index, trace_id, now, done)):
            raise Overloaded(f"step {step!r} takes nothing now: {_TAKES_NOTHING}")
        plan.running += 1
        plan.by_hand += 1
        return trace_id

    def _find(self, step: str, which: int | str | None) -> Plan:
        plans = self._plans.get(step)
        if plans is None:
            steps = ", ".join(self._plans) or "none"
            raise KeyError(f"there is no step {step!r} with a cron trigger; there are: {steps}")
        told = ", ".join(f"{plan.index} ({plan.trigger.expression})" for plan in plans)
        if which is None and len(plans) > 1:
            raise ValueError(f"step {step!r} has {len(plans)} cron triggers: say which of {told}")
        for plan in plans:
            if which is None or which in (plan.index, plan.trigger.expression):
                return plan
        raise KeyError(f"step {step!r} has no cron trigger {which!r}; it has {told}")

    # the life of its task

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Plan, say so, and hand over ticks until :meth:`stop`. Keeps records until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep)
            owed = await self._plan()
            self._shared.activity.enter()
            task_status.started()
            with self._scope:
                await self._catch_up(owed)
                while self._heap:
                    await self._tick(nursery)

    def stop(self) -> None:
        """Hand over no more ticks. Records are still kept."""
        self._scope.cancel()

    async def _plan(self) -> list[Due]:
        """Plan every schedule; give what is owed from before."""
        owed: list[Due] = []
        plans = [plan for found in self._plans.values() for plan in found]
        for number, plan in enumerate(plans):
            if number % LOOKED_AT == 0:
                await trio.lowlevel.checkpoint()
            now = self._shared.clock.now()
            self._recall(plan, now)
            if plan.trigger.catch_up and (at := self._owed(plan, now)) is not None:
                owed.append((plan, at))
            if plan.next_at is not None:
                self._heap.append((plan.next_at, number, plan))
        heapify(self._heap)
        self._planned = True
        return owed

    def _recall(self, plan: Plan, now: float) -> None:
        item = self._shared.store.read(plan.place, now)
        plan.recall(None if item is None else item.value, now)

    def _owed(self, plan: Plan, now: float) -> float | None:
        """The tick that makes up for those missed since the record, or the one it died in."""
        record = plan.record
        if record is None:  # seen for the first time: what is missed from now on is owed
            self._change(plan, Record(now))
            return None
        missed = plan.schedule.latest(record.at, now)
        if missed is not None or record.done:
            return missed
        if record.begun < MAX_CRASHES:
            return record.at
        self._change(plan, record.ended())
        self._skip(plan, f"it was begun {record.begun} times and never ended well")
        return None

    async def _catch_up(self, owed: Sequence[Due]) -> None:
        """Run at once what is owed."""
        try:
            for start in range(0, len(owed), AT_ONCE):
                batch = owed[start : start + AT_ONCE]
                await self._start([(plan, at) for plan, at in batch if self._may_begin(plan, at)])
        finally:
            self._shared.activity.leave()

    async def _tick(self, nursery: trio.Nursery) -> None:
        """Hand over what is due, or sleep until something is. A checkpoint."""
        clock = self._shared.clock
        due: list[Due] = []
        for _ in range(AT_ONCE):
            now = clock.now()
            if not self._heap or self._heap[0][0] > now:
                break
            at, number, plan = heappop(self._heap)
            latest, following = at, plan.schedule.after(at)
            if following is not None and following <= now:
                latest = plan.schedule.latest(at, now) or at
                following = plan.schedule.after(latest)
            plan.next_at = following
            if following is not None:
                heappush(self._heap, (following, number, plan))
            runs = now - latest <= LATE or plan.trigger.catch_up
            if latest > at or not runs:
                self._shared.activity.enter()
                nursery.start_soon(self._count_missed, plan, at, latest if runs else latest + 1)
            if runs and self._may_begin(plan, latest):
                due.append((plan, latest))
        if due:
            await self._start(due)
        elif self._heap and self._heap[0][0] > clock.now():
            await trio.sleep_until(clock.deadline(self._heap[0][0]))
        else:
            await trio.lowlevel.checkpoint()

    def _may_begin(self, plan: Plan, at: float) -> bool:
        """Take a run, unless as many are under way as may be."""
        if not plan.is_full:
            plan.running += 1
            return True
        self._skip(plan, "the last run still goes on")
        if plan.trigger.catch_up and plan.record is not None:
            # it is accounted for: the next start does not make up for it
            self._change(plan, plan.record.passed(at))
        return False

    async def _start(self, due: Sequence[Due]) -> None:
        """Keep that these ticks begin, then hand them to their steps. A checkpoint."""
        left = deque(due)
        self._shared.activity.enter()
        try:
            if not await self._begin(due):
                return
            while left:
                self._hand_over(*left.popleft())
                if len(left) % LOOKED_AT == 0:
                    # a stop comes before or after them all, not between a record and its run
                    await trio.lowlevel.cancel_shielded_checkpoint()
        finally:
            for plan, _ in left:
                plan.running -= 1
            self._shared.activity.leave()

    async def _begin(self, due: Sequence[Due]) -> bool:
        """Keep that these ticks begin. If it cannot be kept, none does: better none than two."""
        async with self._writing:
            records = [(plan, plan.beginning(at)) for plan, at in due]
            if not await self._commit(records):
                for plan, _ in due:
                    self._skip(plan, "the store could not keep that it begins")
                return False
            for plan, record in records:
                plan.record = record
        return True

    def _hand_over(self, plan: Plan, at: float) -> None:
        if self._scope.cancel_called:
            reason = "the service is stopping"
        else:
            done = partial(self._ended, plan)
            if self._actors[plan.step.name].tick(Tick(plan.index, new_trace_id(), at, done)):
                plan.last_at = at
                return
            reason = _TAKES_NOTHING
        plan.running -= 1
        self._skip(plan, reason)

    def _ended(self, plan: Plan, ok: bool, *, by_hand: bool = False) -> None:  # noqa: FBT001
        """A run has ended: what a tick's ``done`` is."""
        plan.running -= 1
        if by_hand:
            plan.by_hand -= 1
        elif ok and plan.record and not plan.record.done and plan.running == plan.by_hand:
            self._change(plan, plan.record.ended())

    async def _count_missed(self, plan: Plan, since: float, until: float) -> None:
        """Tell how many ticks were missed, from ``since`` on and before ``until``."""
        missed, at = 0, plan.schedule.after(since - 1)
        try:
            while at is not None and at < until and missed < COUNTED:
                missed, at = missed + 1, plan.schedule.after(at)
                if missed % LOOKED_AT == 0:
                    await trio.lowlevel.checkpoint()
            more = "" if missed < COUNTED else f" (no more than {COUNTED} are counted)"
            self._skip(plan, f"the clock went past it{more}", missed)
        finally:
            self._shared.activity.leave()
        await trio.lowlevel.checkpoint()

    def _skip(self, plan: Plan, reason: str, skipped: int = 1) -> None:
        plan.skipped += skipped
        name, source = plan.step.name, plan.step.source
        self._shared.observers.tell(
            TickSkipped(name, source, plan.trigger.expression, reason, skipped)
        )

    # the records

    def _change(self, plan: Plan, record: Record) -> None:
        """Change a record, and have it kept soon."""
        plan.record = record
        if plan not in self._changed:
            self._changed.add(plan)
            self._shared.activity.enter()
        self._wake.set()

    async def _keep(self) -> None:
        """Keep records that changed, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            if not await self.flush():
                await trio.sleep(STORE_RETRY)
                self._wake.set()

    async def flush(self) -> bool:
        """Keep the records that changed, and give whether they are kept. A checkpoint."""
        async with self._writing:
            changed, self._changed = self._changed, set()
            records = [(plan, plan.record) for plan in changed if plan.record is not None]
            kept = False
            try:
                kept = await self._commit(records)
            finally:
                for plan in changed:
                    if kept or plan in self._changed:
                        self._shared.activity.leave()
                    else:
                        self._changed.add(plan)
        return kept

    async def _commit(self, records: Sequence[tuple[Plan, Record]]) -> bool:
        """Keep records; give whether they are kept. A failing store is told of once."""
        shared = self._shared
        if not records:
            return True
        writes = [Put(plan.place, record.encode()) for plan, record in records]
        try:
            await shared.store.commit(Work(writes=writes), shared.clock.now())
        except OSError as error:
            if not self._failing:
                step = records[0][0].step.name
                shared.observers.tell(StoreFailed(step, None, None, tell_error(error).error))
            self._failing = True
            return False
        self._failing = False
        return True
