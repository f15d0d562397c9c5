"""What a crowd can make happen as often as it likes is told now and then, with a count."""

from __future__ import annotations

import time
from math import inf
from typing import TYPE_CHECKING

from attrs import define

from motia_trio.events import (
    StreamClientClosed,
    StreamClientRefused,
    StreamConnectionFailed,
    StreamHookFailed,
    StreamJoinRefused,
)
from motia_trio.observe.stream_lines import USUAL

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from motia_trio.events import Event

__all__ = ["EVERY", "Crowds", "crowd_of"]

# seconds for which more of the same is only counted
EVERY = 10.0
# kinds that are counted one by one; what is beyond them is counted together
_KINDS = 200


@define
class _Crowd:
    """What came since the last one that was told."""

    until: float
    more: int = 0
    last: Event | None = None


class Crowds:
    """Lets the first of each kind through, and counts those that come in the seconds after it.

    What was counted is told when its time is up and the next event comes, of whatever kind.
    """

    def __init__(self) -> None:
        self._crowds: dict[Hashable, _Crowd] = {}
        self._next = inf

    def lets(self, kind: Hashable, event: Event) -> bool:
        """Whether an event of this kind is to be told now. One that is not is counted."""
        if kind not in self._crowds and len(self._crowds) >= _KINDS:
            kind = None
        crowd = self._crowds.get(kind)
        if crowd is None:
            until = time.monotonic() + EVERY
            self._crowds[kind] = _Crowd(until)
            self._next = min(self._next, until)
            return True
        crowd.more += 1
        crowd.last = event
        return False

    def due(self) -> Iterator[tuple[Event, int]]:
        """Give what is to be told by now: the last event of a kind, and how many others there were.

        Those that :meth:`lets` let through do not count.
        """
        if self._next == inf or (now := time.monotonic()) < self._next:
            return
        for kind, crowd in list(self._crowds.items()):
            if crowd.until > now:
                continue
            if crowd.last is None:  # a calm kind
                del self._crowds[kind]
                continue
            more, event = crowd.more, crowd.last
            crowd.until, crowd.more, crowd.last = now + EVERY, 0, None
            yield event, more - 1
        self._next = min((crowd.until for crowd in self._crowds.values()), default=inf)


def crowd_of(event: Event) -> Hashable | None:
    """The kind of an event that strangers can bring about at will; None of the others.

    What a client chooses is no part of it: else it could make up a kind for each line.
    """
    match event:
        case StreamJoinRefused():
            return type(event), event.reason
        case StreamClientRefused():
            return "refused", event.status, event.reason
        case StreamClientClosed():  # the usual ones are only told to who looks for defects
            return None if event.code in USUAL else ("closed", event.code)
        case StreamHookFailed():
            return "hook", event.stream, event.hook, event.error.partition(":")[0]
        case StreamConnectionFailed():
            return "failed", event.error.partition(":")[0]
        case _:
            return None
