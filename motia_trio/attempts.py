"""Attempts at one step's entries: run the handler in its bounds, judge how it ended, settle."""

from __future__ import annotations

from copy import deepcopy
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

import trio
from attrs import evolve

from motia_trio.access import Direct, Transaction
from motia_trio.answering import Answerer, Stream
from motia_trio.context import RUNNING, Context, TriggerInfo
from motia_trio.entries import Ask, Entry, Running, Tick
from motia_trio.errors import (
    Closed,
    Conflict,
    HandlerIgnoredCancel,
    StepCrashed,
    TimedOut,
)
from motia_trio.events import StepSkipped, TransactionRepeated
from motia_trio.failures import leaves, tell_error
from motia_trio.invoking import SKIPPED, Invoker, Unfit
from motia_trio.messages import Origin
from motia_trio.router import HOP_LIMIT, STATE_TOPIC, STREAM_TOPIC
from motia_trio.settling import shielded
from motia_trio.steps import QueueTrigger, StateTrigger, StreamTrigger
from motia_trio.streamed import take_body

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motia_trio.actors import Hand
    from motia_trio.messages import Delivery
    from motia_trio.settling import Settler
    from motia_trio.shared import Shared
    from motia_trio.steps import Step, Trigger

__all__ = ["Attempts"]

# seconds that a transaction which was in another's way waits for the one that runs alone
CONTENDED = 5.0


class Attempts:
    """Makes them. ``on_success`` is told of each that went well."""

    __slots__ = (
        "_answerer", "_by_topic", "_infos", "_invoker", "_on_success", "_settler", "_shared",
        "_step", "holding", "resources", "running",
    )  # fmt: skip

    def __init__(
        self,
        step: Step,
        shared: Shared,
        settler: Settler,
        on_success: Callable[[], None],
        threads: int,
    ) -> None:
        self._step = step
        self._shared = shared
        self._settler = settler
        self._answerer = Answerer(step, shared)
        self._on_success = on_success
        self._infos = [TriggerInfo.of(trigger, i) for i, trigger in enumerate(step.triggers)]
        self._by_topic: dict[str, tuple[int, ...]] = {}
        for index, trigger in enumerate(step.triggers):
            if (topic := _topic_of(trigger)) is not None:
                self._by_topic[topic] = (*self._by_topic.get(topic, ()), index)
        self._invoker = Invoker(step, shared.middleware, threads)
        #: what the step's lifespan yielded
        self.resources: Any = None
        #: whether the runtime is stopping
        self.holding = False
        #: what is in hand
        self.running: dict[Hand, Running] = {}

    async def work(self, hand: Hand, entry: Entry) -> None:
        """Run the handler once and settle. Raises only for a crash of the actor."""
        self._shared.feeder.taken(self._step.name)
        if isinstance(entry, (Ask, Tick)) or not entry.crashes:
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
        triggers = self._triggers_of(entry)
        trigger = triggers[0] if triggers else 0
        bound = now + self._step.triggers[trigger].limits.timeout if triggers else now
        if isinstance(entry, Ask):
            bound = entry.deadline
        ask = entry if isinstance(entry, Ask) else None
        running = Running(_trace_of(entry), now, bound, ask, trigger)
        try:
            if isinstance(entry, Ask):
                await self._answer(hand, entry, running, triggers)
            elif isinstance(entry, Tick):
                self._shared.warden.expect(bound)
                await self._attempt(hand, entry, running, triggers)
            else:
                await self._deliver(hand, entry, running, triggers)
        except Exception as error:
            if running.settled:
                raise
            # what no handler should be able to bring about, or a defect of ours: it ends here,
            # and nobody waits for it for ever
            await self._give_up(entry, running, error)

    def _triggers_of(self, entry: Entry) -> Sequence[int]:
        """Which triggers an entry may be for, the one that it came by first.

        A step may have changed since a delivery was stored; and it may listen to one topic by
        several triggers, each with its own schema and condition.
        """
        if isinstance(entry, (Ask, Tick)):
            return (entry.trigger,)
        topic = entry.message.topic
        found = self._by_topic.get(topic, ())
        if len(found) > 1 and topic in {STATE_TOPIC, STREAM_TOPIC} and entry.trigger in found:
            return (entry.trigger,)  # each of these has a delivery of its own
        return found

    async def _answer(
        self, hand: Hand, ask: Ask, running: Running, triggers: Sequence[int]
    ) -> None:
        """Have a request answered."""
        if ask.reply.given or ask.gone or running.started >= ask.deadline:
            running.settled = True
            ask.reply.fail(TimedOut(f"step {self._step.name!r} was too busy to begin in time"))
            self._shared.activity.leave()
            return
        await self._attempt(hand, ask, running, triggers)

    async def _deliver(
        self, hand: Hand, delivery: Delivery, running: Running, triggers: Sequence[int]
    ) -> None:
        """Make one attempt at a delivery, if it is still worth one."""
        message, shared = delivery.message, self._shared
        reason = None
        if not triggers:
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
        await self._attempt(hand, delivery, running, triggers)

    async def _attempt(
        self, hand: Hand, entry: Entry, running: Running, triggers: Sequence[int]
    ) -> None:
        """Run the handler in its bounds, and judge how it ended; a transaction until it fits."""
        self.running[hand] = running
        try:
            if not self._step.transactional:
                await self._try(hand, entry, running, triggers, None)
                return
            contended, times = self._shared.contended, 0
            while True:
                transaction = Transaction(self._shared, self._origin_of(entry), self._step)
                try:
                    await self._try(hand, entry, running, triggers, transaction, alone=times > 0)
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
        hops = 0 if isinstance(entry, (Ask, Tick)) else entry.message.hops
        return Origin(_trace_of(entry), hops + 1, self._step.name)

    async def _try(
        self,
        hand: Hand,
        entry: Entry,
        running: Running,
        triggers: Sequence[int],
        transaction: Transaction | None,
        *,
        alone: bool = False,
    ) -> None:
        """Run the handler once, in its bounds, and judge how it ended.

        Raises:
            Conflict: its transaction cannot be kept, and nothing of it was.
        """
        shared, asked = self._shared, inf
        given: Any = None
        raw: bytes | None = None
        info = self._infos[running.trigger]
        if isinstance(entry, Ask):
            # a transaction may have to begin anew, with the request as it was
            given = entry.request if transaction is None else deepcopy(entry.request)
        elif isinstance(entry, Tick):
            info = evolve(info, scheduled_at=entry.scheduled_at)
        else:
            raw = entry.message.payload
            asked = shared.asks.begin(entry.message.id)
        ctx = Context(
            shared,
            self._step,
            trace_id=running.trace_id,
            input=given,
            trigger=info,
            resources=self.resources,
            deadline=min(running.bound, asked),
            access=transaction or Direct(shared, self._origin_of(entry), self._step),
        )
        stream = Stream(shared, self._step, hand, entry, running, ctx, asked)
        hand.bind(running.bound)
        if isinstance(entry, Ask):
            entry.hand = hand
            if entry.gone:
                hand.cancel()
        error: BaseException | None = None
        result: Any = None
        token = RUNNING.set(ctx)
        try:
            if alone:
                hand.arm()
                with trio.move_on_after(CONTENDED):  # one that hangs does not hold up all others
                    await shared.contended.acquire()
            try:
                result = await self._invoker.invoke(hand, triggers, raw, ctx, stream)
                if isinstance(entry, Ask) and (taken := take_body(result)) is not None:
                    await self._invoker.pieces(hand, taken[1], partial(stream.begin, taken[0]))
            finally:
                if ctx.pending():
                    hand.arm()
                    await ctx.finish()  # noqa: ASYNC102 - bounded and cancelled as the handler is
        except BaseException as raised:  # noqa: BLE001, ASYNC103 - judged below, by its leaves
            error = raised
        RUNNING.reset(token)
        late = hand.unbind()
        if isinstance(entry, Ask):
            entry.hand = None
            stream.end(error)
        if transaction is not None:
            transaction.close()
        await self._judge(entry, running, result, error, transaction, late=late)

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
        if error is None and (not late or self._invoker.in_thread(running.trigger)):
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
        if self.holding and found and all(isinstance(leaf, Closed) for leaf in found):
            # it asked, and the stop is why there is no answer: that is not its failure
            running.settled = True
            await self.release(entry)
            return
        if isinstance(entry, Ask) and entry.gone and late and not (stubborn or _ends(ended)):
            running.settled = True
            self._answerer.abandon(entry)
            return
        if isinstance(entry, Ask) and entry.ended and late and not (stubborn or _ends(ended)):
            running.settled = True
            self._answerer.ended()
            return
        if late and not (stubborn or _ends(ended)):
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
        shared, name = self._shared, self._step.name
        if result is SKIPPED:
            kind = self._infos[running.trigger].type
            shared.observers.tell(StepSkipped(name, running.trace_id, kind))
        if isinstance(entry, (Ask, Tick)):
            if transaction is not None and (error := await self._commit(transaction)):
                await self._fail(entry, running, error, late=False)
                return
            self._answerer.done(entry, result)
        else:
            message = entry.message
            if isinstance(result, Unfit):
                await self._settler.bury(entry, result.reason)
                return
            try:
                await self._settler.done(entry, transaction)
            except Conflict:
                raise
            except Exception as error:  # noqa: BLE001 - it cannot be kept as it is: a failure
                await self._fail(entry, running, error, late=False)
                return
            if result is SKIPPED:
                shared.asks.fail(message.id, f"step {name!r}: the condition was not met")
            else:
                shared.asks.answer(name, message.id, message.trace_id, result)
        self._on_success()

    async def _commit(self, transaction: Transaction) -> Exception | None:
        """Keep the transaction of what is not stored.

        Gives what kept it from being kept, conflicts aside.
        """
        try:
            await shielded(transaction.commit)
        except Conflict:
            raise
        except Exception as error:  # noqa: BLE001 - answered as a failure
            return error
        return None

    async def release(self, entry: Entry) -> None:
        """The attempt was ended by us, not by the handler: nothing is counted."""
        if isinstance(entry, (Ask, Tick)):
            self._answerer.release(entry, stopping=self.holding)
        else:
            self._shared.asks.put_back(entry.message.id)
            await self._settler.give_back(entry)

    async def _fail(
        self, entry: Entry, running: Running, error: BaseException, *, late: bool
    ) -> None:
        """Count a failed attempt: answer the request, or decide when to deliver again."""
        shared, step = self._shared, self._step
        if isinstance(error, RuntimeError) and "no running event loop" in str(error):
            error.add_note("handlers run on Trio in this version: use trio, or a plain def handler")
        told = tell_error(error, shared.root)
        if isinstance(error, TimedOut) and error.__traceback__ is None:  # ours: raised nowhere
            told = evolve(told, where=step.source)
        if isinstance(entry, (Ask, Tick)):
            running.settled = True
            # what the handler asked another step for did not come in time, and it left it at that
            late = late or isinstance(error, TimedOut)
            self._answerer.fail(entry, told, late=late, error=error)
            return
        running.settled = True
        took = trio.current_time() - running.started
        # the trigger that it is for now, which may not be the one that it was stored for
        policy = step.triggers[running.trigger].limits.retry
        await self._settler.fail(entry, told, policy, started_at=shared.clock.now() - took)
        shared.asks.put_back(entry.message.id)

    async def _give_up(self, entry: Entry, running: Running, error: Exception) -> None:
        """End an entry that could not even be judged."""
        told = tell_error(error, self._shared.root)
        running.settled = True
        if isinstance(entry, (Ask, Tick)):
            self._answerer.fail(entry, told)
        else:
            await self._settler.bury(entry, f"could not be worked off: {told.error}")


def _trace_of(entry: Entry) -> str:
    return entry.trace_id if isinstance(entry, (Ask, Tick)) else entry.message.trace_id


def _ends(leaves: Sequence[BaseException]) -> bool:
    """Whether a handler asked for the end of the process."""
    return any(isinstance(leaf, SystemExit) for leaf in leaves)


def _topic_of(trigger: Trigger) -> str | None:
    """The topic of the messages that a trigger gets, None if it gets none."""
    if isinstance(trigger, QueueTrigger):
        return trigger.topic
    if isinstance(trigger, StateTrigger):
        return STATE_TOPIC
    return STREAM_TOPIC if isinstance(trigger, StreamTrigger) else None


def _is_cancelled() -> bool:
    return trio.current_effective_deadline() == float("-inf")
