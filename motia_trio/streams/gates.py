"""Who may listen: what an app says of each client, and of each subscription.

The functions are the app's: ``authenticate`` once for a connection, and of a stream ``canAccess``,
``onJoin`` and ``onLeave``. Each runs as a task of the runtime, and not of the connection: a client
that goes away cuts none of them short, and one that hangs holds no connection up.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import trio
from attrs import define, field, frozen

from motia_trio.access import Direct
from motia_trio.actors import drive, in_thread, to_its_end
from motia_trio.context import RUNNING, Context
from motia_trio.errors import Closed, TimedOut
from motia_trio.events import AppWarned, StreamHookFailed, StreamJoinRefused
from motia_trio.failures import leaves, tell_error
from motia_trio.messages import Origin, new_trace_id
from motia_trio.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.data import Data
    from motia_trio.shared import Shared
    from motia_trio.steps import Handler, Hook, StreamDeclaration

__all__ = ["THREADS", "Admission", "Gates"]

#: threads that each function may have at once that is not async
THREADS = 16


@frozen
class Admission:
    """Whether a client may connect, and what ``authenticate`` says that it is."""

    allowed: bool
    context: Any = None


@define(eq=False)
class _Call:
    """One call of one of the functions. ``verdict`` is None as long as there is none."""

    name: str
    stream: str | None
    source: str
    function: Callable[..., Any]
    is_async: bool
    arguments: tuple[Any, ...]
    ctx: Context
    judge: Callable[[Any], Any]
    #: what to do when it has agreed, and nobody is there any more to be told
    unclaimed: Callable[[], None] | None = None
    verdict: Any = None
    gone: bool = False
    told: bool = False
    done: trio.Event = field(factory=trio.Event)


class Gates:
    """Asks the app who may listen. ``limit``: seconds that each answer may take.

    Whoever takes longer, raises, or gives no decision has refused; an observer is told.
    """

    def __init__(
        self, shared: Shared, authenticate: Handler | None = None, *, limit: float
    ) -> None:
        self._shared = shared
        self._authenticate = authenticate
        self._limit = limit
        # for each function its own: where one hangs, the others have theirs
        self._threads: dict[tuple[str | None, str], trio.CapacityLimiter] = {}
        self._warned = False
        self._running = 0
        self._idle = trio.Event()

    async def admit(self, handshake: Data) -> Admission:
        """Tell whether a client may connect, and as whom. A checkpoint if there is a function.

        Without one all may, and their context is None.
        """
        handler = self._authenticate
        if handler is None:
            return Admission(allowed=True)
        source = _source_of(handler.function)
        ctx = self._context("authenticate", source, handshake)
        call = _Call(
            "authenticate",
            None,
            source,
            handler.function,
            handler.is_async,
            handler.arguments(handshake, ctx),
            ctx,
            _admission,
        )
        admission: Admission = await self._decided(call) or Admission(allowed=False)
        if admission.allowed and admission.context is None and not self._warned:
            self._warned = True
            self._shared.observers.tell(
                AppWarned(
                    f"authenticate ({source}) returned None, which lets a client in, with None for "
                    "its context; return False to refuse it"
                )
            )
        return admission

    async def join(self, stream: StreamDeclaration, subscription: Data, auth: Any) -> bool:
        """Tell whether a client may join. A checkpoint if the stream has something to say.

        True: it has joined, and :meth:`leave` is due once when it leaves, unless it is gone by now:
        where this raises ``Cancelled``, what ``onJoin`` has begun is brought to its end here.
        """
        if (hook := stream.can_access) is not None:
            call = self._call(stream, hook, subscription, auth, _may_access)
            if not await self._decided(call):
                return False
        if (hook := stream.on_join) is None:
            return True

        def unclaimed() -> None:
            if stream.on_leave is not None:
                self._start(self._call(stream, stream.on_leave, subscription, auth, _nothing))

        call = self._call(stream, hook, subscription, auth, _may_join)
        call.unclaimed = unclaimed
        return bool(await self._decided(call))

    def tell_refused(self, address: str, reason: str, subscription: str) -> None:
        """Tell the observers that a client may not follow what it asked for."""
        self._shared.observers.tell(StreamJoinRefused(address, reason, subscription))

    async def leave(self, stream: StreamDeclaration, subscription: Data, auth: Any) -> None:
        """Tell the stream that a client has left. A checkpoint if it has a function for that.

        It runs once this is called, also if the caller is cancelled.
        """
        if (hook := stream.on_leave) is not None:
            await self._decided(self._call(stream, hook, subscription, auth, _nothing))

    async def finished(self) -> None:
        """Wait until no function runs. A checkpoint if one does."""
        while self._running:
            await self._idle.wait()

    def _call(
        self,
        stream: StreamDeclaration,
        hook: Hook,
        subscription: Data,
        auth: Any,
        judge: Callable[[Any], Any],
    ) -> _Call:
        ctx = self._context(f"stream {stream.name!r}", stream.source, subscription)
        arguments = hook.arguments(subscription, ctx, auth)
        return _Call(
            hook.name,
            stream.name,
            stream.source,
            hook.function,
            hook.is_async,
            arguments,
            ctx,
            judge,
        )

    def _context(self, name: str, source: str, given: Data) -> Context:
        """A context as handlers have it, for what is no step: it lists no topics."""
        shared = self._shared
        trace_id = new_trace_id()
        return Context(
            shared,
            Step(name, (), None, source, 2),
            trace_id=trace_id,
            input=given,
            deadline=trio.current_time() + self._limit,
            access=Direct(shared, Origin(trace_id, 1, name)),
        )

    async def _decided(self, call: _Call) -> Any:
        """Run a call, and give its verdict: None where there is none in time. A checkpoint."""
        if not self._start(call):
            await trio.lowlevel.checkpoint()
            return None
        claimed = False
        try:
            with trio.move_on_at(call.ctx.deadline):
                await call.done.wait()
            claimed = call.done.is_set()
        finally:
            if not claimed:
                call.gone = True
                if call.done.is_set():
                    self._let_go(call)
        if not claimed:
            self._tell_overdue(call)
            return None
        return call.verdict

    def _start(self, call: _Call) -> bool:
        """Begin a call, if the runtime still runs."""
        what = call.name if call.stream is None else f"{call.name} of stream {call.stream!r}"
        try:
            if (nursery := self._shared.nursery) is not None:
                nursery.start_soon(self._run, call, name=what)
                self._running += 1
                self._shared.activity.enter()
                return True
        except RuntimeError:
            pass  # the nursery has just ended
        self._tell(call, Closed("the service has stopped"))
        return False

    async def _run(self, call: _Call) -> None:
        """Run a call to its end, whoever still waits for it."""
        RUNNING.set(call.ctx)
        try:
            with trio.CancelScope(deadline=call.ctx.deadline) as scope:
                try:
                    result = await self._result(call)
                finally:
                    if call.ctx.pending():
                        await call.ctx.finish()  # noqa: ASYNC102 - bounded as the function is
                call.verdict = call.judge(result)
            if scope.cancelled_caught:
                self._tell_overdue(call)
        except BaseException as error:  # noqa: ASYNC103 - as below
            found = leaves(error)
            cut = any(isinstance(leaf, trio.Cancelled) for leaf in found)
            if any(isinstance(leaf, KeyboardInterrupt) for leaf in found) or (
                cut and trio.current_effective_deadline() == float("-inf")
            ):
                raise
            # whatever else it is, SystemExit too, has not to do with other connections
            self._tell(call, error)  # noqa: ASYNC104
        finally:
            call.done.set()
            if call.gone:
                self._let_go(call)
            self._running -= 1
            self._shared.activity.leave()
            if not self._running:
                self._idle.set()
                self._idle = trio.Event()

    async def _result(self, call: _Call) -> Any:
        if call.is_async:
            result = call.function(*call.arguments)
        else:
            place = call.stream, call.name
            limiter = self._threads.setdefault(place, trio.CapacityLimiter(THREADS))
            result = await in_thread(call.function, *call.arguments, limiter=limiter)
        if type(result) is CoroutineType:
            return await drive(result)
        return await to_its_end(result) if inspect.isawaitable(result) else result

    @staticmethod
    def _let_go(call: _Call) -> None:
        """Undo what was agreed to when nobody waited any more."""
        if call.verdict and call.unclaimed is not None:
            call.unclaimed()

    def _tell_overdue(self, call: _Call) -> None:
        words = f"ran longer than {self._limit:g} s, which is request_timeout"
        if not call.is_async:
            words += f"; it is not async, so {THREADS} of it run at once, and waiting counts"
        self._tell(call, TimedOut(words))

    def _tell(self, call: _Call, error: BaseException) -> None:
        """Tell of a failure, once for each call."""
        if call.told:
            return
        call.told = True
        told = tell_error(error, self._shared.root)
        raised = error.__traceback__ is not None
        self._shared.observers.tell(
            StreamHookFailed(
                call.stream,
                call.name,
                told.error,
                told.where if raised else call.source,
                told.traceback if raised else "",
                call.ctx.trace_id,
            )
        )


def _admission(result: Any) -> Admission:
    if result is False or _is_unauthorized(result):
        return Admission(allowed=False)
    return Admission(allowed=True, context=result)


def _may_access(result: Any) -> bool:
    if result is None:
        raise TypeError("canAccess returned nothing: return True or False")
    return bool(result) and not _is_unauthorized(result)


def _may_join(result: Any) -> bool:
    return result is not False and not _is_unauthorized(result)


def _nothing(result: Any) -> None:
    """What ``onLeave`` returns says nothing."""


def _is_unauthorized(result: Any) -> bool:
    """Whether something says ``{"unauthorized": True}``. Source: motia-contract §7, onJoin."""
    if isinstance(result, Mapping):
        return bool(result.get("unauthorized"))
    return getattr(result, "unauthorized", None) is True


def _source_of(function: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "unknown" if code is None else f"{code.co_filename}:{code.co_firstlineno}"
