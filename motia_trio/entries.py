"""What waits in a step's mailbox, and what is known of it while it is in hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import define, field

from motia_trio.actors import Lane, Reply
from motia_trio.messages import Delivery
from motia_trio.steps import HttpTrigger, QueueTrigger, StateTrigger, StreamTrigger

if TYPE_CHECKING:
    from motia_trio.data import Request
    from motia_trio.steps import Step

__all__ = ["Ask", "Entry", "Running", "lanes_of"]


@define(eq=False)
class Ask:
    """A request that somebody waits for. ``deadline`` is a Trio time."""

    trigger: int
    request: Request
    trace_id: str
    deadline: float
    reply: Reply[Any] = field(factory=Reply)


Entry: TypeAlias = Delivery | Ask


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

    Where both come, deliveries may fill half of the mailbox: they can wait in the store, and a
    request cannot.
    """
    http = [t.limits.concurrency for t in step.triggers if isinstance(t, HttpTrigger)]
    stored = (QueueTrigger, StateTrigger, StreamTrigger)
    queues = [t.limits.concurrency for t in step.triggers if isinstance(t, stored)]
    lanes: dict[str, Lane] = {}
    if http:
        lanes["http"] = Lane(limit=max(http), share=capacity)
    if queues:
        share = max(1, capacity // 2) if http else capacity
        lanes["queue"] = Lane(limit=max(queues), share=share)
    return lanes
