"""Questions: a message whose publisher waits for what the one handler of it returns."""

from __future__ import annotations

from collections import OrderedDict
from math import inf, isfinite
from typing import TYPE_CHECKING, Any

import trio

from motia_trio import codec
from motia_trio.actors import Reply
from motia_trio.data import wrap
from motia_trio.errors import AskInvalid, Closed, HandlerFailed, NotEncodable, TimedOut
from motia_trio.events import AnswerDropped
from motia_trio.failures import tell_error

if TYPE_CHECKING:
    from motia_trio.messages import Origin
    from motia_trio.outgoing import Outgoing
    from motia_trio.shared import Shared
    from motia_trio.steps import Step

__all__ = ["ASK_TIMEOUT", "Asks", "check_timeout"]

# seconds that an ask waits which nobody has bounded
ASK_TIMEOUT = 30.0
# asks that were given up, and whose answers would be counted when they come
LEFT_KEPT = 10_000
_STOPPING = "the service is stopping: the message is kept, and handled by the next one"


class _Asked:
    """One message that somebody waits for. ``deadline`` is a Trio time.

    ``in_hand``: a handler is at work on it. ``answered``: the step that did, and the trace id.
    """

    __slots__ = ("answered", "deadline", "in_hand", "reply")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.reply: Reply[Any] = Reply()
        self.in_hand = False
        self.answered: tuple[str, str] | None = None


class Asks:
    """Those of one runtime. The message is durable; who waits for its answer is not."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._asked: dict[str, _Asked] = {}
        self._left: OrderedDict[str, None] = OrderedDict()
        self._stopping = False
        #: how many answers came when nobody waited for them any more
        self.dropped = 0

    async def ask(
        self, outgoing: Outgoing, origin: Origin, deadline: float, sender: Step | None = None
    ) -> Any:
        """Publish a message, and wait for what its handler returns, as JSON has it. A checkpoint.

        ``deadline`` is a Trio time, which the handler is told. Once the message is kept it is tried
        as often as its step's policy says, whatever becomes of the wait.

        Raises:
            AskInvalid: no step listens to the topic, or several do; nothing was kept.
            TimedOut: there was no answer until the deadline, or it is over; the text says whether
                the message was kept.
            HandlerFailed: the message has become a dead letter, or the trigger's condition was not
                met, or what the handler returned has no JSON form.
            Closed: the runtime is stopping, so that nobody will answer, or has ended.
            OSError: the store could not keep the message.
        """
        topic = outgoing.topic
        self._check(topic)
        if self._stopping:
            raise Closed(f"ask({topic!r}): the service is stopping; nothing was kept")
        if trio.current_time() >= deadline:
            await trio.lowlevel.checkpoint()
            raise TimedOut(f"no time is left to ask {topic!r}: nothing was kept")
        asked = _Asked(deadline)
        known: list[str] = []

        def note(ids: list[str]) -> None:
            """Know the message before anybody can have handled it."""
            known.extend(ids)
            self._asked[ids[0]] = asked

        kept = left = False
        try:
            with trio.move_on_at(deadline):
                await self._shared.router.publish([outgoing], origin, sender, note=note)
                kept = True
                self._end_if_stopping(asked)
                try:
                    return await asked.reply.wait()
                except trio.Cancelled:
                    left = True
                    raise
            if asked.reply.given:  # at the very instant
                left = False
                return await asked.reply.wait()
        finally:
            for message_id in known:
                del self._asked[message_id]
                if left:
                    self._leave(message_id, asked)
        if not kept:
            raise TimedOut(f"{topic!r} could not be kept within the time: nothing was")
        raise TimedOut(f"no answer to {topic!r} within the time: it is handled all the same")

    def _leave(self, message_id: str, asked: _Asked) -> None:
        """Nobody waits any more for an answer that may still come, or has just come."""
        if asked.answered is not None:
            self._drop(message_id, *asked.answered)
        elif not asked.reply.given:  # with an error, that is
            self._left[message_id] = None
            if len(self._left) > LEFT_KEPT:
                self._left.popitem(last=False)

    def _drop(self, message_id: str, step: str, trace_id: str) -> None:
        self.dropped += 1
        self._shared.observers.tell(AnswerDropped(step, trace_id, message_id, self.dropped))

    def _check(self, topic: str) -> None:
        steps = self._shared.router.subscribers(topic)
        if len(steps) != 1:
            found = f"{len(steps)} steps do ({', '.join(steps)})" if steps else "no step does"
            raise AskInvalid(f"ask({topic!r}): exactly one step must listen to it, and {found}")

    def begin(self, message_id: str) -> float:
        """An attempt at a message begins. Gives the Trio time until which somebody waits for it.

        Without anybody who waits it is infinite.
        """
        asked = self._asked.get(message_id)
        if asked is None:
            return inf
        asked.in_hand = True
        return asked.deadline

    def answer(self, step: str, message_id: str, trace_id: str, result: object) -> None:
        """A handler has returned for a message."""
        if (asked := self._asked.get(message_id)) is not None:
            asked.answered = (step, trace_id)
            try:
                answer = wrap(codec.decode(codec.encode(result)))
            except Exception as error:  # noqa: BLE001 - to look at what it returned may run code
                words = str(error) if isinstance(error, NotEncodable) else tell_error(error).error
                asked.reply.fail(
                    HandlerFailed(f"step {step!r}: what it returned cannot be an answer: {words}")
                )
            else:
                asked.reply.set(answer)
        elif message_id in self._left:
            del self._left[message_id]
            self._drop(message_id, step, trace_id)

    def put_back(self, message_id: str) -> None:
        """An attempt at a message has ended, and there will be another."""
        if (asked := self._asked.get(message_id)) is not None:
            asked.in_hand = False
            self._end_if_stopping(asked)

    def fail(self, message_id: str, reason: str) -> None:
        """A message will never have an answer."""
        self._left.pop(message_id, None)
        if (asked := self._asked.get(message_id)) is not None:
            asked.reply.fail(HandlerFailed(reason))

    def stop(self) -> None:
        """No attempt begins any more: only what is in hand can still be answered."""
        self._stopping = True
        for asked in self._asked.values():
            self._end_if_stopping(asked)

    def _end_if_stopping(self, asked: _Asked) -> None:
        if self._stopping and not asked.in_hand:
            asked.reply.fail(Closed(_STOPPING))

    def close(self) -> None:
        """The runtime has ended."""
        self._stopping = True
        for asked in self._asked.values():
            asked.reply.fail(Closed("the runtime has ended before there was an answer"))


def check_timeout(timeout: object) -> float:
    """Give the seconds that an ask may take.

    Raises:
        ValueError: it is no number of seconds over 0.
    """
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout > 0:
        seconds = float(timeout)
        if isfinite(seconds):
            return seconds
    raise ValueError(f"timeout is a number of seconds over 0, not {timeout!r:.80}")
