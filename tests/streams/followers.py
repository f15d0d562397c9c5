"""What clients make of what they are sent. Source: ``@motiadev/stream-client`` 0.17, and ours."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import attrs

#: kinds of messages that tell how one item is from now on
CHANGES = frozenset({"create", "update", "delete"})


@attrs.define
class GroupState:
    """A group as ``StreamGroupSubscription`` of the official client has it.

    ``resumes``: as our own client, which has an update make an item that it does not have, and a
    create replace one that it has: so who resumes has to.
    """

    resumes: bool = False
    items: list[Any] = attrs.field(factory=list)
    synced: bool = False
    last: float = 0
    times: dict[Any, float] = attrs.field(factory=dict)

    def hear(self, message: dict[str, Any]) -> None:
        """Apply a message of this group, or of an item of it."""
        event, time = message["event"], message["timestamp"]
        data = event.get("data")
        match event["type"]:
            case "sync":
                if time < self.last and not self.resumes:
                    return
                self.times, self.last = {}, time
                self.items, self.synced = data, True
            case "create" | "update" if self.resumes:
                there = any(item["id"] == data["id"] for item in self.items)
                self._replace(data) if there else self.items.append(data)
            case "create":
                if not any(item["id"] == data["id"] for item in self.items):
                    self.items = [*self.items, data]
            case "update":
                if self.times.get(data["id"], 0) >= time:
                    return
                self.last = self.times[data["id"]] = time
                self._replace(data)
            case "delete":
                self.last = self.times[data["id"]] = time
                self.items = [item for item in self.items if item["id"] != data["id"]]

    def _replace(self, data: Any) -> None:
        self.items = [data if item["id"] == data["id"] else item for item in self.items]

    @property
    def value(self) -> dict[str, Any]:
        """The items by their ids: in which order they are shown is the page's."""
        assert len({item["id"] for item in self.items}) == len(self.items), "an item is there twice"
        return {item["id"]: item for item in self.items}


@attrs.define
class ItemState:
    """One item as ``StreamItemSubscription`` of the official client has it."""

    resumes: bool = False
    value: Any = None
    synced: bool = False
    last: float = 0

    def hear(self, message: dict[str, Any]) -> None:
        """Apply a message of this item."""
        event, time = message["event"], message["timestamp"]
        if time <= self.last and not self.resumes:
            return
        self.last = time
        match event["type"]:
            case "sync" | "create" | "update":
                self.synced = self.synced or event["type"] == "sync"
                self.value = event["data"]
            case "delete":
                self.value = None


@attrs.define(eq=False)
class Follow:
    """One subscription of a client, over all the connections on which it is made anew."""

    id: str
    stream: str
    group: str
    key: str | None
    #: as our own client, which asks for what it missed, and lets changes pass that it has heard
    resumes: bool = False
    state: GroupState | ItemState = attrs.field(init=False)
    #: the ``seq`` of the last message that was applied, and what the join of now asked for
    seq: int | None = None
    since: int | None = None
    #: whether its join was answered
    live: bool = False
    #: the last change that may come after it has left
    until: float = float("inf")

    def __attrs_post_init__(self) -> None:
        self.state = GroupState(self.resumes) if self.key is None else ItemState(self.resumes)

    @property
    def place(self) -> tuple[str, str, str | None]:
        """Where it is."""
        return self.stream, self.group, self.key

    def frame(self, kind: str) -> dict[str, Any]:
        """What to send to join or to leave."""
        data: dict[str, Any] = {
            "streamName": self.stream, "groupId": self.group, "subscriptionId": self.id,
        }  # fmt: skip
        if self.key is not None:
            data["id"] = self.key
        if kind == "join" and self.since is not None:
            data["since"] = self.since
        return {"type": kind, "data": data}

    def connect(self) -> None:
        """Begin on another connection."""
        self.live = False
        self.since = self.seq if self.resumes else None

    def concerns(self, message: dict[str, Any]) -> bool:
        """Whether the official client gives it this message: by its room, and by its group's."""
        if (message["streamName"], message["groupId"]) != (self.stream, self.group):
            return False
        key, kind = message.get("id"), message["event"]["type"]
        return key == self.key or (self.key is None and kind not in {"sync", "resume"})

    def hear(self, message: dict[str, Any]) -> None:
        """Apply a message that concerns it."""
        kind, seq = message["event"]["type"], message["seq"]
        answers = message.get("subscriptionId") == self.id
        self.live = self.live or answers
        if not self.resumes:  # the official client: any sync of the place will do
            self.state.hear(message)
        elif kind == "resume":
            assert not answers or message["event"]["data"]["since"] == self.since
        elif kind == "sync":
            if answers:
                self.state.hear(message)
                self.seq = seq
        elif self.live:
            new = self.seq is None or seq > self.seq
            if new and kind in CHANGES:
                self.state.hear(message)
            self.seq = seq if new else self.seq


@attrs.define(eq=False)
class Client:
    """A client's end of one connection: gives what it hears to whom it concerns.

    It has something against each message that should not have come.
    """

    follows: dict[str, Follow] = attrs.field(factory=dict)
    #: those that were left, of which some messages may be on their way
    left: list[Follow] = attrs.field(factory=list)
    #: by the ids of subscriptions
    joins: Counter[str] = attrs.field(factory=Counter)
    answers: Counter[str] = attrs.field(factory=Counter)
    #: joins that were left before their answer was there: it may have been on its way
    unanswered: Counter[str] = attrs.field(factory=Counter)
    events: list[int] = attrs.field(factory=list)
    errors: list[str] = attrs.field(factory=list)
    heard: list[dict[str, Any]] = attrs.field(factory=list)
    time: float = 0
    seqs: dict[tuple[str, str], int] = attrs.field(factory=dict)

    def join(self, follow: Follow) -> None:
        """Note that a join is sent."""
        self.follows[follow.id] = follow
        self.joins[follow.id] += 1

    def leave(self, follow: Follow, last: int) -> None:
        """Note that a leave was understood, when ``last`` was the last change there was."""
        del self.follows[follow.id]
        follow.until = last
        self.left.append(follow)
        self.unanswered[follow.id] = self.joins[follow.id] - self.answers[follow.id]

    def hear(self, text: str | bytes) -> None:
        """Hear a message, and see that it may come, and come now."""
        message = json.loads(text)
        self.heard.append(message)
        if message["type"] == "error":
            self.errors.append(message["message"])
            return
        assert message["timestamp"] > self.time, "the time goes back"
        self.time = message["timestamp"]
        place = message["streamName"], message["groupId"], message.get("id")
        room, kind, seq = place[:2], message["event"]["type"], message["seq"]
        if kind in {"sync", "resume", "unauthorized"}:
            name = message["subscriptionId"]
            self.answers[name] += 1
            assert self.answers[name] <= self.joins[name], "an answer that nobody asked for"
        if kind == "resume":
            # what was missed is told again to whoever has it by another subscription
            self.seqs[room] = min(self.seqs.get(room, seq), message["event"]["data"]["since"])
        elif kind in CHANGES:
            assert seq > self.seqs.get(room, 0), "a change comes twice, or out of order"
            self.seqs[room] = seq
        else:
            assert seq >= self.seqs.get(room, 0), "the order goes back"
            self.seqs[room] = seq
        if kind == "event":
            number = message["event"]["event"]["data"]
            assert not self.events or number > self.events[-1], "an event comes twice, or late"
            self.events.append(number)
        follows = [*self.follows.values(), *self.left]
        concerned = [each for each in follows if each.concerns(message)]
        if kind not in {"sync", "resume"}:
            assert any(seq <= each.until for each in concerned), "nobody follows that"
        for follow in concerned:
            follow.hear(message)

    def waits_for(self) -> list[str]:
        """The subscriptions whose joins were not answered as often as they were made."""
        return [
            name
            for name, joins in self.joins.items()
            if joins - self.unanswered[name] > self.answers[name]
        ]
