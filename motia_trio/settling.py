"""How a delivery ends: done, tried again, given back, or kept as a dead letter."""

from __future__ import annotations

from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import trio

from motia_trio.errors import Conflict
from motia_trio.events import AttemptFailed, DeadLettered, StoreFailed, StoreRecovered
from motia_trio.failures import Told, tell_error
from motia_trio.messages import Ack, Bury, Delivery, Failure, GiveBack, Outcome, Retry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from motia_trio.access import Transaction
    from motia_trio.policies import RetryPolicy
    from motia_trio.shared import Shared
    from motia_trio.steps import Step

__all__ = ["Settler", "shielded"]

T = TypeVar("T")
Write: TypeAlias = "Callable[[], Awaitable[None]]"

# seconds after which a store that could not keep something is asked again, doubling, at the most
FIRST_RETRY, LAST_RETRY = 0.1, 5.0
# acknowledgements of a step that may be on their way to the disk with nobody waiting for them
UNDER_WAY = 256


class Settler:
    """Tells the store how one step's deliveries ended, and whom it concerns."""

    __slots__ = ("_shared", "_step", "_under_way")

    def __init__(self, step: Step, shared: Shared) -> None:
        self._step = step
        self._shared = shared
        self._under_way = 0

    async def done(self, delivery: Delivery, transaction: Transaction | None = None) -> None:
        """The handler returned. Its transaction is kept with the acknowledgement, or neither.

        Raises:
            Conflict: the transaction cannot be kept, the handler has to run again.
        """
        if transaction is None:
            # one that was in hand when the process died is out of hand before the next one begins
            if delivery.crashes or not self._acknowledge(delivery):
                await self._settle(delivery, Ack())
        else:
            commit = partial(shielded, transaction.commit, delivery)
            await self._keep(delivery, commit, partial(self._kept, delivery, Ack()))

    def _acknowledge(self, delivery: Delivery) -> bool:
        """Begin to acknowledge, and do not wait for it, unless too much is under way already."""
        if self._under_way >= UNDER_WAY:
            return False
        self._under_way += 1
        begun = self._shared.store.acknowledge(delivery, partial(self._acknowledged, delivery))
        if not begun:
            self._under_way -= 1
        return begun

    def _acknowledged(self, delivery: Delivery, error: Exception | None) -> None:
        """The store has kept an acknowledgement, or could not."""
        if error is None:
            self._under_way -= 1
            self._shared.activity.leave()
            self._tell_feeder(delivery, Ack())
        else:
            self._shared.again(self._acknowledge_again, delivery)

    async def _acknowledge_again(self, delivery: Delivery) -> None:
        """It is under way until it is kept: with too many such the hands wait, not the memory."""
        try:
            await self._settle(delivery, Ack())
        finally:
            self._under_way -= 1

    async def give_back(self, delivery: Delivery) -> None:
        """No attempt was made, or we ended it: nothing is counted."""
        await self._settle(delivery, GiveBack())

    async def fail(
        self, delivery: Delivery, told: Told, policy: RetryPolicy, started_at: float
    ) -> None:
        """An attempt failed: decide when to deliver again. ``started_at`` is a wall time."""
        shared, message = self._shared, delivery.message
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
        await self._settle(delivery, Bury(reason, failure))

    async def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        """Tell the store, and when it has kept it whom it concerns."""
        store, clock = self._shared.store, self._shared.clock

        async def settle() -> None:
            await store.settle(delivery, outcome, clock.now())

        await self._keep(delivery, settle, partial(self._kept, delivery, outcome))

    def _kept(self, delivery: Delivery, outcome: Outcome) -> None:
        """The store has kept how a delivery ended."""
        self._tell_feeder(delivery, outcome)
        if isinstance(outcome, Bury):
            step, message = self._step, delivery.message
            self._shared.asks.fail(message.id, f"step {step.name!r}: {outcome.reason}")
            self._shared.observers.tell(
                DeadLettered(
                    step.name,
                    step.source,
                    message.trace_id,
                    message.id,
                    message.topic,
                    outcome.reason,
                    delivery.id,
                )
            )

    def _tell_feeder(self, delivery: Delivery, outcome: Outcome) -> None:
        if isinstance(outcome, Retry):
            self._shared.feeder.due_later(outcome.due_at)
        elif delivery.fifo is not None or isinstance(outcome, GiveBack):
            self._shared.feeder.stored(self._step.name, delivery.lane)

    async def _keep(self, delivery: Delivery, write: Write, kept: Callable[[], None]) -> None:
        """Have the store keep how a delivery ended, and call ``kept``; while it cannot, ask again.

        ``write`` shields itself. Cancelled meanwhile, by a bound, a crash or a stop, this goes on
        in the background as long as the runtime runs. What is not kept then is in nobody's hand,
        and comes again when the store is opened the next time.

        Raises:
            Conflict: what was to be kept with it cannot be.
        """
        shared, message = self._shared, delivery.message
        began = trio.current_time()
        try:
            problem = await _problem(write)
            if problem is not None:
                shared.observers.tell(
                    StoreFailed(self._step.name, message.trace_id, message.id, problem)
                )
                if not await _ask_again(write):
                    shared.again(self._keep_on, delivery, write, kept, began)
                    return
                self._tell_recovered(delivery, began)
        except Exception:  # a conflict, or what cannot be kept at all: it is in hand as before
            raise
        except BaseException:
            shared.activity.leave()
            raise
        shared.activity.leave()
        kept()

    async def _keep_on(
        self, delivery: Delivery, write: Write, kept: Callable[[], None], began: float
    ) -> None:
        """Go on asking the store, in the background."""
        try:
            done = await _ask_again(write)
        except Conflict:
            await self.give_back(delivery)  # nobody is there to run it again: that is for the next
            return
        except Exception as error:  # noqa: BLE001 - a defect, which must not end the runtime
            message, told = delivery.message, tell_error(error).error
            self._shared.observers.tell(
                StoreFailed(self._step.name, message.trace_id, message.id, told)
            )
            await self.give_back(delivery)
            return
        except BaseException:
            self._shared.activity.leave()
            raise
        self._shared.activity.leave()
        if done:
            self._tell_recovered(delivery, began)
            kept()

    def _tell_recovered(self, delivery: Delivery, began: float) -> None:
        message, took = delivery.message, trio.current_time() - began
        self._shared.observers.tell(
            StoreRecovered(self._step.name, message.trace_id, message.id, took)
        )


async def _problem(write: Write) -> str | None:
    """Call it, and tell what kept the store from keeping it, if anything did."""
    try:
        await write()
    except OSError as error:
        return tell_error(error).error
    return None


async def _ask_again(write: Write) -> bool:
    """Call it now and then until it is kept. Gives False when this is cancelled before it is."""
    wait = FIRST_RETRY
    while trio.current_effective_deadline() > -inf:
        try:
            await trio.sleep(wait)
        except trio.Cancelled:  # noqa: ASYNC103 - the next checkpoint tells whom it concerns
            return False  # noqa: ASYNC104
        if await _problem(write) is None:
            return True
        wait = min(LAST_RETRY, wait * 2)
    return False


async def shielded(call: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Call it, and wait for its end whatever is cancelled meanwhile."""
    result: list[T] = []
    with trio.CancelScope(shield=True):
        result.append(await call(*args))
    return result[0]
