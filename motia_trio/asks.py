"""Questions: a message whose publisher waits for what the one handler of it returns."""

from __future__ import annotations

from collections import OrderedDict
from math import isfinite
from typing import TYPE_CHECKING, Any

import trio

from motia_trio import codec
from motia_trio.actors import Reply
from motia_trio.data import wrap
from motia_trio.errors import AskInvalid, Closed, HandlerFailed, NotEncodable, TimedOut
from motia_trio.events import AnswerDropped

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


class _Asked:
    """One message that somebody waits for. ``deadline`` is a Trio time."""

    __slots__ = ("deadline", "reply")

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.reply: Reply[Any] = Reply()


class Asks:
    """Those of one runtime. The message is durable; who waits for its answer is not."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._asked: dict[str, _Asked] = {}
        self._left: OrderedDict[str, None] = OrderedDict()
        #: how many answers came when nobody waited for them any more
        self.dropped = 0

    async def ask(
        self, outgoing: Outgoing, origin: Origin, deadline: float, sender: Step | None = None
    ) -> Any:
        """Publish a message, and wait for what its handler returns, as JSON has it. A checkpoint.

        ``deadline`` is a Trio time, which the handler is told. The message is kept whatever becomes
        of the wait, and tried as often as its step's policy says.

        Raises:
            AskInvalid: no step listens to the topic, or several do; nothing was kept.
            TimedOut: there was no answer until the deadline.
            HandlerFailed: the message has become a dead letter, or the trigger's condition was not
                met, or what the handler returned has no JSON form.
            Closed: the runtime has ended.
        """
        self._check(outgoing.topic)
        asked = _Asked(deadline)
        known: list[str] = []

        def note(ids: list[str]) -> None:
            """Know the message before anybody can have handled it."""
            known.extend(ids)
            self._asked[ids[0]] = asked

        left = True
        try:
            with trio.move_on_at(deadline):
                await self._shared.router.publish([outgoing], origin, sender, note=note)
                answer = await asked.reply.wait()
                left = False
                return answer
        except (HandlerFailed, Closed):
            left = False
            raise
        finally:
            for message_id in known:
                del self._asked[message_id]
                if left:
                    self._left[message_id] = None
                    if len(self._left) > LEFT_KEPT:
                        self._left.popitem(last=False)
        raise TimedOut(
            f"no answer to {outgoing.topic!r} within the time: it is handled all the same"
        )

    def _check(self, topic: str) -> None:
        steps = self._shared.router.subscribers(topic)
        if len(steps) != 1:
            found = f"{len(steps)} steps do ({', '.join(steps)})" if steps else "no step does"
            raise AskInvalid(f"ask({topic!r}): exactly one step must listen to it, and {found}")

    def deadline_of(self, message_id: str) -> float | None:
        """Give the Trio time until which somebody waits for a message, None if nobody does."""
        asked = self._asked.get(message_id)
        return None if asked is None else asked.deadline

    def answer(self, step: str, message_id: str, trace_id: str, result: object) -> None:
        """A handler has returned for a message."""
        if (asked := self._asked.get(message_id)) is not None:
            try:
                asked.reply.set(wrap(codec.decode(codec.encode(result))))
            except NotEncodable as error:
                asked.reply.fail(
                    HandlerFailed(f"step {step!r}: what it returned cannot be an answer: {error}")
                )
        elif message_id in self._left:
            del self._left[message_id]
            self.dropped += 1
            self._shared.observers.tell(AnswerDropped(step, trace_id, message_id, self.dropped))

    def fail(self, message_id: str, reason: str) -> None:
        """A message will never have an answer."""
        self._left.pop(message_id, None)
        if (asked := self._asked.get(message_id)) is not None:
            asked.reply.fail(HandlerFailed(reason))

    def close(self) -> None:
        """The runtime has ended."""
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
