"""What waits in a step's mailbox, and what is known of it while it is in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field

from motia_trio.actors import Lane, Reply
from motia_trio.messages import Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.actors import Hand
    from motia_trio.data import Request
    from motia_trio.steps import Step

__all__ = ["STORED", "Ask", "Entry", "Running", "Tick", "lanes_of"]

# the kinds of triggers that get what the store keeps: its lanes
STORED = ("queue", "state", "stream")


@define(eq=False)
class Ask:
    """A request that somebody waits for. ``deadline`` is a Trio time.

    ``hand`` has it in hand while its handler may be cancelled; ``gone``: nobody waits any more;
    ``endless``: its answer goes on until the client has enough; ``ended``: we ended that.
    """

    trigger: int
    request: Request
    trace_id: str
    deadline: float
    reply: Reply[Any] = field(factory=Reply)
    hand: Hand | None = None
    gone: bool = False
    endless: bool = False
    ended: bool = False

    def end(self) -> None:
        """End an endless answer, in order: the handler is cancelled, and has not failed."""
        if self.endless and self.hand is not None:
            self.ended = True
            self.hand.cancel()

    def abandon(self) -> None:
        """Nobody waits any more: the handler is cancelled, or never begins."""
        self.gone = True
        if self.hand is not None:
            self.hand.cancel()


@define(eq=False)
class Tick:
    """A time that has come. ``scheduled_at`` is a wall time.

    ``done`` is called when the attempt has ended, with whether it ended well.
    """

    trigger: int
    trace_id: str
    scheduled_at: float
    done: Callable[[bool], None]


Entry: TypeAlias = Delivery | Ask | Tick


@define(eq=False)
class Running:
    """One attempt in hand: ``started`` and ``bound`` (when it is cancelled) are Trio times.

    ``trigger`` is the index of the step's trigger that it is for.
    """

    trace_id: str
    started: float
    bound: float
    ask: Ask | None
    trigger: int = 0
    told_again_at: float = 0.0
    settled: bool = False


def lanes_of(step: Step, capacity: int) -> dict[str, Lane]:
    """One lane for each kind of trigger that the step has, for a mailbox of ``capacity`` places.

    Lanes take turns, and each has a place that the others leave free, so that none waits for
    another to be empty: the mailbox needs as many places as there are lanes, at the least. What
    comes out of the store may fill half of a mailbox that other entries come to, too, each kind its
    part of it: it can wait in the store, and the others cannot.
    """
    kinds: dict[str, list[int]] = {}
    for trigger in step.triggers:
        kinds.setdefault(trigger.kind, []).append(trigger.limits.concurrency)
    stored = [kind for kind in STORED if kind in kinds]
    kept = 1 if len(kinds) > 1 else 0
    lanes: dict[str, Lane] = {}
    if "http" in kinds:
        lanes["http"] = Lane(max(kinds["http"]), capacity, kept)
    if "cron" in kinds:
        lanes["cron"] = Lane(sum(kinds["cron"]), capacity, kept)
    part = capacity // 2 if lanes else capacity
    for kind in stored:
        lanes[kind] = Lane(max(kinds[kind]), max(1, part // len(stored)), kept)
    return lanes
