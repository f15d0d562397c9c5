"""How a request or a tick ends: neither is stored, and neither is tried again."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

import trio

from motia_trio.context import TriggerInfo
from motia_trio.entries import Ask, Tick
from motia_trio.errors import Abandoned, Closed, HandlerFailed, StepCrashed, TimedOut
from motia_trio.events import AskFailed, RequestAbandoned, RequestInvalid, TickFailed
from motia_trio.streamed import Streamed, is_event_stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motia_trio.actors import Hand
    from motia_trio.context import Context
    from motia_trio.entries import Entry, Running
    from motia_trio.errors import Misfit
    from motia_trio.failures import Told
    from motia_trio.shared import Shared
    from motia_trio.steps import Step

__all__ = ["Answerer", "Stream"]

Passing: TypeAlias = Ask | Tick


class Answerer:
    """Answers who waits for one step, and tells of it where there is no answer."""

    __slots__ = ("_shared", "_step")

    def __init__(self, step: Step, shared: Shared) -> None:
        self._step = step
        self._shared = shared

    def done(self, entry: Passing, result: Any) -> None:
        """The handler returned."""
        if isinstance(entry, Ask):
            entry.reply.set(result)
        else:
            entry.done(True)  # noqa: FBT003 - it ended well
        self._shared.activity.leave()

    def release(self, entry: Passing, *, stopping: bool) -> None:
        """The attempt was ended by us, not by the handler."""
        if isinstance(entry, Ask):
            words = "is stopping" if stopping else "crashed while it had this request in hand"
            kind = Closed if stopping else StepCrashed
            entry.reply.fail(kind(f"step {self._step.name!r} {words}"))
        else:
            entry.done(False)  # noqa: FBT003 - it did not end well
        self._shared.activity.leave()

    def abandon(self, ask: Ask) -> None:
        """Nobody waits for the answer any more, and the handler was cancelled for that."""
        step = self._step
        self._shared.observers.tell(RequestAbandoned(step.name, step.source, ask.trace_id))
        ask.reply.fail(Abandoned("the client has left"))
        self._shared.activity.leave()

    def ended(self) -> None:
        """An endless answer was ended, as the service is stopping."""
        self._shared.activity.leave()

    def fail(
        self,
        entry: Passing,
        told: Told,
        *,
        late: bool = False,
        error: BaseException | None = None,
    ) -> None:
        """The handler failed, or its time was up.

        What its client did wrong, and the handler let pass, is told by the edge.
        """
        step, observers = self._step, self._shared.observers
        names = (step.name, step.source, entry.trace_id)
        if isinstance(entry, Ask):
            reader = entry.request.request_body
            if error is None or getattr(reader, "failure", None) is not error:
                observers.tell(AskFailed(*names, told.error, told.where, told.traceback))
            entry.reply.fail((TimedOut if late else HandlerFailed)(f"step {step.name!r} failed"))
        else:
            expression = getattr(step.triggers[entry.trigger], "expression", "")
            observers.tell(TickFailed(*names, expression, told.error, told.where, told.traceback))
            entry.done(False)  # noqa: FBT003 - it did not end well
        self._shared.activity.leave()


class Stream:
    """One attempt as its handler tells of it: an answer that begins before it has ended.

    ``asked`` is the Trio time until which somebody waits for what the handler returns.
    """

    __slots__ = (
        "_asked", "_ctx", "_entry", "_hand", "_over", "_running", "_shared", "_step", "_streamed",
    )  # fmt: skip

    def __init__(
        self,
        shared: Shared,
        step: Step,
        hand: Hand,
        entry: Entry,
        running: Running,
        ctx: Context,
        asked: float = inf,
    ) -> None:
        self._shared = shared
        self._step = step
        self._hand = hand
        self._entry = entry
        self._running = running
        self._ctx = ctx
        self._asked = asked
        self._over = False
        self._streamed: Streamed | None = None

    def begin(self, head: Any) -> Streamed:
        """Begin to answer. From here on the bound is lifted: how long it takes is the client's.

        Raises:
            TypeError: what is handled has no answer that could be streamed.
            ValueError: the handler has ended.
            RuntimeError: the answer has begun already.
        """
        entry = self._entry
        if not isinstance(entry, Ask):
            raise TypeError("only a request has an answer that can be streamed")
        if self._step.transactional:
            raise TypeError(
                "a transactional step cannot stream its answer: what it says is kept at its end"
            )
        if self._over:
            raise ValueError("the answer has ended with its handler: nothing can be written to it")
        if self._streamed is not None:
            raise RuntimeError("the answer has begun already, and there is one for each request")
        if entry.reply.given:  # its time was up, or the client has left: it is being cancelled
            streamed = self._streamed = Streamed(head)
            streamed.abandon()
            return streamed
        streamed = self._streamed = Streamed(head, self._abandon, self._closed)
        if not entry.reply.awaited:
            streamed.abandon()
            return streamed
        self._bind(inf)
        entry.deadline = inf
        entry.endless = is_event_stream(head)
        entry.reply.set(streamed)
        if self._shared.stopping:
            entry.end()
        return streamed

    def _bind(self, bound: float) -> None:
        """Give the handler another bound."""
        self._running.bound = bound
        self._ctx.deadline = min(self._asked, bound)
        self._hand.rebind(bound)
        self._shared.warden.expect(bound)

    def _closed(self) -> None:
        """The handler has ended its answer, and goes on: nobody waits for it any more."""
        if not (self._over or self._ask_is_gone()):
            timeout = self._step.triggers[self._running.trigger].limits.timeout
            self._bind(trio.current_time() + timeout)

    def _abandon(self) -> None:
        """Nobody reads any more: the handler is cancelled, and told of if it goes on."""
        if not self._over and isinstance(self._entry, Ask):
            self._running.bound = min(self._running.bound, trio.current_time())
            self._shared.warden.expect(self._running.bound)
            self._entry.abandon()

    def _ask_is_gone(self) -> bool:
        return isinstance(self._entry, Ask) and self._entry.gone

    def choose(self, trigger: int) -> None:
        """Another trigger than the first one is the one that the entry is for."""
        chosen = self._step.triggers[trigger]
        self._running.trigger = trigger
        self._ctx.trigger = TriggerInfo.of(chosen, trigger)
        self._bind(self._running.started + chosen.limits.timeout)

    def refused(self, what: str, misfits: Sequence[Misfit]) -> None:
        """A request does not fit a schema."""
        self._shared.observers.tell(
            RequestInvalid(self._step.name, self._running.trace_id, what, misfits)
        )

    def end(self, error: BaseException | None) -> None:
        """The attempt has ended: there will be no more pieces."""
        self._over = True
        if self._streamed is None:
            return
        failed: Exception | None = None
        if error is not None and not (isinstance(self._entry, Ask) and self._entry.ended):
            failed = HandlerFailed(f"step {self._step.name!r} failed")
            if self._shared.stopping and isinstance(error, trio.Cancelled):
                failed = Closed("the service is stopping")
        self._streamed.end(failed)
