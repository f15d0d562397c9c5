"""How a request or a tick ends: neither is stored, and neither is tried again."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from motia_trio.context import TriggerInfo
from motia_trio.entries import Ask, Tick
from motia_trio.errors import Abandoned, Closed, HandlerFailed, StepCrashed, TimedOut
from motia_trio.events import AskFailed, RequestAbandoned, TickFailed
from motia_trio.streamed import Streamed

if TYPE_CHECKING:
    from motia_trio.actors import Hand
    from motia_trio.context import Context
    from motia_trio.entries import Entry, Running
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

    def fail(self, entry: Passing, told: Told, *, late: bool = False) -> None:
        """The handler failed, or its time was up."""
        step, observers = self._step, self._shared.observers
        names = (step.name, step.source, entry.trace_id)
        if isinstance(entry, Ask):
            observers.tell(AskFailed(*names, told.error, told.where, told.traceback))
            entry.reply.fail((TimedOut if late else HandlerFailed)(f"step {step.name!r} failed"))
        else:
            expression = getattr(step.triggers[entry.trigger], "expression", "")
            observers.tell(TickFailed(*names, expression, told.error, told.where, told.traceback))
            entry.done(False)  # noqa: FBT003 - it did not end well
        self._shared.activity.leave()


class Stream:
    """One attempt as its handler tells of it: an answer that begins before it has ended."""

    __slots__ = ("_entry", "_hand", "_running", "_step", "_streamed")

    def __init__(self, hand: Hand, entry: Entry, running: Running, step: Step) -> None:
        self._hand = hand
        self._entry = entry
        self._running = running
        self._step = step
        self._streamed: Streamed | None = None

    def begin(self, head: Any) -> Streamed:
        """Begin to answer. From here on the bound is lifted: how long it takes is the client's."""
        entry = self._entry
        if not isinstance(entry, Ask):
            raise TypeError("only a request has an answer that can be streamed")
        if self._step.transactional:
            raise TypeError(
                "a transactional step cannot stream its answer: what it says is kept at its end"
            )
        self._streamed = Streamed(head, entry.abandon)
        self._running.bound = entry.deadline = inf
        self._hand.rebind(inf)
        entry.reply.set(self._streamed)
        return self._streamed

    def choose(self, trigger: int, ctx: Context) -> None:
        """Another trigger than the first one is the one that the entry is for."""
        running = self._running
        running.trigger = trigger
        running.bound = running.started + self._step.triggers[trigger].limits.timeout
        ctx.trigger = TriggerInfo.of(self._step.triggers[trigger], trigger)
        ctx.deadline = min(ctx.deadline, running.bound)
        self._hand.rebind(running.bound)

    def end(self, error: BaseException | None) -> None:
        """The attempt has ended: there will be no more pieces."""
        if self._streamed is not None:
            failed = None if error is None else HandlerFailed(f"step {self._step.name!r} failed")
            self._streamed.end(failed)
