"""The core on one page: store ⊃ feeder, warden, sweeper ⊃ supervisor ⊃ what is opened inside."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import trio

from motia_trio.access import Direct
from motia_trio.actor import StepActor
from motia_trio.actors import (
    ChildStatistics,
    Supervisor,
    WallClock,
)
from motia_trio.asks import ASK_TIMEOUT, Asks, check_timeout
from motia_trio.dead_letters import DeadLetters
from motia_trio.errors import Closed
from motia_trio.events import (
    ActorCrashed,
    ActorQuarantined,
    ActorRecovered,
    ActorStarted,
    AppWarned,
    DeadLettered,
    Observers,
)
from motia_trio.failures import tell_error
from motia_trio.feeder import Feeder
from motia_trio.items import State, Streams, stream_of
from motia_trio.messages import Origin, new_trace_id
from motia_trio.outgoing import outgoing
from motia_trio.router import Router
from motia_trio.scheduler import Scheduler
from motia_trio.shared import Shared
from motia_trio.store import check_name, store_at
from motia_trio.streams import Hub
from motia_trio.streams.gates import Gates
from motia_trio.sweeper import Sweeper
from motia_trio.tree import tell_tree
from motia_trio.warden import Warden

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
    from datetime import datetime

    from motia_trio.app import App
    from motia_trio.data import Request
    from motia_trio.events import Observer
    from motia_trio.policies import RestartPolicy
    from motia_trio.settings import Settings
    from motia_trio.store import Opened, Store
    from motia_trio.tree import Tree

__all__ = ["Runtime"]

T = TypeVar("T")

# seconds for giving leases back when the scope is left
FLUSH_LIMIT = 10.0
# seconds by which the system's clock may have been set back since the store was last used; if it
# is more, the clock was wrong then and is right now
SET_BACK = 86_400.0


class Runtime:
    """Runs the steps of an app. Made by :func:`motia_trio.open_runtime`."""

    def __init__(
        self,
        app: App,
        settings: Settings,
        observers: Sequence[Observer],
        policy: RestartPolicy,
        *,
        idle: bool = False,
    ) -> None:
        self.app = app
        self._idle = idle
        self.settings = settings
        self._observers = Observers(observers)
        self._policy = policy
        self._state = "new"
        self._shared: Shared
        #: who may follow streams: what the app says of each client
        self.gates: Gates
        self._actors: dict[str, StepActor] = {}
        self._supervisor: Supervisor
        self._scope = trio.CancelScope()
        self._ended = trio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run for the length of a scope.

        Left in order, what is in hand is finished within ``shutdown_timeout`` seconds and the rest
        given back; left by an error or a cancellation, what is in hand is cancelled and given back.
        """
        settings = self.settings
        store = store_at(
            settings.store, self.app.root, settings.synchronous, log=settings.stream_log
        )
        self._assemble(store)
        shared = self._shared
        opened = store.opened(shared.clock.now(), shared.router.react, shared.hub.tell)
        async with opened as found:
            if found.latest - shared.clock.now() <= SET_BACK:
                # what came before stays before what comes now
                shared.clock.not_before(found.latest)
            shared.hub.start()
            try:
                async with trio.open_nursery() as nursery:
                    shared.nursery = nursery
                    await nursery.start(self._supervise)
                    nursery.start_soon(shared.hub.run)
                    self._state = "running"
                    self._warn(found)
                    if not self._idle:
                        nursery.start_soon(shared.feeder.run)
                        nursery.start_soon(shared.warden.run)
                        nursery.start_soon(shared.sweeper.run)
                        await nursery.start(shared.scheduler.run)
                    yield
                    await self.finish()
                    with trio.move_on_at(self._scope.deadline):  # of clients that are gone by now
                        await self.gates.finished()
                    shared.nursery = None
                    nursery.cancel_scope.cancel()
            finally:
                self._state, shared.nursery = "stopped", None
                shared.asks.close()
                with trio.CancelScope(shield=True, deadline=trio.current_time() + FLUSH_LIMIT):
                    for actor in self._actors.values():
                        await actor.give_back(Closed("the service is stopping"))
                    await shared.scheduler.flush()

    def _warn(self, found: Opened) -> None:
        """Tell what should be looked at, of the app and of what the store has for it."""
        for warning in self.app.warnings:
            self._observers.tell(AppWarned(warning))
        for letter in found.buried:
            actor, message = self._actors.get(letter.step), letter.message
            source = "not loaded" if actor is None else actor.step.source
            self._observers.tell(
                DeadLettered(
                    letter.step,
                    source,
                    message.trace_id,
                    message.id,
                    message.topic,
                    letter.reason,
                    letter.id,
                )
            )
        if found.suspects:
            self._observers.tell(
                AppWarned(
                    f"the process died with {_messages(found.suspects)} in hand: they are handled "
                    "again, one at a time"
                )
            )
        if self._idle:
            return
        for step, counts in self._shared.store.counts(self._shared.clock.now()).items():
            number = counts.waiting + counts.delayed
            actor = self._actors.get(step)
            if number and (actor is None or not actor.is_fed):
                lacks, then = "is not loaded", "is"
                if actor is not None:
                    lacks, then = "has no trigger for messages any more", "has one"
                self._observers.tell(
                    AppWarned(
                        f"{_messages(number)} wait in the store for step {step!r}, which {lacks}: "
                        f"they wait on until it {then}"
                    )
                )

    def _assemble(self, store: Store) -> None:
        shared = Shared(
            store=store,
            clock=WallClock(),
            root=self.app.root,
            mailbox=self.settings.mailbox,
            message_limit=self.settings.message_limit,
            middleware=self.app.middleware_of(self.settings),
            streams=self.app.streams,
            observers=self._observers,
        )
        self._actors = {
            step.name: StepActor(step.bounded(self.settings.request_timeout), shared)
            for step in self.app.steps
            if step.runs
        }
        actors = list(self._actors.values())
        shared.router = Router(shared, actors)
        shared.feeder = Feeder(shared, self._actors)
        shared.sweeper = Sweeper(shared)
        shared.scheduler = Scheduler(shared, actors)
        shared.asks = Asks(shared)
        shared.hub = Hub(store, shared.clock)
        shared.warden = Warden(shared, actors)
        self._shared = shared
        authenticate = self.app.authenticate_of(self.settings)
        self.gates = Gates(shared, authenticate, limit=self.settings.request_timeout)
        self._supervisor = Supervisor(
            self._policy,
            _Listener(self._observers, self.app.root),
            escalate=self.settings.raise_quarantine,
        )

    async def _supervise(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Run the actors, in a scope that holds nothing else: it is cancelled before the edges."""
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            if self._idle:
                for actor in self._actors.values():
                    actor.stop()
            else:
                self._supervisor.start(self._actors.values(), nursery)
            task_status.started()
        self._ended.set()

    async def begin_stop(self) -> float:
        """Take no more messages, and cancel what is in hand after ``shutdown_timeout`` seconds.

        Requests are still taken: an edge that drains has some. Gives the Trio time of the limit,
        the same at each call. A checkpoint.
        """
        if self._state == "running":
            self._state = "stopping"
            self._shared.stopping = True
            self._shared.scheduler.stop()
            self._supervisor.stop()
            self._scope.deadline = trio.current_time() + self.settings.shutdown_timeout
            for actor in self._actors.values():
                await actor.hold()
            self._shared.asks.stop()
        await trio.lowlevel.checkpoint()
        return self._scope.deadline

    async def finish(self) -> None:
        """Begin to stop, take nothing at all, and wait for the end of what is in hand."""
        await self.begin_stop()
        for actor in self._actors.values():
            actor.stop()
        await self._ended.wait()

    async def enqueue(
        self,
        topic: str,
        data: Any = None,
        *,
        group: str | None = None,
        delay: float | None = None,
        at: datetime | None = None,
        key: str | None = None,
        priority: int | None = None,
        expires: float | datetime | None = None,
        trace_id: str | None = None,
    ) -> str:
        """Publish a message and give its id, once it is as durable as the store makes it.

        The options are those of ``ctx.enqueue``: ``delay`` and ``expires`` are in seconds, ``at``
        (and ``expires`` too) a datetime with a timezone. A checkpoint.

        Raises:
            Closed: outside of the runtime's scope.
            TypeError, ValueError: a value that does not fit.
            NotEncodable, MessageTooLarge, StoreBroken: as ``ctx.enqueue`` raises them.
        """
        self._check_open()
        if not isinstance(topic, str):
            raise TypeError(f"rt.enqueue takes (topic, data, …), not {topic!r:.80}")
        batch = outgoing(
            topic, data, group=group, delay=delay, at=at, key=key, priority=priority,
            expires=expires,
        )  # fmt: skip
        return (await self._shared.router.publish(batch, self._origin(trace_id)))[0]

    async def cancel(self, message_id: str) -> int:
        """Drop the deliveries of a message that no handler has in hand, and give how many.

        Those that wait for another attempt are dropped too. 0: there are none (any more), or
        handlers have them all. A checkpoint.

        Raises:
            Closed: outside of the runtime's scope.
            StoreBroken: the store could not keep it; some may have been dropped.
        """
        self._check_open()
        if not isinstance(message_id, str):
            raise TypeError(f"a message id is a string, not {message_id!r:.80}")
        shared = self._shared
        dropped = await shared.store.cancel(message_id, shared.clock.now())
        if dropped:  # what stood behind it in its group may be due
            shared.feeder.look()
        for actor in self._actors.values():
            dropped += await actor.withdraw(message_id)
        if dropped:
            shared.asks.fail(message_id, "the message was cancelled")
        shared.activity.touch()
        return dropped

    async def ask(
        self,
        topic: str,
        data: Any = None,
        *,
        timeout: float = ASK_TIMEOUT,  # noqa: ASYNC109 - the message outlives it
        trace_id: str | None = None,
    ) -> Any:
        """Publish a message, and give what the one step that listens to it returns.

        The message is durable, and tried as any other; the answer is waited for, for ``timeout``
        seconds. A checkpoint.

        Raises:
            Closed: outside of the runtime's scope, or it was left meanwhile.
            AskInvalid, TimedOut, HandlerFailed: as of ``ctx.ask``.
            TypeError, ValueError, NotEncodable, MessageTooLarge, StoreBroken: as of ``enqueue``.
        """
        self._check_open()
        if not isinstance(topic, str):
            raise TypeError(f"rt.ask takes (topic, data), not {topic!r:.80}")
        (message,) = outgoing(topic, data)
        deadline = trio.current_time() + check_timeout(timeout)
        return await self._shared.asks.ask(message, self._origin(trace_id), deadline)

    @staticmethod
    def _origin(trace_id: str | None) -> Origin:
        return Origin(new_trace_id() if trace_id is None else check_name("trace_id", trace_id))

    async def request(
        self,
        step: str,
        trigger: int,
        request: Request,
        trace_id: str,
        gone: Callable[[], Awaitable[None]] | None = None,
    ) -> Any:
        """Have a step's handler answer a request: what an edge calls. A checkpoint.

        What it gives may be :class:`~motia_trio.streamed.Streamed`. ``gone`` is run beside it: when
        that returns first, nobody waits any more, and the handler is cancelled.

        Raises:
            Abandoned, Closed, Overloaded, TimedOut, HandlerFailed, StepCrashed: see
                ``StepActor.ask``.
        """
        self._check_open()
        return await self._actors[step].ask(trigger, request, trace_id, gone)

    async def run_cron(self, step: str, index: int | str | None = None) -> str:
        """Run a step's cron trigger now, and give the trace id once its mailbox has it.

        ``index`` is the trigger's, or its expression; a step that has one alone needs none. The
        schedule goes on as if nothing had been: the run is not recorded, and nothing is made up
        for by it; but while it goes on, a tick is skipped. A checkpoint.

        Raises:
            Closed: outside of the runtime's scope, or while it stops, or no step runs (``idle``).
            KeyError: there is no such step, or it has no such cron trigger.
            ValueError: it has several, and ``index`` does not say which.
            Overloaded: its last run still goes on, or the step takes nothing now.
        """
        self._check_open()
        if self._idle or self._state != "running":
            raise Closed("no step runs here: the runtime is stopping, or was opened with idle=True")
        await trio.lowlevel.checkpoint()
        return self._shared.scheduler.run_now(step, index)

    async def quiesce(self) -> None:
        """Wait until nothing is due and nothing is in flight. A checkpoint.

        Messages and retries that are due later do not count; those of a quarantined step do.
        """
        self._check_open()
        await trio.lowlevel.checkpoint()
        shared = self._shared
        while shared.activity.count or self._has_due():
            await shared.activity.change()

    def _has_due(self) -> bool:
        """Whether something is due for a step that could take it."""
        due = self._shared.store.agenda(self._shared.clock.now()).due
        return any(step in self._actors and self._actors[step].is_fed for step, _ in due)

    def tree(self) -> Tree:
        """Tell how every actor is, now."""
        if self._state == "new":
            raise Closed("the runtime is not running; use it inside `async with open_runtime(app)`")
        children = self._supervisor.statistics()
        if self._idle:
            children = [ChildStatistics(name, "stopped", 0, 0, None, None) for name in self._actors]
        nodes = [(self._actors[child.name], child) for child in children]
        return tell_tree(self._state, self._shared, nodes)

    @property
    def state(self) -> State:
        """The state of the project, as ``ctx.state`` is."""
        return State("", self._direct(), _ASIDE, **self._manner())

    @property
    def streams(self) -> Streams:
        """The streams, as ``ctx.streams`` is."""
        return Streams(
            self._shared.streams,
            lambda declared: stream_of(declared, self._direct(), _ASIDE, **self._manner()),
        )

    def _direct(self) -> Direct:
        self._check_open()
        return Direct(self._shared, Origin(new_trace_id()))

    def _manner(self) -> dict[str, Any]:
        return {"now": self._shared.clock.now, "limit": self.settings.message_limit}

    @property
    def dead_letters(self) -> DeadLetters:
        """The deliveries that were given up."""
        self._check_open()
        return DeadLetters(self._shared)

    @property
    def store(self) -> Store:
        """Where it all is kept."""
        return self._shared.store

    @property
    def shared(self) -> Shared:
        """The parts of it, for the edges."""
        return self._shared

    @property
    def observers(self) -> Observers:
        """Whom the edges tell what they see."""
        return self._observers

    def _check_open(self) -> None:
        if self._state not in {"running", "stopping"}:
            raise Closed("the runtime is not running; use it inside `async with open_runtime(app)`")


def _messages(number: int) -> str:
    return "1 message" if number == 1 else f"{number} messages"


class _Aside:
    """Calls that come from the program itself, on the Trio thread."""

    in_thread = False

    def do(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Coroutine[Any, Any, T]:
        return make()


_ASIDE = _Aside()


class _Listener:
    """Puts what the supervisor tells into events."""

    def __init__(self, observers: Observers, root: str) -> None:
        self._observers = observers
        self._root = root

    def child_started(self, name: str, restarts: int, *, probing: bool) -> None:
        self._observers.tell(ActorStarted(name, restarts, probing))

    def child_crashed(self, name: str, error: BaseException, restart_in: float) -> None:
        told = tell_error(error, self._root)
        self._observers.tell(ActorCrashed(name, told.error, told.where, told.traceback, restart_in))

    def child_quarantined(self, name: str, error: BaseException, cool_down: float) -> None:
        told = tell_error(error, self._root)
        self._observers.tell(
            ActorQuarantined(name, told.error, told.where, told.traceback, cool_down)
        )

    def child_recovered(self, name: str) -> None:
        self._observers.tell(ActorRecovered(name))
