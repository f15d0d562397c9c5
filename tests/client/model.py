"""A model of a stream server: what it keeps, what it logs, and what it has not sent yet.

It sends when it is told to, so that a script can have connections lost at any point between.
"""

from __future__ import annotations

from typing import Any

import trio
from attrs import define, field

from tests.client.fake import Connection, FakeServer

Message = dict[str, Any]
ROOM = ("chat", "room-1")
CHANGES = {"create", "update", "delete"}


@define(eq=False)
class Talk:
    """A connection, and what waits to be sent on it, in order."""

    connection: Connection
    waiting: list[Message] = field(factory=list)
    joined: list[Message] = field(factory=list)


@define(eq=False)
class Model:
    """One group of a stream: its items, its log, and who follows."""

    server: FakeServer
    #: whether an answer to a join tells whose it is
    tells_whose: bool = True
    items: dict[str, Message] = field(factory=dict)
    #: seq, key, kind of each change; the first row only tells a seq that is known
    log: list[tuple[int, str, str]] = field(factory=lambda: [(1000, "", "start")])
    seq: int = 1000
    version: int = 0
    #: every item that ever was committed, and every event that was sent
    committed: list[Message] = field(factory=list)
    events: list[int] = field(factory=list)
    talk: Talk | None = None
    #: by subscription: syncs that were sent though it had asked to resume
    unresumed: dict[str, int] = field(factory=dict)
    resumed: int = 0

    async def run(self) -> None:
        """Hear what clients say, one connection after the other."""
        while True:
            connection = await self.server.accept()
            self.talk = talk = Talk(connection)
            async for frame in connection.frames[1]:
                self._hear(talk, frame)
            if self.talk is talk:
                self.talk = None

    # what happens

    def set(self, key: str) -> None:
        """Commit an item, in a new version."""
        self.version += 1
        item = {"id": key, "n": self.version}
        kind = "update" if key in self.items else "create"
        self.items[key] = item
        self.committed.append(item)
        self._change(kind, key, item)

    def delete(self, key: str) -> None:
        """Commit that an item is gone, if there is one."""
        if (item := self.items.pop(key, None)) is not None:
            self._change("delete", key, item)

    def send(self) -> None:
        """Send an event."""
        self.version += 1
        self.events.append(self.version)
        event = {"type": "n", "data": self.version}
        self._tell({"kind": "event", "data": event, "seq": self.seq, "key": None})

    def forget(self) -> None:
        """Lose the log, but for its last row."""
        del self.log[:-1]

    def restart(self, *, keeps_log: bool) -> None:
        """Begin another life, in which the log may not be known any more."""
        self.seq += 1_000_000
        if not keeps_log:
            self.log = [(self.seq, "", "start")]

    def _change(self, kind: str, key: str, item: Message) -> None:
        self.seq += 3
        self.log.append((self.seq, key, kind))
        self._tell({"kind": kind, "data": item, "seq": self.seq, "key": key})

    def _tell(self, message: Message) -> None:
        if self.talk is None:
            return
        keys = {data.get("id") for data in self.talk.joined}
        if None in keys or (message["key"] is not None and message["key"] in keys):
            self.talk.waiting.append(message)

    # joins

    def _hear(self, talk: Talk, frame: Message) -> None:
        data = frame["data"]
        assert (data["streamName"], data["groupId"]) == ROOM
        if frame["type"] == "leave":
            name = data["subscriptionId"]
            talk.joined = [each for each in talk.joined if each["subscriptionId"] != name]
            return
        talk.joined.append(data)
        key, since = data.get("id"), data.get("since")
        answer: Message = {"key": key, "seq": self.seq, "join": data}
        if since in [seq for seq, *_ in self.log]:
            self.resumed += 1
            talk.waiting.append({**answer, "kind": "resume", "data": {"since": since}})
            talk.waiting += [{**each, "join": data} for each in self._missed(since, key)]
        elif key is None:
            talk.waiting.append({**answer, "kind": "sync", "data": list(self.items.values())})
        else:
            talk.waiting.append({**answer, "kind": "sync", "data": self.items.get(key)})

    def _missed(self, since: int, only: str | None) -> list[Message]:
        """What happened after a change, merged to one change for each item."""
        first: dict[str, str] = {}
        last: dict[str, int] = {}
        for seq, key, kind in self.log:
            if seq > since and kind != "start" and only in {None, key}:
                first.setdefault(key, kind)
                last[key] = seq
        missed: list[Message] = []
        for key, seq in sorted(last.items(), key=lambda each: each[1]):
            was, item = first[key] != "create", self.items.get(key)
            if item is not None:
                kind = "update" if was else "create"
                missed.append({"kind": kind, "data": item, "seq": seq, "key": key})
            elif was:
                missed.append({"kind": "delete", "data": {"id": key}, "seq": seq, "key": key})
        return missed

    # what is sent

    async def flush(self, count: int = 1_000_000) -> None:
        """Send some of what waits."""
        while self.talk is not None and self.talk.waiting and count:
            count -= 1
            message = self.talk.waiting.pop(0)
            join = message.get("join")
            if join is not None and message["kind"] == "sync" and "since" in join:
                name = join["subscriptionId"]
                self.unresumed[name] = self.unresumed.get(name, 0) + 1
            answers = self.tells_whose and message["kind"] in {"sync", "resume"}
            await self.talk.connection.say(
                message["kind"],
                message["seq"],
                message["data"],
                message["key"],
                join=message["join"]["subscriptionId"] if answers else None,
            )
            await trio.testing.wait_all_tasks_blocked()

    def merge(self) -> None:
        """Merge what waits, as for a client that is slow: one change of each item, the newest.

        Only what came after the last answer to a join: a server answers when nothing else waits.
        """
        if self.talk is None:
            return
        waiting = self.talk.waiting
        answers = [number for number, each in enumerate(waiting) if "join" in each]
        start = answers[-1] + 1 if answers else 0
        merged: list[Message] = []
        for message in waiting[start:]:
            if message["kind"] in CHANGES:
                of_it = [each for each in merged if each["key"] == message["key"]]
                before = of_it[-1] if of_it else message
                if before["kind"] in {"create", "update"} and before is not message:
                    merged.remove(before)
                    if before["kind"] == "create":
                        if message["kind"] == "delete":
                            continue
                        message = {**message, "kind": "create"}  # noqa: PLW2901
            merged.append(message)
        self.talk.waiting = waiting[:start] + merged

    async def drop(self, code: int | None = None) -> None:
        """Lose the connection, with all that waits."""
        if self.talk is not None:
            talk, self.talk = self.talk, None
            if code is None:
                await talk.connection.drop()
            else:
                await talk.connection.close(code)
