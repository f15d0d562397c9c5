"""The actor of one step: receive → place → settle."""

from __future__ import annotations

import inspect
from copy import deepcopy
from contextlib import asynccontextmanager
from math import inf
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import trio
from attrs import evolve

from motia_trio.access import Direct, Transaction
from motia_trio.actors import Crew, Hand, Mailbox, drive, in_thread
from motia_trio.context import Context, TriggerInfo
from motia_trio.data import wrap
from motia_trio.entries import Ask, Entry, Running, lanes_of
from motia_trio.errors import (
    Closed,
    Conflict,
    HandlerFailed,
    HandlerIgnoredCancel,
    Overloaded,
    StepCrashed,
    TimedOut,
)
from motia_trio.events import AskFailed, Refused, TransactionRepeated
from motia_trio.failures import leaves, tell_error
from motia_trio.messages import Delivery, Origin, new_trace_id
from motia_trio.router import HOP_LIMIT, STATE_TOPIC, STREAM_TOPIC
from motia_trio.settling import Settler, shielded
from motia_trio.steps import QueueTrigger, StateTrigger, StreamTrigger
from motia_trio.warden import GRACE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from motia_trio.actors import Life, MailboxStatistics
    from motia_trio.data import Request
    from motia_trio.shared import Shared
    from motia_trio.steps import Handler, Step, Trigger

__all__ = ["StepActor"]


class StepActor:
    """Runs one step: a mailbox, a crew of hands, and the outcome of every attempt."""

    __slots__ = (
        "_crew",
        "_handler",
        "_holding",
        "_infos",
        "_life",
        "_limiter",
        "_mailbox",
        "_open",
        "_resources",
        "_retry_at",
        "_running",
        "_settler",
        "_shared",
        "_stop",
        "name",
        "step",
    )  # fmt: skip

    def __init__(self, step: Step, handler: Handler, shared: Shared) -> None:
        self.step = step
        self.name = step.name
        self._shared = shared
        self._handler = handler
        self._settler = Settler(step, shared)
        self._infos = [TriggerInfo.of(trigger, i) for i, trigger in enumerate(step.triggers)]
        self._crew: Crew[Entry] | None = None
        self._life: Life | None = None
        self._resources: Any = None
        self._open = True
        self._holding = False
        self._retry_at = 0.0
        self._stop = trio.Event()
        self._running: dict[Hand, Running] = {}
        lanes = lanes_of(step, shared.mailbox)
        self._mailbox: Mailbox[Entry] = Mailbox(shared.mailbox, lanes)
        # threads of its own: a step whose threads hang does not take the others' threads
        self._limiter = (
            None
            if self._handler.is_async
            else trio.CapacityLimiter(sum(lane.limit for lane in lanes.values()))
        )

    # what the edges and the router call

    async def ask(self, trigger: int, request: Request, trace_id: str) -> Any:
        """Have the handler run for a request, and give what it returns. A checkpoint.

        Raises:
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
        return await entry.reply.wait()

    def _refuse(self, trace_id: str, reason: str, retry_after: float) -> None:
        self._shared.observers.tell(Refused(self.name, trace_id, reason))
        raise Overloaded(f"step {self.name!r} {reason}", retry_after)

    def reserve(self) -> bool:
        """Keep one place for a delivery; False when there is no room or nobody to work."""
        return self._takes_messages() and self._mailbox.reserve("queue")

    def reserve_all(self) -> int:
        """Keep every place that deliveries may have, and give their number."""
        if not self._takes_messages():
            return 0
        places = self._mailbox.room("queue")
        for _ in range(places):
            self._mailbox.reserve("queue")
        return places

    def free(self, places: int) -> None:
        """Give back places that were kept and are not needed."""
        for _ in range(places):
            self._mailbox.free("queue")
        if places:
            self._shared.feeder.taken(self.name)

    def hand_over(self, delivery: Delivery) -> None:
        """Put a leased delivery into a place that was kept for it."""
        self._shared.activity.enter()
        self._mailbox.fill("queue", delivery, delivery.message.priority)

    async def withdraw(self, message_id: str) -> int:
        """Drop what waits here of a message, and give how much that is. A checkpoint."""
        if not self._mailbox.has("queue"):
            return 0
        found = self._mailbox.withdraw(
            "queue", lambda each: isinstance(each, Delivery) and each.message.id == message_id
        )
        for entry in found:
            await self._settler.done(entry)  # type: ignore[arg-type] - no ask is in this lane
        if found:
            self._shared.feeder.taken(self.name)
        return len(found)

    def worth_feeding(self) -> bool:
        """Whether the room for deliveries is worth a look into the store."""
        return self._takes_messages() and self._mailbox.room("queue") * 2 >= self._mailbox.share(
            "queue"
        )

    def _takes_messages(self) -> bool:
        return self._open and not self._holding and self._mailbox.has("queue")

    # what the tree shows

    def mailbox_statistics(self) -> MailboxStatistics:
        """The figures of the mailbox."""
        return self._mailbox.statistics()

    def in_flight(self) -> list[Running]:
        """The attempts in hand."""
        return list(self._running.values())

    def answer_late(self) -> float:
        """Answer the requests that have waited over their bound, begun or not.

        Gives the Trio time of the next bound, infinite if there is none.
        """
        late = trio.current_time() - GRACE
        asks = [running.ask for running in self._running.values() if running.ask is not None]
        asks += [entry for entry in self._mailbox.waiting() if isinstance(entry, Ask)]
        following = inf
        for ask in asks:
            if ask.reply.given:
                continue
            if ask.deadline <= late:
                ask.reply.fail(TimedOut(f"step {self.name!r} did not answer in time"))
            else:
                following = min(following, ask.deadline)
        return following

    # its life

    async def run(self, life: Life) -> None:
        """Live: enter the step's lifespan, work off the mailbox, leave. A crash raises."""
        async with self._lifespan(), trio.open_nursery() as nursery:
            self._life = life
            self._crew = Crew(self._mailbox, self._work)
            if life.probing:
                self._crew.only = 1
            self._open = not self._stop.is_set()
            self._crew.start(nursery)
            life.started()
            self._shared.feeder.look(self.name)
            try:
                await self._stop.wait()
            finally:
                self._crew.stop()

    async def hold(self) -> None:
        """Take no more deliveries; those that wait go back. Requests go on. A checkpoint."""
        self._holding = True
        if self._mailbox.has("queue"):
            for entry in reversed(self._mailbox.drain("queue")):
                await self._release(entry)

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
            else:
                await self._settler.give_back(entry)

    @asynccontextmanager
    async def _lifespan(self) -> AsyncIterator[None]:
        if self.step.lifespan is None:
            yield
            return
        ctx = Context(self._shared, self.step, trace_id=new_trace_id())
        scope = self.step.lifespan(ctx)
        if not hasattr(scope, "__aenter__"):
            raise TypeError(
                f"lifespan(ctx) of step {self.name!r} gave {type(scope).__qualname__}, which is no "
                "async context manager; put @contextlib.asynccontextmanager above it"
            )
        async with scope as resources:
            self._resources = resources
            try:
                yield
            finally:
                self._resources = None

    # one entry

    async def _work(self, hand: Hand, entry: Entry) -> None:
        """Run the handler once and settle. Raises only for a crash of the actor."""
        self._shared.feeder.taken(self.name)
        if isinstance(entry, Ask) or not entry.crashes:
            await self._work_on(hand, entry)
            return
        # the process died with it in hand: if it does so again, nothing else is to blame
        try:
            await self._shared.suspects.acquire()
        except trio.Cancelled:
            await self._release(entry)
            raise
        try:
            await self._work_on(hand, entry)
        finally:
            self._shared.suspects.release()

    async def _work_on(self, hand: Hand, entry: Entry) -> None:
        now = trio.current_time()
        ask = entry if isinstance(entry, Ask) else None
        trigger = entry.trigger if ask is not None else self._trigger_of(entry)  # type: ignore[arg-type]
        bound = now if trigger is None else now + self.step.triggers[trigger].limits.timeout
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
        topics = [_topic_of(trigger) for trigger in self.step.triggers]
        if delivery.trigger < len(topics) and topics[delivery.trigger] == topic:
            return delivery.trigger
        return topics.index(topic) if topic in topics else None

    async def _answer(self, hand: Hand, ask: Ask, running: Running) -> None:
        """Have a request answered."""
        if ask.reply.given or running.started >= ask.deadline:
            running.settled = True
            ask.reply.fail(TimedOut(f"step {self.name!r} was too busy to begin in time"))
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
        self._running[hand] = running
        try:
            if not self.step.transactional:
                await self._try(hand, entry, running, None)
                return
            contended, times = self._shared.contended, 0
            while True:
                transaction = Transaction(self._shared, self._origin_of(entry), self.step)
                try:
                    await self._try(hand, entry, running, transaction, alone=times > 0)
                    return
                except Conflict as conflict:
                    times += 1
                    self._shared.observers.tell(
                        TransactionRepeated(self.name, running.trace_id, str(conflict), times)
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
            del self._running[hand]

    def _origin_of(self, entry: Entry) -> Origin:
        hops = 0 if isinstance(entry, Ask) else entry.message.hops
        return Origin(_trace_of(entry), hops + 1, self.name)

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
            self.step,
            trace_id=running.trace_id,
            input=input,
            trigger=self._infos[running.trigger],
            resources=self._resources,
            thread=not self._handler.is_async,
            access=transaction or Direct(self._shared, origin, self.step),
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
            await self._release(entry)
            raise error
        if late and not (stubborn or any(isinstance(leaf, SystemExit) for leaf in ended)):
            bound = self.step.triggers[running.trigger].limits.timeout
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
                f"handler of step {self.name!r} ended its actor: {told.error}"
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
            await self._settler.done(entry, transaction)
        if self._life is not None and self._life.probing:
            self._life.proven()
            if self._crew is not None:
                self._crew.let(None)

    async def _commit(self, transaction: Transaction) -> Exception | None:
        """Keep a request's transaction. Gives what kept it from being kept, conflicts aside."""
        try:
            await shielded(transaction.commit)
        except OSError as error:
            return error
        return None

    async def _release(self, entry: Entry) -> None:
        """The attempt was ended by us, not by the handler: nothing is counted."""
        if isinstance(entry, Ask):
            stopping = self._holding
            words = "is stopping" if stopping else "crashed while it had this request in hand"
            kind = Closed if stopping else StepCrashed
            entry.reply.fail(kind(f"step {self.name!r} {words}"))
            self._shared.activity.leave()
        else:
            await self._settler.give_back(entry)

    async def _fail(
        self, entry: Entry, running: Running, error: BaseException, *, late: bool
    ) -> None:
        """Count a failed attempt: answer the request, or decide when to deliver again."""
        shared, step = self._shared, self.step
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
        await self._settler.fail(entry, told, started_at=shared.clock.now() - took)

    async def _give_up(self, entry: Entry, running: Running, error: Exception) -> None:
        """End an entry that could not even be judged."""
        told = tell_error(error, self._shared.root)
        running.settled = True
        if isinstance(entry, Ask):
            trace = told.traceback
            self._shared.observers.tell(
                AskFailed(
                    self.name, self.step.source, entry.trace_id, told.error, told.where, trace
                )
            )
            entry.reply.fail(HandlerFailed(f"step {self.name!r} failed"))
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
