"""What the client knows of one join: how far it has heard, and what it may have missed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import trio
from attrs import define, field, frozen

from motia_trio.client.errors import NotJoined, Unauthorized
from motia_trio.client.wire import ANSWERS, CHANGES, join_frame, leave_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.client.views import View
    from motia_trio.client.wire import Heard

__all__ = ["Gap", "GapCause", "Subscription"]

logger = logging.getLogger("motia_trio.client")

GapCause = Literal["not resumed", "reconnected", "overflow"]

_SAID = {
    "not resumed": "connected again, and the server does not know any more what was missed; "
    "the state is whole, what it was in between is unknown",
    "reconnected": "connected again; events that were sent in between are lost",
    "overflow": "events come faster than they are taken; the oldest are dropped",
}


@frozen
class Gap:
    """Something happened that a follower was not told of.

    ``cause`` is ``"not resumed"`` (after a reconnect there was only the whole state to be had, so
    that it is right, and states in between are unknown), ``"reconnected"`` (events sent while
    there was no connection are lost; nobody keeps them) or ``"overflow"`` (``lost`` events were
    dropped because they were not taken in time).
    """

    stream: str
    group: str
    item: str | None
    cause: GapCause
    lost: int = 0


@define(eq=False)
class Subscription:
    """One join, over all the connections on which it is made anew."""

    stream: str
    group: str
    key: str | None
    view: View[Any]
    id: str = field(factory=lambda: str(uuid4()))
    #: the ``seq`` of the last message that was applied, None if there is none to resume from
    seq: int | None = None
    #: what it was when the connection that there is now began: the join says so
    since: int | None = None
    #: whether the server has answered this join on the connection that there is now
    answered: bool = False
    #: whether messages are applied: what comes before an answer is for others in the same place
    live: bool = False
    #: whether it was live on a connection before
    rejoins: bool = False
    #: whether it has heard something that only a sync can make a state of
    needs_sync: bool = False
    #: whether whoever followed forgot about it
    abandoned: bool = False
    gaps: int = 0
    lost: int = 0
    #: makes the error that its follower raises from now on
    failure: Callable[[], Exception] | None = None
    _unreported: dict[GapCause, int] = field(factory=dict)
    _changed: trio.Event = field(factory=trio.Event)

    @property
    def begun(self) -> bool:
        """Whether a join of it has been answered, on this connection or before."""
        return self.rejoins or self.live

    @property
    def place(self) -> str:
        """Where it is, for people."""
        place = f"{self.stream}/{self.group}"
        return place if self.key is None else f"{place}/{self.key}"

    def join_frame(self) -> str:
        """What to send to join, from where it was; or once more, to be synced again."""
        since = None if self.live else self.since
        return join_frame(self.id, self.stream, self.group, self.key, since)

    def leave_frame(self) -> str:
        """What to send to leave."""
        return leave_frame(self.id, self.stream, self.group, self.key)

    def abandon(self) -> None:
        """Have it left when there is an opportunity. May be called from anywhere, at any time."""
        self.abandoned = True

    def disconnect(self) -> None:
        """Wait for an answer on the next connection before anything else is applied."""
        self.rejoins = self.begun
        self.since = None if self.needs_sync else self.seq
        self.answered = self.live = False

    def fail(self, failure: Callable[[], Exception]) -> None:
        """Have the follower raise an error."""
        if self.failure is None:
            self.failure = failure
            self.wake()

    async def changed(self) -> None:
        """Wait until there is something new: a state, an event, a gap, an answer, a failure."""
        await self._changed.wait()

    def take_gaps(self) -> list[Gap]:
        """Take the gaps that nobody was told of yet."""
        gaps = [
            Gap(self.stream, self.group, self.key, cause, lost)
            for cause, lost in self._unreported.items()
        ]
        self._unreported.clear()
        return gaps

    # what is heard

    def concerns(self, message: Heard) -> bool:
        """Whether a message of its group is for it.

        An answer is for whose join it answers, or for all who follow just that if it does not say;
        what happens to an item is for its group, too.
        """
        if message.kind in ANSWERS:
            if message.subscription is not None:
                return self.id == message.subscription
            return self.key == message.key
        return self.key is None or self.key == message.key

    def hear(self, message: Heard) -> None:
        """Apply a message that concerns it. Wakes the follower if that has made a difference.

        Raises:
            UnknownFrame: its data is not what such a message has.
        """
        kind = message.kind
        if kind == "sync":
            self._sync(message)
        elif kind == "resume":
            # it is not as far as its seq: what was missed is still to come
            self.live = self.live or message.since == self.since
        elif kind == "unauthorized":
            return
        elif not self.live:
            logger.debug("%s: %s before the join is answered", self.place, kind)
        elif kind == "event":
            if dropped := self.view.event(message):
                self.lost += dropped
                self._gap("overflow", dropped)
            self._advance(message)
        elif kind not in CHANGES:
            logger.debug("%s: %s is not known", self.place, kind)
        elif not self._is_new(message):
            logger.debug("%s: %s %s again", self.place, kind, message.seq)
        else:
            self.needs_sync = not self.view.change(message) or self.needs_sync
            self._advance(message)
        if self.view.fresh:
            self.wake()

    def refuse(self, reason: str) -> None:
        """Have the server say that there will be no answer to its join."""
        self.answered = True
        self.fail(lambda: NotJoined(self.stream, self.group, self.key, reason))

    def is_answered_by(self, message: Heard) -> bool:
        """Whether an answer to a join of its place may be the one to its own."""
        return not self.answered and (message.kind != "resume" or message.since == self.since)

    def answer(self, message: Heard) -> None:
        """Have its own join answered: the message has been heard, and tells whether there is a gap.

        In one place all see the same, so that a state may be taken from an answer that does not
        tell whose it is; but only its own answer tells whether its ``since`` was known.
        """
        self.answered = True
        if message.kind == "unauthorized":
            self.fail(lambda: Unauthorized(self.stream, self.group, self.key))
        elif self.rejoins and not self.view.resumes:
            self._gap("reconnected")
        elif self.rejoins and message.kind == "sync":
            self._gap("not resumed")
        self.wake()

    def _sync(self, message: Heard) -> None:
        if self.live and not self._is_new(message) and message.seq != self.seq:
            return  # the answer to the join of another in this place, from before
        self.view.sync(message)
        self.needs_sync = False
        self.seq = message.seq
        self.live = True

    def _is_new(self, message: Heard) -> bool:
        return message.seq is None or self.seq is None or message.seq > self.seq

    def _advance(self, message: Heard) -> None:
        if message.seq is not None and self._is_new(message):
            self.seq = message.seq

    def _gap(self, cause: GapCause, lost: int = 0) -> None:
        if cause != "overflow" or cause not in self._unreported:  # else it goes on
            self.gaps += 1
            logger.warning("%s: %s", self.place, _SAID[cause])
        self._unreported[cause] = self._unreported.get(cause, 0) + lost

    def wake(self) -> None:
        """Have the follower look."""
        self._changed.set()
        self._changed = trio.Event()
