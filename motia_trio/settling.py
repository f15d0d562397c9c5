"""How a delivery ends: done, tried again, given back, or kept as a dead letter."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from motia_trio.events import AttemptFailed, DeadLettered, StoreFailed
from motia_trio.failures import Told, tell_error
from motia_trio.messages import Ack, Bury, Delivery, Failure, GiveBack, Outcome, Retry

if TYPE_CHECKING:
    from motia_trio.shared import Shared
    from motia_trio.steps import Step

__all__ = ["Settler"]

# seconds that a settle, which nothing else may cut short, may take
SETTLE_LIMIT = 10.0


class Settler:
    """Tells the store how one step's deliveries ended, and whom it concerns."""

    __slots__ = ("_shared", "_step")

    def __init__(self, step: Step, shared: Shared) -> None:
        self._step = step
        self._shared = shared

    async def done(self, delivery: Delivery) -> None:
        """The handler returned."""
        await self._settle(delivery, Ack())

    async def give_back(self, delivery: Delivery) -> None:
        """No attempt was made, or we ended it: nothing is counted."""
        await self._settle(delivery, GiveBack())

    async def fail(self, delivery: Delivery, told: Told, started_at: float) -> None:
        """An attempt failed: decide when to deliver again. ``started_at`` is a wall time."""
        shared, message = self._shared, delivery.message
        policy = self._step.triggers[delivery.trigger].limits.retry
        wait = policy.wait_after(delivery.attempt, shared.random.random())
        now = shared.clock.now()
        failure = Failure(
            attempt=delivery.attempt,
            started_at=started_at,
            ended_at=now,
            error=told.error,
            where=told.where,
            traceback=told.traceback,
        )
        shared.observers.tell(
            AttemptFailed(
                step=self._step.name,
                source=self._step.source,
                trace_id=message.trace_id,
                message_id=message.id,
                topic=message.topic,
                attempt=delivery.attempt,
                attempts=policy.attempts,
                error=told.error,
                where=told.where,
                traceback=told.traceback,
                retry_in=wait,
            )
        )
        if wait is None:
            times = "once" if delivery.attempt == 1 else f"{delivery.attempt} times"
            reason = f"failed {times}; last: {told.error}"
            await self.bury(delivery, reason, failure)
        else:
            await self._settle(delivery, Retry(now + wait, failure))

    async def bury(self, delivery: Delivery, reason: str, failure: Failure | None = None) -> None:
        """Keep it as a dead letter."""
        step, message = self._step, delivery.message
        if await self._settle(delivery, Bury(reason, failure)):
            self._shared.observers.tell(
                DeadLettered(
                    step.name, step.source, message.trace_id, message.id, message.topic, reason
                )
            )

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Tell the store, shielded. Gives False if the store could not keep it."""
        shared = self._shared
        try:
            limit = trio.current_time() + SETTLE_LIMIT
            with trio.CancelScope(shield=True, deadline=limit) as scope:
                await shared.store.settle(delivery, outcome, shared.clock.now())
            problem = f"no answer in {SETTLE_LIMIT:g} s" if scope.cancelled_caught else None
        except OSError as error:
            problem = tell_error(error).error
        shared.activity.leave()
        if problem is not None:
            message = delivery.message
            shared.observers.tell(
                StoreFailed(self._step.name, message.trace_id, message.id, problem)
            )
            return False
        if isinstance(outcome, Retry):
            shared.feeder.due_later(outcome.due_at)
        elif delivery.fifo is not None or isinstance(outcome, GiveBack):
            shared.feeder.stored(self._step.name)
        return True
