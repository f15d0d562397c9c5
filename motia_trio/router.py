"""From a topic, or a change, to the steps that listen: one message, a delivery for each of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import trio
from attrs import frozen

from motia_trio import codec
from motia_trio.errors import MessageTooLarge
from motia_trio.events import TopicUnheard, TopicUnlisted
from motia_trio.messages import Message, Origin, Route, new_trace_id
from motia_trio.steps import QueueTrigger, StateTrigger, StreamTrigger
from motia_trio.store import KEY_LIFETIME, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motia_trio.actor import StepActor
    from motia_trio.messages import Delivery
    from motia_trio.outgoing import Outgoing
    from motia_trio.shared import Shared
    from motia_trio.steps import Step
    from motia_trio.store import Change, Committed

__all__ = ["HOP_LIMIT", "STATE_TOPIC", "STREAM_TOPIC", "Bundle", "Router"]

# motia-contract §8: a chain of triggers longer than this is stopped
HOP_LIMIT = 50
# names of topics that are kept to tell of each once; whoever makes topics up must not fill memory
NAMES_KEPT = 1000
# what the messages that follow from changes have for a topic
STATE_TOPIC = "(state)"
STREAM_TOPIC = "(stream)"

Bundle = tuple[Message, list[Route]]


@frozen
class _Subscriber:
    actor: StepActor
    trigger: int
    fifo: bool
    delay: float


@frozen
class _Watcher:
    step: str
    index: int
    trigger: StateTrigger | StreamTrigger

    def sees(self, space: str, group: str, key: str | None) -> bool:
        """Whether a change of an item, or an event, passes the trigger's filters.

        An event for a whole group has no key, and is for no item.
        """
        trigger = self.trigger
        if isinstance(trigger, StateTrigger):
            fits, only = space == "", trigger.key
        else:
            fits, only = space == trigger.stream_name, trigger.item_id
        return fits and trigger.group_id in {None, group} and only in {None, key}


class Router:
    """Knows who listens to what, and hands messages over in memory where there is room."""

    def __init__(self, shared: Shared, actors: Sequence[StepActor]) -> None:
        self._shared = shared
        self._subscribers: dict[str, list[_Subscriber]] = {}
        self._watchers: list[_Watcher] = []
        self._actors = {actor.name: actor for actor in actors}
        self._told: set[tuple[str, str]] = set()
        self.unheard: Counter[str] = Counter()
        # who lists a topic that nobody hears was told at load
        self._lists = {actor.name: frozenset(actor.step.topics) for actor in actors}
        self._listed = frozenset[str]().union(*self._lists.values())
        for actor in actors:
            seen: set[str] = set()
            for index, trigger in enumerate(actor.step.triggers):
                if isinstance(trigger, QueueTrigger) and trigger.topic not in seen:
                    seen.add(trigger.topic)
                    self._subscribers.setdefault(trigger.topic, []).append(
                        _Subscriber(actor, index, trigger.limits.fifo, trigger.limits.delay)
                    )
                elif isinstance(trigger, (StateTrigger, StreamTrigger)):
                    self._watchers.append(_Watcher(actor.name, index, trigger))

    def subscribers(self, topic: str) -> list[str]:
        """The names of the steps that listen to a topic."""
        return [each.actor.name for each in self._subscribers.get(topic, ())]

    async def publish(
        self,
        batch: Sequence[Outgoing],
        origin: Origin,
        sender: Step | None = None,
        *,
        note: Callable[[list[str]], None] | None = None,
    ) -> list[str]:
        """Keep the messages and give their ids, once they are as durable as the store makes them.

        ``note`` is called with the ids before anything is kept.

        All of the batch or, if it raises, none of it. A message whose topic knows its key gives the
        id of the message that has it. A checkpoint, which is not cancelled once the store has it.

        Raises:
            MessageTooLarge: a payload is over ``message_limit`` bytes.
            OSError: the store could not keep them.
        """
        shared = self._shared
        now = shared.clock.now()
        ids, bundles = self.address(batch, origin, sender, now)
        if note is not None:
            note(ids)
        if not bundles:
            await trio.lowlevel.checkpoint()
            return ids
        places: dict[str, int] = {}
        shared.activity.enter()
        try:
            self._reserve(bundles, now, places)
            committed = await shared.store.commit(Work(messages=bundles), now)
            for delivery in committed.taken:
                places[delivery.step] -= 1
                self._actors[delivery.step].hand_over(delivery)
        finally:
            for name, unused in places.items():
                if unused:
                    self._actors[name].free("queue", unused)
            shared.activity.leave()
        self.tell_feeder(bundles, now, committed)
        if any(message.key is not None for message, _ in bundles):
            shared.sweeper.expect(now + KEY_LIFETIME)
        duplicates = committed.duplicates
        return [duplicates.get(each, each) for each in ids] if duplicates else ids

    def address(
        self, batch: Sequence[Outgoing], origin: Origin, sender: Step | None, now: float
    ) -> tuple[list[str], list[Bundle]]:
        """Give the messages ids, and routes to the steps that listen.

        Gives the ids of all, and the messages that somebody listens to.

        Raises:
            MessageTooLarge: a payload is over ``message_limit`` bytes.
        """
        shared = self._shared
        for outgoing in batch:
            if len(outgoing.payload) > shared.message_limit:
                raise MessageTooLarge(
                    f"message for topic {outgoing.topic!r}: {len(outgoing.payload)} bytes are over "
                    f"the limit of {shared.message_limit}; raise message_limit, or store the data "
                    "elsewhere and send where it is"
                )
        ids: list[str] = []
        bundles: list[Bundle] = []
        for outgoing in batch:
            message = Message(
                id=shared.store.new_id(now),
                topic=outgoing.topic,
                payload=outgoing.payload,
                trace_id=origin.trace_id,
                created_at=now,
                sender=origin.sender,
                group=outgoing.group,
                hops=origin.hops,
                priority=outgoing.priority,
                expires_at=outgoing.ends_at(now),
                key=outgoing.key,
            )
            ids.append(message.id)
            if sender is not None:
                self._check_listed(sender, outgoing.topic)
            subscribers = self._subscribers.get(outgoing.topic)
            if subscribers is None:
                self._tell_unheard(outgoing.topic, sender, origin.trace_id)
                continue
            routes = [_route(subscriber, outgoing, now) for subscriber in subscribers]
            bundles.append((message, routes))
        return ids, bundles

    def _reserve(self, bundles: list[Bundle], now: float, places: dict[str, int]) -> None:
        """Ask the store to hand over at once what is due and has a place in its mailbox."""
        for _, routes in bundles:
            for index, route in enumerate(routes):
                if route.due_at <= now and self._actors[route.step].reserve("queue"):
                    places[route.step] = places.get(route.step, 0) + 1
                    routes[index] = Route(
                        route.step, route.trigger, route.due_at, route.fifo, take=True
                    )

    def tell_feeder(
        self, bundles: Sequence[Bundle], now: float, committed: Committed | None = None
    ) -> None:
        """Tell what waits in the store. The feeder looks for room, so free that before."""
        feeder = self._shared.feeder
        taken: Sequence[Delivery] = committed.taken if committed is not None else ()
        if len(taken) == sum(len(routes) for _, routes in bundles):
            return
        mine = {(delivery.message.id, delivery.step) for delivery in taken}
        for message, routes in bundles:
            for route in routes:
                if route.due_at > now:
                    feeder.due_later(route.due_at)
                elif (message.id, route.step) not in mine:
                    feeder.stored(route.step, route.lane)

    # changes

    def react(
        self, changes: Sequence[Change], origin: Origin | None, now: float
    ) -> Sequence[Bundle]:
        """Give the messages that follow from changes, with a route each: what the store asks."""
        if not self._watchers:
            return ()
        origin = origin or Origin(new_trace_id())
        bundles: list[Bundle] = []
        for change in changes:
            if routes := self._routes(*change.place, now):
                message = self._message(change.place.space, _payload(change, now), origin, now)
                bundles.append((message, routes))
        return bundles

    def tell_of(
        self, stream: str, group: str, key: str | None, event: bytes, origin: Origin, now: float
    ) -> Sequence[Bundle]:
        """Give the message for the steps that follow a stream, of an event that is sent to it.

        ``event`` is JSON; ``key`` is None for one to a whole group. Those of an item come in the
        order of its changes, as far as they are kept one after the other.
        """
        routes = self._routes(stream, group, key, now)
        if not routes:
            return ()
        payload = _stream_payload(stream, group, key, b"event", event, now)
        return [(self._message(stream, payload, origin, now), routes)]

    def _routes(self, space: str, group: str, key: str | None, now: float) -> list[Route]:
        """The routes to the steps that watch a place."""
        return [
            Route(
                each.step,
                each.index,
                now,
                fifo=f"{len(group)}:{group}{key or ''}",
                lane=each.trigger.kind,
            )
            for each in self._watchers
            if each.sees(space, group, key)
        ]

    def _message(self, space: str, payload: bytes, origin: Origin, now: float) -> Message:
        return Message(
            id=self._shared.store.new_id(now),
            topic=STREAM_TOPIC if space else STATE_TOPIC,
            payload=payload,
            trace_id=origin.trace_id,
            created_at=now,
            sender=origin.sender,
            hops=origin.hops,
        )

    def tell_changes(self, changes: Sequence[Change]) -> None:
        """Tell the feeder of the messages that followed from changes, once they are kept."""
        for change in changes:
            for watcher in self._watchers:
                if watcher.sees(*change.place):
                    self._shared.feeder.stored(watcher.step, watcher.trigger.kind)

    # what is told

    def _check_listed(self, sender: Step, topic: str) -> None:
        if topic in self._lists.get(sender.name, ()) or (sender.name, topic) in self._told:
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


def _route(subscriber: _Subscriber, outgoing: Outgoing, now: float) -> Route:
    return Route(
        step=subscriber.actor.name,
        trigger=subscriber.trigger,
        due_at=outgoing.due_at(now, subscriber.delay),
        fifo=(outgoing.group or "") if subscriber.fifo else None,
    )


def _payload(change: Change, now: float) -> bytes:
    """What a handler is given of a change. Source: motia-contract §6 and §7."""
    place = change.place
    old, new = (raw if raw is not None else b"null" for raw in (change.old, change.new))
    if not place.space:
        return b'{"type":"state","group_id":%b,"item_id":%b,"old_value":%b,"new_value":%b}' % (
            codec.encode(place.group), codec.encode(place.key), old, new,
        )  # fmt: skip
    if change.new is None:
        return _stream_payload(*place, b"delete", old, now)
    return _stream_payload(*place, b"create" if change.old is None else b"update", new, now)


def _stream_payload(
    stream: str, group: str, key: str | None, kind: bytes, data: bytes, now: float
) -> bytes:
    return (
        b'{"type":"stream","timestamp":%d,"stream_name":%b,"group_id":%b,"id":%b,'
        b'"event":{"type":"%b","data":%b}}'
        % (
            int(now * 1000),
            codec.encode(stream),
            codec.encode(group),
            codec.encode(key),
            kind,
            data,
        )
    )
