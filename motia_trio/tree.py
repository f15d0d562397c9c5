"""The supervisor tree, as it is at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio
from attrs import frozen

from motia_trio.store import Counts
from motia_trio.warden import GRACE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from motia_trio.actor import StepActor
    from motia_trio.actors import ChildState, ChildStatistics, MailboxStatistics
    from motia_trio.plans import ScheduleNode
    from motia_trio.shared import Shared
    from motia_trio.streams import HubStatistics

__all__ = ["ActorNode", "Tree", "tell_tree"]


@frozen
class ActorNode:
    """One actor in the tree. ``up_for`` is in seconds, None while it is down.

    ``overdue`` counts handlers in flight that run on after their bound.
    """

    name: str
    source: str
    state: ChildState
    restarts: int
    crashes: int
    last_error: str | None
    up_for: float | None
    in_flight: int
    overdue: int
    mailbox: MailboxStatistics
    deliveries: Counts
    schedules: tuple[ScheduleNode, ...] = ()


@frozen
class Tree:
    """The supervisor tree at one moment. ``unheard`` counts messages to topics without a step.

    ``dropped_answers`` counts answers to an ``ask`` that nobody waited for any more. ``streams`` is
    who follows live streams.
    """

    state: str
    in_flight: int
    actors: tuple[ActorNode, ...]
    unheard: Mapping[str, int]
    streams: HubStatistics
    dropped_answers: int = 0

    def __getitem__(self, name: str) -> ActorNode:
        """The actor of one step, by the step's name."""
        for actor in self.actors:
            if actor.name == name:
                return actor
        raise KeyError(f"{name}; there are: {', '.join(actor.name for actor in self.actors)}")


def tell_tree(
    state: str, shared: Shared, children: Sequence[tuple[StepActor, ChildStatistics]]
) -> Tree:
    """Tell how every actor is, now. ``state`` is the runtime's."""
    counts = shared.store.counts(shared.clock.now())
    nodes = tuple(_node(actor, child, shared, counts) for actor, child in children)
    return Tree(
        state,
        shared.activity.count,
        nodes,
        dict(shared.router.unheard),
        shared.hub.statistics(),
        shared.asks.dropped,
    )


def _node(
    actor: StepActor, child: ChildStatistics, shared: Shared, counts: Mapping[str, Counts]
) -> ActorNode:
    now = trio.current_time()
    bounds = [running.bound for running in actor.in_flight()]
    return ActorNode(
        name=child.name,
        source=actor.step.source,
        state=child.state,
        restarts=child.restarts,
        crashes=child.crashes,
        last_error=child.last_error,
        up_for=None if child.up_since is None else now - child.up_since,
        in_flight=len(bounds),
        overdue=sum(1 for bound in bounds if now - bound >= GRACE),
        mailbox=actor.mailbox_statistics(),
        deliveries=counts.get(child.name, Counts()),
        schedules=shared.scheduler.nodes(child.name),
    )
