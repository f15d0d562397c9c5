"""Attempts at one step's entries: run the handler in its bounds, judge how it ended, settle."""

from __future__ import annotations

import inspect
from copy import deepcopy
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import trio
from attrs import evolve

from motia_trio.access import Direct, Transaction
from motia_trio.actors import Hand, drive, in_thread
from motia_trio.context import Context, TriggerInfo
from motia_trio.data import wrap
from motia_trio.entries import Ask, Entry, Running
from motia_trio.errors import (
    Closed,
    Conflict,
    HandlerFailed,
    HandlerIgnoredCancel,
    StepCrashed,
    TimedOut,
)
from motia_trio.events import AskFailed, TransactionRepeated
from motia_trio.failures import leaves, tell_error
from motia_trio.messages import Origin
from motia_trio.router import HOP_LIMIT, STATE_TOPIC, STREAM_TOPIC
from motia_trio.settling import shielded
from motia_trio.steps import QueueTrigger, StateTrigger, StreamTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.messages import Delivery
    from motia_trio.settling import Settler
    from motia_trio.shared import Shared
    from motia_trio.steps import Handler, Step, Trigger

__all__ = ["Attempts"]


class Attempts:
    """Makes them. ``on_success`` is told of each that went well."""

    __slots__ = (
        "_handler", "_infos", "_limiter", "_on_success", "_settler", "_shared", "_step", "holding",
        "resources", "running",
    )  # fmt: skip

    def __init__(
        self,
        step: Step,
        handler: Handler,
        shared: Shared,
        settler: Settler,
        on_success: Callable[[], None],
        threads: int,
    ) -> None:
        self._step = step
        self._handler = handler
        self._shared = shared
        self._settler = settler
        self._on_success = on_success
        self._infos = [TriggerInfo.of(trigger, i) for i, trigger in enumerate(step.triggers)]
        # threads of its own: a step whose threads hang does not take the others' threads
        self._limiter = None if handler.is_async else trio.CapacityLimiter(threads)
        #: what the step's lifespan yielded
        self.resources: Any = None
        #: whether the runtime is stopping
        self.holding = False
        #: what is in hand
        self.running: dict[Hand, Running] = {}

    async def work(self, hand: Hand, entry: Entry) -> None:
        """Run the handler once and settle. Raises only for a crash of the actor."""
        self._shared.feeder.taken(self._step.name)
        if isinstance(entry, Ask) or not entry.crashes:
            await self._work_on(hand, entry)
            return
        # the process died with it in hand: if it does so again, nothing else is to blame
        try:
            await self._shared.suspects.acquire()
        except trio.Cancelled:
            await self.release(entry)  # noqa: ASYNC102 - shields itself
            raise
        try:
            await self._work_on(hand, entry)
        finally:
            self._shared.suspects.release()

    async def _work_on(self, hand: Hand, entry: Entry) -> None:
        now = trio.current_time()
        ask = entry if isinstance(entry, Ask) else None
        trigger = entry.trigger if ask is not None else self._trigger_of(entry)  # type: ignore[arg-type]
        bound = now if trigger is None else now + self._step.triggers[trigger].limits.timeout
        running = Running(
            _trace_of(entry), now, bound if ask is None else ask.deadline, ask, trigger or 0
        )
        try:
            if ask is not None:
                await self._answer(hand, ask, running)
            else:
                await self._deliver(hand, entry, running, known=trigger is not None)  # type: ignore[arg-type]
        except Exception as error:
            if running.settled:
                raise
            # what no handler should be able to bring about, or a defect of ours: it ends here,
            # and nobody waits for it for ever
            await self._give_up(entry, running, error)

    def _trigger_of(self, delivery: Delivery) -> int | None:
        """Which trigger a stored delivery is for: the step may have changed since it was stored."""
        topic = delivery.message.topic
        topics = [_topic_of(trigger) for trigger in self._step.triggers]
        if delivery.trigger < len(topics) and topics[delivery.trigger] == topic:
            return delivery.trigger
        return topics.index(topic) if topic in topics else None

    async def _answer(self, hand: Hand, ask: Ask, running: Running) -> None:
        """Have a request answered."""
        if ask.reply.given or running.started >= ask.deadline:
            running.settled = True
            ask.reply.fail(TimedOut(f"step {self._step.name!r} was too busy to begin in time"))
            self._shared.activity.leave()
            return
        await self._attempt(hand, ask, running)

    async def _deliver(
        self, hand: Hand, delivery: Delivery, running: Running, *, known: bool
    ) -> None:
        """Make one attempt at a delivery, if it is still worth one."""
        message, shared = delivery.message, self._shared
        reason = None
        if not known:
            reason = f"the step has no trigger for {message.topic!r} any more"
        elif message.hops > HOP_LIMIT:
            reason = f"stopped after a chain of {HOP_LIMIT} hops: a loop?"
        elif message.expires_at is not None and message.expires_at <= shared.clock.now():
            late = shared.clock.now() - message.expires_at
            reason = f"expired {late:.1f} s before its turn came"
        if reason is not None:
            running.settled = True
            await self._settler.bury(delivery, reason)
            return
        shared.warden.expect(running.bound)
        shared.store.begin(delivery)
        await self._attempt(hand, delivery, running)

    async def _attempt(self, hand: Hand, entry: Entry, running: Running) -> None:
        """Run the handler in its bounds, and judge how it ended; a transaction until it fits."""
        self.running[hand] = running
        try:
            if not self._step.transactional:
                await self._try(hand, entry, running, None)
                return
            contended, times = self._shared.contended, 0
            while True:
                transaction = Transaction(self._shared, self._origin_of(entry), self._step)
                try:
                    await self._try(hand, entry, running, transaction, alone=times > 0)
                    break
                except Conflict as conflict:
                    times += 1
                    self._shared.observers.tell(
                        TransactionRepeated(self._step.name, running.trace_id, str(conflict), times)
                    )
                    running.settled = False
                    if trio.current_time() >= running.bound:
                        error = TimedOut(f"{conflict}, {times} times, until its time was up")
                        await self._fail(entry, running, error, late=True)
                        return
                finally:
                    if contended.statistics().owner is trio.lowlevel.current_task():
                        contended.release()
        finally:
            del self.running[hand]

    def _origin_of(self, entry: Entry) -> Origin:
        hops = 0 if isinstance(entry, Ask) else entry.message.hops
        return Origin(_trace_of(entry), hops + 1, self._step.name)

    async def _try(
        self,
        hand: Hand,
        entry: Entry,
        running: Running,
        transaction: Transaction | None,
        *,
        alone: bool = False,
    ) -> None:
        """Run the handler once, in its bounds, and judge how it ended.

        Raises:
            Conflict: its transaction cannot be kept, and nothing of it was.
        """
        input: Any
        if isinstance(entry, Ask):
            # a transaction may have to begin anew, with the request as it was
            input = entry.request if transaction is None else deepcopy(entry.request)
        else:
            input = wrap(entry.message.data)
        origin = self._origin_of(entry)
        ctx = Context(
            self._shared,
            self._step,
            trace_id=running.trace_id,
            input=input,
            trigger=self._infos[running.trigger],
            resources=self.resources,
            thread=not self._handler.is_async,
            access=transaction or Direct(self._shared, origin, self._step),
        )
        hand.bind(running.bound)
        error: BaseException | None = None
        result: Any = None
        try:
            if alone:
                hand.arm()
                await self._shared.contended.acquire()
            try:
                result = await self._place(hand, input, ctx)
            finally:
                if ctx.pending():
                    hand.arm()
                    await ctx.finish()  # noqa: ASYNC102 - bounded and cancelled as the handler is
        except BaseException as raised:  # noqa: BLE001, ASYNC103 - judged below, by its leaves
            error = raised
        late = hand.unbind()
        if transaction is not None:
            transaction.close()
        await self._judge(entry, running, result, error, transaction, late=late)

    async def _place(self, hand: Hand, input: object, ctx: Context) -> Any:
        """Run the handler where it belongs."""
        handler = self._handler
        arguments = handler.arguments(input, ctx)
        if self._limiter is None:
            result = handler.function(*arguments)
        else:
            hand.arm()
            result = await in_thread(handler.function, *arguments, limiter=self._limiter)
            ctx.leave_thread()
        if type(result) is CoroutineType:
            return await drive(result, hand.arm)
        if inspect.isawaitable(result):
            hand.arm()
            return await result
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError("the handler gave a generator, which nobody would run; use return")
        return result

    async def _judge(
        self,
        entry: Entry,
        running: Running,
        result: Any,
        error: BaseException | None,
        transaction: Transaction | None,
        *,
        late: bool,
    ) -> None:
        """Settle an attempt by how it ended. Raises what must end the actor, or pass through it."""
        if error is None and (not late or self._limiter is not None):
            # a thread cannot be stopped: what it did in the end, it did
            running.settled = True
            await self._succeed(entry, running, result, transaction)
            return
        found = leaves(error) if error is not None else []
        ended = [leaf for leaf in found if not isinstance(leaf, Exception)]
        interrupted = any(isinstance(leaf, KeyboardInterrupt) for leaf in ended)
        stubborn = any(isinstance(leaf, HandlerIgnoredCancel) for leaf in found)
        # a Cancelled that nobody's scope asked for is the handler's own doing: it was kept
        cut = any(isinstance(leaf, trio.Cancelled) for leaf in ended) or stubborn
        if error is not None and (interrupted or (cut and not late and _is_cancelled())):
            running.settled = True
            await self.release(entry)
            raise error
        if late and not (stubborn or any(isinstance(leaf, SystemExit) for leaf in ended)):
            bound = self._step.triggers[running.trigger].limits.timeout
            error = TimedOut(
                f"ran longer than {bound:g} s; raise handler.timeout or split the step"
            )
            ended = []
        if error is None:  # a stubborn one without an error cannot be
            return
        await self._fail(entry, running, error, late=late)
        if ended or stubborn:
            told = tell_error(error)
            raise StepCrashed(
                f"handler of step {self._step.name!r} ended its actor: {told.error}"
            ) from error

    async def _succeed(
        self, entry: Entry, running: Running, result: Any, transaction: Transaction | None
    ) -> None:
        """Answer, or acknowledge, once what the handler did is kept."""
        if isinstance(entry, Ask):
            if transaction is not None and (error := await self._commit(transaction)):
                await self._fail(entry, running, error, late=False)
                return
            entry.reply.set(result)
            self._shared.activity.leave()
        else:
            try:
                await self._settler.done(entry, transaction)
            except Conflict:
                raise
            except Exception as error:  # noqa: BLE001 - it cannot be kept as it is: a failure
                await self._fail(entry, running, error, late=False)
                return
        self._on_success()

    async def _commit(self, transaction: Transaction) -> Exception | None:
        """Keep a request's transaction. Gives what kept it from being kept, conflicts aside."""
        try:
            await shielded(transaction.commit)
        except Conflict:
            raise
        except Exception as error:  # noqa: BLE001 - answered as a failure
            return error
        return None

    async def release(self, entry: Entry) -> None:
        """The attempt was ended by us, not by the handler: nothing is counted."""
        if isinstance(entry, Ask):
            stopping = self.holding
            words = "is stopping" if stopping else "crashed while it had this request in hand"
            kind = Closed if stopping else StepCrashed
            entry.reply.fail(kind(f"step {self._step.name!r} {words}"))
            self._shared.activity.leave()
        else:
            await self._settler.give_back(entry)

    async def _fail(
        self, entry: Entry, running: Running, error: BaseException, *, late: bool
    ) -> None:
        """Count a failed attempt: answer the request, or decide when to deliver again."""
        shared, step = self._shared, self._step
        if isinstance(error, RuntimeError) and "no running event loop" in str(error):
            error.add_note("handlers run on Trio in this version: use trio, or a plain def handler")
        told = tell_error(error, shared.root)
        if isinstance(error, TimedOut):  # ours: it was raised nowhere
            told = evolve(told, where=step.source)
        if isinstance(entry, Ask):
            shared.observers.tell(
                AskFailed(
                    step.name, step.source, entry.trace_id, told.error, told.where, told.traceback
                )
            )
            running.settled = True
            entry.reply.fail((TimedOut if late else HandlerFailed)(f"step {step.name!r} failed"))
            shared.activity.leave()
            return
        running.settled = True
        took = trio.current_time() - running.started
        # the trigger that it is for now, which may not be the one that it was stored for
        policy = step.triggers[running.trigger].limits.retry
        await self._settler.fail(entry, told, policy, started_at=shared.clock.now() - took)

    async def _give_up(self, entry: Entry, running: Running, error: Exception) -> None:
        """End an entry that could not even be judged."""
        told = tell_error(error, self._shared.root)
        running.settled = True
        if isinstance(entry, Ask):
            trace = told.traceback
            self._shared.observers.tell(
                AskFailed(
                    self._step.name,
                    self._step.source,
                    entry.trace_id,
                    told.error,
                    told.where,
                    trace,
                )
            )
            entry.reply.fail(HandlerFailed(f"step {self._step.name!r} failed"))
            self._shared.activity.leave()
        else:
            await self._settler.bury(entry, f"could not be worked off: {told.error}")


def _trace_of(entry: Entry) -> str:
    return entry.trace_id if isinstance(entry, Ask) else entry.message.trace_id


def _topic_of(trigger: Trigger) -> str | None:
    """The topic of the messages that a trigger gets, None if it gets none."""
    if isinstance(trigger, QueueTrigger):
        return trigger.topic
    if isinstance(trigger, StateTrigger):
        return STATE_TOPIC
    return STREAM_TOPIC if isinstance(trigger, StreamTrigger) else None


def _is_cancelled() -> bool:
    return trio.current_effective_deadline() == float("-inf")
