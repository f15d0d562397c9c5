"""A client that follows streams through every kill, and what it holds against what there is."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import attrs
import trio

from tests.stream_server.wire import TEXT, Peer, join, request

__all__ = ["EVERY", "Follower", "Writer", "Wrong"]

# of an item's changes every fifth is a delete, so that the last one's number is known by its item
EVERY = 5


class Wrong(AssertionError):
    """A promise was broken."""


def _hold(fact: object, words: str) -> None:
    if not fact:
        raise Wrong(words)


@attrs.define
class Writer:
    """What was asked for of one item, change by change, and what was answered."""

    stream: str
    key: str
    sent: int = 0
    acknowledged: int = 0

    def next(self) -> dict[str, Any]:
        """Give the next change; the last one once more if it was not answered."""
        self.sent = self.acknowledged + 1
        delete = self.sent % EVERY == 0
        return {"stream": self.stream, "key": self.key, "number": self.sent, "delete": delete}

    def kept(self, number: int | None) -> int:
        """Tell which change was the last that was kept, by the number in the store."""
        if number is not None:
            _hold(
                self.acknowledged <= number <= self.sent,
                f"{self.stream} {self.key} is {number}: "
                f"acknowledged was {self.acknowledged}, sent {self.sent}",
            )
            return number
        for each in (self.sent, self.acknowledged):
            if each % EVERY == 0:
                return each
        raise Wrong(f"{self.stream} {self.key} is lost: acknowledged was {self.acknowledged}")


@attrs.define(eq=False)
class Follower:
    """Follows the streams as a browser does, and holds each message against what it has.

    With ``resumes`` it asks for what it missed; else it begins anew each time.
    """

    name: str
    resumes: bool
    streams: tuple[str, ...] = ("plain", "together")
    #: the items it shows, by stream and key, and the last change of each that it ever heard of
    items: dict[str, dict[str, int]] = attrs.field(factory=dict)
    shown: dict[tuple[str, str], int] = attrs.field(factory=dict)
    #: the ``seq`` of the last message of each stream
    seqs: dict[str, int] = attrs.field(factory=dict)
    counts: Counter[str] = attrs.field(factory=Counter)
    #: what may come of an item that it never had, as it was cut off amid changes that were merged
    _unsure: set[str] = attrs.field(factory=set)
    _told: set[tuple[str, str]] = attrs.field(factory=set)
    _stamp: float = 0

    async def run(self, address: tuple[str, int]) -> None:
        """Follow until the connection breaks, then come again, until cancelled."""
        while True:
            try:
                stream = await trio.open_tcp_stream(*address)
            except OSError:
                await trio.sleep(0.02)
                continue
            async with stream:
                try:
                    await self._follow(Peer(stream))
                except trio.BrokenResourceError:
                    pass
                self.counts["broken"] += 1

    async def _follow(self, peer: Peer) -> None:
        try:
            await peer.shake(request())
        except AssertionError:  # killed before it was answered
            return
        _hold(peer.status == 101, f"{self.name}: {peer.head!r}")
        fresh: set[str] = set()
        self._unsure, self._told = set(), set()
        for number, stream in enumerate(self.streams):
            more: dict[str, Any] = (
                {"since": self.seqs[stream]} if self.resumes and stream in self.seqs else {}
            )
            await peer.send(join("room", name=stream, number=number, **more))
        while (found := await peer.frame(60)) is not None:
            if found[0] == TEXT:
                self._take(json.loads(found[1]), fresh)

    def _take(self, message: dict[str, Any], fresh: set[str]) -> None:
        _hold(message["type"] == "stream", f"{self.name}: {message}")
        stream, kind = message["streamName"], message["event"]["type"]
        data = message["event"]["data"]
        self.counts[kind] += 1
        _hold(
            message["timestamp"] > self._stamp,
            f"{self.name}: {message['timestamp']} after {self._stamp}: {message}",
        )
        self._stamp = message["timestamp"]
        _hold(
            (kind in {"sync", "resume"}) == (stream not in fresh),
            f"{self.name}: {kind} after {'an' if stream in fresh else 'no'} answer to its join",
        )
        fresh.add(stream)
        if kind == "resume":
            _hold(data == {"since": self.seqs[stream]}, f"{self.name}: resumed from {data}")
            self._unsure.add(stream)
        elif kind == "sync":
            self.items[stream] = {}
            for item in data:
                self._show(stream, item["id"], item["number"])
        else:
            self._change(stream, kind, message)
        self.seqs[stream] = message["seq"]

    def _change(self, stream: str, kind: str, message: dict[str, Any]) -> None:
        data, key = message["event"]["data"], message["id"]
        there = self.items[stream].get(key)
        _hold(
            message["seq"] > self.seqs[stream],
            f"{self.name}: {message['seq']} came after {self.seqs[stream]}: {message}",
        )
        _hold(
            (there is None) == (kind == "create")
            or (kind != "create" and stream in self._unsure and (stream, key) not in self._told),
            f"{self.name}: {kind} of {stream} {key}, which was {there}: {message}",
        )
        self._told.add((stream, key))
        if kind == "delete":
            # what was missed meanwhile is not told: only that it ended so
            if self.items[stream].pop(key, None) is not None:
                self.shown[stream, key] = _delete_after(self.shown[stream, key])
        else:
            self._show(stream, key, data["number"])

    def _show(self, stream: str, key: str, number: int) -> None:
        before = self.shown.get((stream, key), 0)
        _hold(number >= before, f"{self.name}: {stream} {key} went from {before} to {number}")
        self.items[stream][key] = self.shown[stream, key] = number

    def check(self, kept: dict[tuple[str, str], int]) -> None:
        """Hold what it has shown against what was kept, between a kill and the next start."""
        for place, number in self.shown.items():
            _hold(
                number <= kept[place],
                f"{self.name} showed change {number} of {place}, and {kept[place]} is the last",
            )

    def has(self, items: dict[str, dict[str, int]]) -> bool:
        """Whether it shows just what there is."""
        return self.items == items


def _delete_after(number: int) -> int:
    """The number of the delete that follows a change."""
    return number + EVERY - number % EVERY
