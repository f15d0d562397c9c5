"""One connection: what it asks for, what waits for it, and how it ends."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any, cast
from unittest import mock

import attrs
import pytest
import trio
import trio.testing

from motia_trio.data import Data
from motia_trio.steps import StreamDeclaration
from motia_trio.streams.gates import Gates
from motia_trio.streams.quotas import Quota
from motia_trio.streams.sessions import MAX_BAD, Bounds, Closing, Session
from motia_trio.streams.wire import Batch, Message
from tests.streams.followers import Client, Follow
from tests.streams.stage import Pipe, Stream, open_stream

BOUNDS = Bounds(buffer=8, buffer_bytes=100_000, subscriptions=5, drain=3.0)


@attrs.define
class Door:
    """Says who may join, and notes who did and who left."""

    refused: set[str] = attrs.field(factory=set)
    joined: list[str] = attrs.field(factory=list)
    left: list[str] = attrs.field(factory=list)
    told: list[str] = attrs.field(factory=list)
    #: joins wait for it
    opened: trio.Event = attrs.field(factory=trio.Event)

    async def join(self, stream: StreamDeclaration, subscription: Data, auth: Any) -> bool:
        assert (stream.name, auth) == (subscription.stream_name, "me")
        await self.opened.wait()
        allowed = subscription.group_id not in self.refused
        if allowed:
            self.joined.append(subscription.subscription_id)
        return allowed

    def tell_refused(self, address: str, reason: str, subscription: str) -> None:
        self.told.append(reason)

    async def leave(self, stream: StreamDeclaration, subscription: Data, auth: Any) -> None:
        assert (stream.name, auth) == (subscription.stream_name, "me")
        self.left.append(subscription.subscription_id)
        await trio.lowlevel.checkpoint()


class Connection:
    """A session, and the client at its other end."""

    def __init__(self, stream: Stream, nursery: trio.Nursery, door: Door, **options: Any) -> None:
        self.stream = stream
        self.client = Client()
        self.pipe = Pipe(self.client, options.pop("room", inf), cuts=options.pop("cuts", False))
        self.quota: Quota = options.pop("quota", Quota(1000))
        self.door = door
        bounds = attrs.evolve(BOUNDS, **options)
        hook = cast("Any", door.leave)
        declared = {
            "chat": StreamDeclaration("chat", "here", on_leave=hook),
            "other": StreamDeclaration("other", "here"),
        }
        self.session = Session(
            stream.hub,
            cast("Gates", door),
            declared,
            self.pipe,
            nursery,
            bounds=bounds,
            quota=self.quota,
            address="1.2.3.4",
            auth="me",
        )
        self._frames, self._received = trio.open_memory_channel[str | bytes | None](inf)
        #: what it ended with; "open" as long as it has not
        self.closing: Closing | str | None = "open"

    async def run(self) -> None:
        """Serve it, as an edge does."""
        try:
            self.closing = await self.session.run(self._received.receive)
        finally:
            await self.session.leave()

    async def say(self, *frames: str | bytes | None) -> None:
        """Send frames, and wait until all that can be done was done."""
        for frame in frames:
            self._frames.send_nowait(frame)
        await settle()

    async def join(
        self, key: str | None = None, group: str = "room", name: str | None = None
    ) -> Follow:
        follow = Follow(name or f"{group}/{key}", "chat", group, key)
        self.client.join(follow)
        await self.say(json.dumps(follow.frame("join")))
        return follow

    async def leave(self, follow: Follow) -> None:
        await self.say(json.dumps(follow.frame("leave")))
        self.client.leave(follow, self.stream.last)

    @property
    def told(self) -> list[tuple[str, Any]]:
        return [
            (each["event"]["type"], each.get("id"))
            for each in self.client.heard
            if each["type"] == "stream"
        ]


def message(stream: Stream, number: int) -> Message:
    """An event for the group, of a number, as the hub makes it now."""
    event = json.dumps({"type": "note", "data": number}).encode()
    hub = stream.hub
    return hub._message("event", event, hub.told, "chat", "room", None)  # noqa: SLF001


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


@asynccontextmanager
async def connect(stream: Stream, **options: Any) -> AsyncIterator[Connection]:
    """A connection for the length of a scope; at its end the client vanishes."""
    door = options.pop("door", None) or Door()
    if options.pop("opened", True):
        door.opened.set()
    async with trio.open_nursery() as nursery:
        connection = Connection(stream, nursery, door, **options)
        nursery.start_soon(connection.run)
        yield connection
        await connection.say(None)
        nursery.cancel_scope.cancel()
    assert connection.quota.out == 0
    assert stream.hub.presence("chat", "room") == 0
    assert sorted(door.left) == sorted(door.joined)


def frame(kind: str, **data: Any) -> str:
    return json.dumps({"type": kind, "data": data})


def room(name: str) -> dict[str, str]:
    return {"streamName": "chat", "groupId": "room", "subscriptionId": name}


# frames


async def test_who_sends_what_is_no_frame_is_told_why_and_goes_on() -> None:
    async with open_stream() as stream, connect(stream) as it:
        await it.say("hello", frame("subscribe"), frame("join", streamName="chat"))
        assert [words[:8] for words in it.client.errors] == ["not JSON", "unknown ", "join: gr"]
        await it.join()
        assert it.told == [("sync", None)]
        assert it.closing == "open"


async def test_who_goes_on_sending_it_is_sent_away() -> None:
    async with open_stream() as stream, connect(stream) as it:
        await it.join()
        await it.say(*["hello"] * MAX_BAD)
        assert (len(it.client.errors), it.closing) == (MAX_BAD, "open")
        await it.say("hello")
        assert it.closing == Closing(1008, "too many bad frames")


async def test_a_binary_frame_ends_the_connection() -> None:
    async with open_stream() as stream, connect(stream) as it:
        await it.say(b"\x00")
        assert it.closing == Closing(1003, "expected text: JSON")


async def test_a_join_of_an_unknown_stream_is_an_error_that_says_whose() -> None:
    async with open_stream() as stream, connect(stream) as it:
        await it.say(frame("join", **room("s1") | {"streamName": "cat"}))
        assert it.client.heard == [
            {"type": "error", "message": "join: no stream 'cat'", "subscriptionId": "s1"}
        ]
        assert (it.door.joined, it.quota.out) == ([], 0)


async def test_to_leave_what_was_not_joined_is_nothing() -> None:
    async with open_stream() as stream, connect(stream) as it:
        await it.say(frame("leave", **room("s1")))
        follow = await it.join(name="s1")
        await it.leave(follow)
        await it.say(frame("leave", **room("s1")))
        assert (it.client.errors, it.door.left, it.quota.out) == ([], ["s1"], 0)


# joins


async def test_a_join_that_is_refused_leaves_nothing_behind() -> None:
    async with open_stream() as stream, connect(stream, door=Door({"room"})) as it:
        await it.join("a")
        assert it.told == [("unauthorized", "a")]
        assert (it.quota.out, stream.hub.presence("chat", "room")) == (0, 0)
        await stream.set("a")
        assert len(it.told) == 1


async def test_a_join_that_is_made_again_is_answered_again_without_asking() -> None:
    async with open_stream() as stream, connect(stream) as it:
        await it.join(name="s1")
        await it.join(name="s1")
        await stream.set("a")
        assert it.told == [("sync", None), ("sync", None), ("create", "a")]
        assert (it.door.joined, it.quota.out) == (["s1"], 1)
        assert it.client.waits_for() == []


async def test_a_join_that_is_made_again_before_it_was_answered_is_answered_once() -> None:
    async with open_stream() as stream, connect(stream, room=1) as it:
        await it.join()
        await stream.set("a")
        for _ in range(3):
            await it.join("a")
        it.pipe.give_room(inf)
        await settle()
        assert it.told == [("sync", None), ("create", "a"), ("sync", "a")]


async def test_the_id_of_a_subscription_is_not_good_for_another_place() -> None:
    async with open_stream() as stream, connect(stream) as it:
        await it.join(name="s1")
        await it.say(frame("join", **room("s1") | {"id": "a"}))
        assert it.client.errors == ["join: subscriptionId 's1' is that of another subscription"]
        assert it.told == [("sync", None)]


async def test_there_are_so_many_subscriptions_for_a_connection_an_address_and_in_all() -> None:
    async with open_stream() as stream:
        for options, said in (
            ({"subscriptions": 2}, "2 for one connection"),
            ({"quota": Quota(2)}, "2 in all"),
            ({"quota": Quota(9, each=2)}, "2 for one address"),
        ):
            async with connect(stream, **options) as it:
                first = await it.join()
                await it.join("a")
                await it.say(frame("join", **room("s3")))
                (error,) = [each for each in it.client.heard if each["type"] == "error"]
                assert error["message"] == f"join: too many subscriptions: {said}"
                assert error["subscriptionId"] == "s3"
                await it.leave(first)
                await it.join("b")
                assert it.told[-1] == ("sync", "b")
                assert stream.hub.statistics().subscriptions == 2


async def test_a_client_that_is_gone_while_it_is_asked_whether_it_may_join_has_not_joined() -> None:
    async with open_stream() as stream:
        for say in (None, b"binary"):
            async with connect(stream, opened=False) as it:
                await it.say(frame("join", **room("s1")), say)
                assert it.quota.out == 1
                it.session.close(1008, "enough")
                await settle()
                assert (it.door.joined, it.quota.out) == ([], 0)


async def test_who_leaves_is_told_nothing_more_and_its_hook_runs_once() -> None:
    async with open_stream() as stream:
        door = Door()
        async with connect(stream, door=door) as it:
            group, item = await it.join(), await it.join("a")
            await it.leave(group)
            for key in ("a", "b"):
                await stream.set(key)
            assert it.told[2:] == [("create", "a")]
            assert door.left == [group.id]
            await it.leave(item)
            again = await it.join()
        assert door.left == [group.id, item.id, again.id]


# who is slow


async def test_what_cannot_be_sent_now_is_sent_later_and_in_order() -> None:
    async with open_stream() as stream:
        for cuts in (False, True):
            async with connect(stream, room=1, cuts=cuts) as it:
                follow = await it.join()
                for key in ("a", "b", "a"):
                    await stream.set(key)
                stream.send(1)
                await settle()
                assert len(it.told) == 1 - cuts
                it.pipe.give_room(2)
                await settle()
                assert len(it.told) == 3
                it.pipe.give_room(inf)
                await settle()
                assert len(it.told) == 5
                assert follow.state.value == stream.now_in("room")
                await stream.set("a")
                assert len(it.told) == 6
                for key in ("a", "b"):
                    await stream.delete(key)


async def test_what_was_cut_is_sent_to_its_end_though_nothing_comes_behind_it() -> None:
    async with open_stream() as stream:
        for room in (1, 2, 4):
            async with connect(stream, room=room, cuts=True) as it:
                await it.join()
                if room > 1:
                    stream.send(0)
                if room > 2:
                    it.session.push_batch(Batch([message(stream, 1), message(stream, 2)]))
                await settle()
                assert len(it.told) == room - 1
                it.pipe.give_room(inf)
                await settle()
                assert len(it.told) == room


async def test_nothing_overtakes_what_waits_when_there_is_room_again() -> None:
    async with open_stream() as stream:
        for push in (
            lambda it: stream.send(2),
            lambda it: it.session.push_batch(Batch([message(stream, 2), message(stream, 3)])),
            lambda it: stream.release(),
        ):
            async with connect(stream, room=1) as it:
                await it.join()
                stream.hold()
                await stream.set("a")
                await it.join("a")
                stream.send(1)
                await settle()
                it.pipe.give_room(inf)
                push(it)
                await settle()
                assert it.told[1] == ("event", None)
                stream.release()
                assert it.told[-1] == ("sync", "a")
                await stream.delete("a")


async def test_who_is_far_behind_is_sent_the_newest_of_each_item() -> None:
    async with open_stream() as stream, connect(stream, room=1) as it:
        follow = await it.join()
        for number in range(100):
            await stream.set("ab"[number % 2])
        it.pipe.give_room(inf)
        await settle()
        assert len(it.told) < 1 + BOUNDS.buffer
        assert follow.state.value == stream.now_in("room")
        assert it.closing == "open"


async def test_who_is_further_behind_than_that_is_sent_away_and_what_waits_is_dropped() -> None:
    async with open_stream() as stream, connect(stream, room=1) as it:
        await it.join()
        for number in range(BOUNDS.buffer + 2):
            assert it.closing == "open"
            stream.send(number)
            await settle()
        assert it.closing == Closing(4008, "lagged")
        assert it.session.unsent == BOUNDS.buffer + 1  # and the one that did not fit
        assert stream.hub.presence("chat", "room") == 0
        assert stream.hub.statistics().lagged == 1
        it.pipe.give_room(inf)
        await settle()
        assert it.client.events in ([], [0])  # the one that was on its way already


async def test_one_that_is_slow_holds_nobody_up() -> None:
    async with (
        open_stream() as stream,
        connect(stream, room=0) as slow,
        connect(stream) as quick,
    ):
        await slow.join()
        follow = await quick.join()
        for number in range(5):
            await stream.set(str(number))
        assert follow.state.value == stream.now_in("room")
        assert slow.told == []
        slow.pipe.break_off()
        await settle()
        assert slow.closing is None


async def test_a_join_is_answered_when_nothing_else_waits() -> None:
    async with open_stream() as stream, connect(stream, room=1) as it:
        first = await it.join()
        await stream.set("a")
        second = await it.join("a")
        await it.join("b")
        assert stream.hub.presence("chat", "room") == 1
        await stream.set("a")
        it.pipe.give_room(inf)
        await settle()
        assert it.told == [
            ("sync", None), ("create", "a"), ("update", "a"), ("sync", "a"), ("sync", "b"),
        ]  # fmt: skip
        assert first.state.value == {"a": second.state.value} == stream.now_in("room")


async def test_who_joins_and_leaves_without_reading_leaves_nothing_behind() -> None:
    async with open_stream() as stream, connect(stream, room=0) as it:
        await it.join(name="first")
        for number in range(50):
            await it.leave(await it.join(name=f"{number}"))
        assert it.session._pending == []  # noqa: SLF001 - it would only grow
        stream.reads = 0
        last = await it.join()
        it.pipe.give_room(inf)
        await settle()
        assert it.told == [("sync", None)] * 2
        assert last.state.value == {}
        assert stream.reads <= 1


async def test_a_snapshot_that_waits_for_the_hub_keeps_others_waiting_until_it_is_left() -> None:
    async with open_stream() as stream, connect(stream) as it:
        stream.hold()
        await stream.set("a")
        first = await it.join("a")
        second = await it.join("b")
        third = await it.join("c")
        assert (it.told, stream.reads) == ([], 1)
        await it.leave(first)
        await it.leave(second)
        stream.release()
        await settle()
        assert it.told == [("sync", "c")]
        await stream.set("c")
        assert third.state.value == stream.now_in("room", "c") is not None


# ends


async def test_a_stop_sends_what_waits_and_then_closes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_stream() as stream, connect(stream, room=1) as it:
        follow = await it.join()
        await stream.set("a")
        it.session.stop()
        await settle()
        before: object = it.closing
        assert before == "open"
        it.pipe.give_room(inf)
        await settle()
        assert it.closing == Closing(1001, "the service is stopping")
        assert follow.state.value == stream.now_in("room")


async def test_a_stop_waits_so_long_for_who_does_not_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_stream() as stream, connect(stream, room=1) as it:
        await it.join()
        await stream.set("a")
        began = trio.current_time()
        it.session.stop()
        while it.closing == "open":
            await trio.sleep(0.1)
        assert it.closing == Closing(1001, "the service is stopping")
        assert trio.current_time() - began == pytest.approx(BOUNDS.drain, abs=0.2)


async def test_a_stop_ends_with_who_lags_or_is_gone_meanwhile() -> None:
    async with open_stream() as stream:
        for breaks in (True, False):
            async with connect(stream, room=1) as it:
                await it.join()
                stream.send(0)
                it.session.stop()
                await settle()
                if breaks:
                    it.pipe.break_off()
                    await settle()
                for number in range(1, BOUNDS.buffer + 3):
                    stream.send(number)
                began = trio.current_time()
                await settle()
                assert trio.current_time() - began < BOUNDS.drain / 2
                assert it.closing == (None if breaks else Closing(4008, "lagged"))


async def test_a_client_that_is_gone_is_noticed_when_it_is_sent_something() -> None:
    async with open_stream() as stream, connect(stream, room=1) as it:
        await it.join()
        await stream.set("a")
        await settle()
        it.pipe.break_off()
        await settle()
        assert it.closing is None
        assert stream.hub.presence("chat", "room") == 0


async def test_a_store_that_cannot_be_read_ends_the_connection_with_a_word() -> None:
    async with open_stream() as stream, connect(stream) as it:
        with mock.patch.object(stream.store, "snapshot", side_effect=OSError("no disk")):
            await it.say(frame("join", **room("s1")))
        assert "the store cannot be read" in it.client.errors[0]
        assert it.closing == Closing(1011, "the store cannot be read")


async def test_what_is_changed_after_the_end_is_not_sent() -> None:
    async with open_stream() as stream:
        async with connect(stream) as it:
            await it.join()
            await it.say(None)
            await stream.set("a")
            assert it.told == [("sync", None)]
        assert it.closing is None
        assert stream.hub.statistics().connections == 0
        assert stream.hub.statistics().subscriptions == 0
