"""From a topic to the steps that listen: one message, a delivery for each of them."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING

from attrs import frozen

from motia_trio.errors import MessageTooLarge
from motia_trio.events import TopicUnheard, TopicUnlisted
from motia_trio.messages import Message, Route
from motia_trio.steps import QueueTrigger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motia_trio.actor import StepActor
    from motia_trio.shared import Shared
    from motia_trio.steps import Step

__all__ = ["HOP_LIMIT", "Outgoing", "Router"]

# motia-contract §8: a chain of triggers longer than this is stopped
HOP_LIMIT = 50
# names of topics that are kept to tell of each once; whoever makes topics up must not fill memory
NAMES_KEPT = 1000


@frozen
class Outgoing:
    """What somebody wants to publish. ``delay`` is in seconds; None leaves it to the queue."""

    topic: str
    payload: bytes
    group: str | None = None
    delay: float | None = None


@frozen
class _Subscriber:
    actor: StepActor
    trigger: int
    fifo: bool
    delay: float


class Router:
    """Knows who listens to what, and hands messages over in memory where there is room."""

    def __init__(self, shared: Shared, actors: Sequence[StepActor]) -> None:
        self._shared = shared
        self._subscribers: dict[str, list[_Subscriber]] = {}
        self._actors = {actor.name: actor for actor in actors}
        self._told: set[tuple[str, str]] = set()
        self.unheard: Counter[str] = Counter()
        # who lists a topic that nobody hears was told at load
        self._listed = {topic for actor in actors for topic in actor.step.topics}
        for actor in actors:
            seen: set[str] = set()
            for index, trigger in enumerate(actor.step.triggers):
                if isinstance(trigger, QueueTrigger) and trigger.topic not in seen:
                    seen.add(trigger.topic)
                    self._subscribers.setdefault(trigger.topic, []).append(
                        _Subscriber(actor, index, trigger.limits.fifo, trigger.limits.delay)
                    )

    def listens(self, topic: str) -> bool:
        """Whether any step listens to a topic."""
        return topic in self._subscribers

    async def publish(
        self,
        batch: Sequence[Outgoing],
        *,
        trace_id: str,
        sender: Step | None = None,
        hops: int = 0,
    ) -> list[str]:
        """Keep the messages and give their ids, once they are as durable as the store makes them.

        All of the batch or, if it raises, none of it. A checkpoint.

        Raises:
            MessageTooLarge: a payload is over ``message_limit`` bytes.
            OSError: the store could not keep them.
        """
        shared = self._shared
        now = shared.clock.now()
        entries: list[tuple[Message, list[Route]]] = []
        for outgoing in batch:
            if len(outgoing.payload) > shared.message_limit:
                raise MessageTooLarge(
                    f"message for topic {outgoing.topic!r}: {len(outgoing.payload)} bytes are over "
                    f"the limit of {shared.message_limit}; raise message_limit, or store the data "
                    "elsewhere and send where it is"
                )
        ids: list[str] = []
        places: dict[str, int] = {}
        shared.activity.enter()
        try:
            for outgoing in batch:
                message = Message(
                    id=uuid.uuid4().hex,
                    topic=outgoing.topic,
                    payload=outgoing.payload,
                    trace_id=trace_id,
                    created_at=now,
                    sender=sender.name if sender else None,
                    group=outgoing.group,
                    hops=hops,
                )
                ids.append(message.id)
                self._check_listed(sender, outgoing.topic)
                subscribers = self._subscribers.get(outgoing.topic)
                if subscribers is None:
                    self._tell_unheard(outgoing.topic, sender, trace_id)
                    continue
                entries.append(
                    (message, [self._route(s, outgoing, now, places) for s in subscribers])
                )
            for delivery in await shared.store.append(entries, now) if entries else ():
                places[delivery.step] -= 1
                self._actors[delivery.step].hand_over(delivery)
        finally:
            for name, unused in places.items():
                self._actors[name].free(unused)
            shared.activity.leave()
        self._tell_feeder(entries, now, places)
        return ids

    def _route(
        self, subscriber: _Subscriber, outgoing: Outgoing, now: float, taken: dict[str, int]
    ) -> Route:
        delay = subscriber.delay if outgoing.delay is None else outgoing.delay
        actor = subscriber.actor
        take = delay <= 0 and actor.reserve()
        if take:
            taken[actor.name] = taken.get(actor.name, 0) + 1
        return Route(
            step=actor.name,
            trigger=subscriber.trigger,
            due_at=now + max(0.0, delay),
            fifo=(outgoing.group or "") if subscriber.fifo else None,
            take=take,
        )

    def _tell_feeder(
        self, entries: list[tuple[Message, list[Route]]], now: float, places: dict[str, int]
    ) -> None:
        """Tell what waits in the store. The feeder looks for room, so free that before."""
        for _, routes in entries:
            for route in routes:
                if route.due_at > now:
                    self._shared.feeder.due_later(route.due_at)
                elif not route.take or places[route.step]:
                    self._shared.feeder.stored(route.step)

    def _check_listed(self, sender: Step | None, topic: str) -> None:
        if sender is None or topic in sender.topics or (sender.name, topic) in self._told:
            return
        if len(self._told) >= NAMES_KEPT:
            return
        self._told.add((sender.name, topic))
        self._shared.observers.tell(TopicUnlisted(sender.name, topic, sender.topics))

    def _tell_unheard(self, topic: str, sender: Step | None, trace_id: str) -> None:
        if topic not in self.unheard and len(self.unheard) >= NAMES_KEPT:
            topic = "(others)"
        self.unheard[topic] += 1
        if self.unheard[topic] == 1 and topic not in self._listed:
            self._shared.observers.tell(
                TopicUnheard(topic, sender.name if sender else None, trace_id)
            )
