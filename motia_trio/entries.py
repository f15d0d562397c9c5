"""What waits in a step's mailbox, and what is known of it while it is in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field

from motia_trio.actors import Lane, Reply
from motia_trio.messages import Delivery
from motia_trio.steps import CronTrigger, HttpTrigger, QueueTrigger, StateTrigger, StreamTrigger

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.actors import Hand
    from motia_trio.data import Request
    from motia_trio.steps import Step

__all__ = ["Ask", "Entry", "Running", "Tick", "lanes_of"]


@define(eq=False)
class Ask:
    """A request that somebody waits for. ``deadline`` is a Trio time.

    ``hand`` has it in hand while its handler may be cancelled; ``gone``: nobody waits any more.
    """

    trigger: int
    request: Request
    trace_id: str
    deadline: float
    reply: Reply[Any] = field(factory=Reply)
    hand: Hand | None = None
    gone: bool = False

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
    """One lane for each kind of entry that the step's triggers bring.

    Lanes take turns, so that none waits for another to be empty. Deliveries may fill half of a
    mailbox that other entries come to, too: they can wait in the store, and the others cannot.
    """
    http = [t.limits.concurrency for t in step.triggers if isinstance(t, HttpTrigger)]
    cron = [t.limits.concurrency for t in step.triggers if isinstance(t, CronTrigger)]
    stored = (QueueTrigger, StateTrigger, StreamTrigger)
    queues = [t.limits.concurrency for t in step.triggers if isinstance(t, stored)]
    lanes: dict[str, Lane] = {}
    if http:
        lanes["http"] = Lane(limit=max(http), share=capacity)
    if cron:
        lanes["cron"] = Lane(limit=sum(cron), share=capacity)
    if queues:
        share = max(1, capacity // 2) if http or cron else capacity
        lanes["queue"] = Lane(limit=max(queues), share=share)
    return lanes
