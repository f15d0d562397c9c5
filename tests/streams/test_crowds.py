"""Large crowds, which are told bit by bit; and all that the hub does, together."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable
from math import inf
from typing import Any
from unittest import mock

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from motia_trio.store import (
    Clear,
    Place,
    Remove,
    Write,
)
from motia_trio.streams import hub as hub_module
from motia_trio.streams.hub import AT_ONCE, BEHIND
from tests.streams.followers import Follow
from tests.streams.stage import Listener, Stream, open_stream


def small_crowds(number: int) -> Any:
    """Have everything be as with large crowds when there are a few members."""
    return mock.patch.object(hub_module, "AT_ONCE", number)


# crowds


async def steps_of(stream: Stream, crowd: list[Listener], *writes: Write) -> list[int]:
    """How many messages a crowd was sent from each turn of another task to the next."""
    counts = [0]
    before = sum(len(each.told) for each in crowd)

    def count() -> None:
        counts.append(sum(len(each.told) for each in crowd) - before)

    async def rival() -> None:
        while True:
            count()
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(rival)
        await stream.write(*writes)
        await stream.hub.settled()
        nursery.cancel_scope.cancel()
    count()
    return [after - before for before, after in itertools.pairwise(counts)]


async def test_a_large_crowd_is_told_bit_by_bit_and_others_have_their_turn() -> None:
    async with open_stream() as stream:
        crowd = [Listener() for _ in range(5 * AT_ONCE)]
        follows = [stream.join(each) for each in crowd]
        steps = await steps_of(stream, crowd, stream.put("a"))
        assert sum(steps) == len(crowd)
        assert max(steps) <= 2 * AT_ONCE  # Trio's order is random: the other may come before it
        assert all(follow.state.value == stream.now_in("room") for follow in follows)


async def test_many_changes_at_once_are_told_bit_by_bit_to_a_small_crowd_too() -> None:
    async with open_stream() as stream:
        crowd = [Listener() for _ in range(AT_ONCE // 2)]
        await stream.write(*(stream.put(str(number)) for number in range(50)))
        follows = [stream.join(each) for each in crowd]
        steps = await steps_of(stream, crowd, Clear("chat", "room"))
        assert sum(steps) == 50 * len(crowd)
        assert max(steps) <= 16 * AT_ONCE  # several changes are one push
        assert all(follow.state.value == {} for follow in follows)


async def amid(crowd: list[Listener], act: Awaitable[object]) -> None:
    """Do something, and wait until the first of a crowd was told of it, and the last was not."""
    first, last = len(crowd[0].told), len(crowd[-1].told)
    await act
    while len(crowd[0].told) == first:
        await trio.lowlevel.checkpoint()
    assert len(crowd[-1].told) == last


async def test_who_joins_while_a_crowd_is_told_has_every_change_once() -> None:
    async with open_stream() as stream:
        crowd = [Listener() for _ in range(3 * AT_ONCE)]
        follows = [stream.join(each) for each in crowd]
        await amid(crowd, stream.set("a"))
        listener = Listener()
        follows += [stream.join(listener), stream.join(crowd[0], "a"), stream.join(crowd[-1], "b")]
        await stream.set("b")
        await stream.hub.settled()
        assert listener.told == [("sync", None), ("create", "b")]
        for follow in follows:
            assert follow.live
            assert follow.state.value == stream.now_in("room", follow.key)


async def test_a_change_behind_the_snapshot_of_a_join_is_told_though_much_waits() -> None:
    async with open_stream() as stream:
        for _ in range(AT_ONCE + 1):
            stream.join(Listener())
        listener = Listener()
        stream.hold()
        await stream.set("a")
        await stream.set("b")
        stream.hub.tell([change for changes in stream.held or () for change in changes])
        stream.held = None
        follow = stream.join(listener, "b")
        await stream.set("b")
        await stream.hub.settled()
        assert listener.told == [("sync", "b"), ("update", "b")]
        assert follow.state.value == stream.now_in("room", "b")


async def test_who_leaves_while_a_crowd_is_told_is_told_nothing_more() -> None:
    async with open_stream() as stream:
        crowd = [Listener() for _ in range(3 * AT_ONCE)]
        follows = [stream.join(each) for each in crowd]
        items = [stream.join(each, "a") for each in crowd]
        await amid(crowd, stream.set("a"))
        told = [len(each.told) for each in crowd]
        assert {*told} == {2, 3}
        for listener, follow in zip(crowd, follows, strict=True):
            stream.leave(listener, follow)
        for listener, item in list(zip(crowd, items, strict=True))[::2]:
            stream.leave(listener, item)
        await stream.hub.settled()
        assert [len(each.told) for each in crowd[::2]] == told[::2]
        assert [len(each.told) for each in crowd[1::2]] == [3] * (len(crowd) // 2)


async def test_events_keep_their_place_among_changes_and_answers_while_a_crowd_is_told() -> None:
    async with open_stream() as stream:
        crowd = [Listener() for _ in range(8 * AT_ONCE)]
        for each in crowd:
            stream.join(each)
        stream.join(crowd[0], "a", "small")
        stream.join(crowd[-1], "a", "small")

        async def send(number: str) -> None:
            stream.send(10 * int(number))

        begins: list[Any] = [send, stream.set, send]
        for number, begin in enumerate(begins):
            await amid(crowd, begin(str(number)))
            # what comes now, in whatever group, has to be behind for each of them
            stream.send(10 * number + 1, "a", "small")
            stream.join(crowd[0], "b", name=f"{number}")
            stream.join(crowd[-1], "b", name=f"{number}")
            await stream.set("a", "where nobody is")
            await stream.hub.settled()
        for each in (crowd[0], crowd[-1]):  # which see that no time goes back
            assert each.told[2:] == [
                *(("event", 0), ("sync", "b"), ("event", 1)),
                *(("create", "1"), ("sync", "b"), ("event", 11)),
                *(("event", 20), ("sync", "b"), ("event", 21)),
            ]


async def test_who_writes_waits_while_a_large_crowd_has_much_to_be_told_of() -> None:
    async with open_stream() as stream:
        for _ in range(AT_ONCE + 1):
            stream.join(Listener())
        for number in range(BEHIND):
            await stream.write(stream.put(str(number)))
            stream.hub.send("chat", "room", None, b'{"data":%d}' % number)
        most = 0
        with trio.move_on_after(5) as limit:
            for number in range(3 * BEHIND):
                await stream.write(stream.put(str(number)))
                await stream.hub.wait_for_turn()
                most = max(most, stream.hub.statistics().waiting)
            await stream.hub.settled()
        assert not limit.cancelled_caught
        assert most <= BEHIND + 2
        assert stream.hub.statistics().waiting == 0


# everything together

GROUPS = ("room", "hall")
KEYS = ("a", "b", None)
STEPS = st.one_of(
    st.tuples(
        st.just("write"),
        st.lists(
            st.tuples(
                st.sampled_from(["set", "set", "set", "delete", "clear"]),
                st.sampled_from(GROUPS),
                st.sampled_from("ab"),
            ),
            min_size=1,
            max_size=3,
        ),
    ),
    st.tuples(
        st.just("join"),
        st.sampled_from(range(3)),
        st.sampled_from(GROUPS),
        st.sampled_from(KEYS),
        st.booleans(),
    ),
    st.tuples(st.just("leave"), st.sampled_from(range(3)), st.integers(0, 5)),
    st.tuples(st.just("lose"), st.sampled_from(range(3)), st.sampled_from([None, 0, 1, 2])),
    st.tuples(st.just("send"), st.sampled_from(GROUPS), st.sampled_from(KEYS)),
    st.just(("hold",)),
    st.tuples(st.just("release"), st.sampled_from([1, 2, -1])),
    st.just(("turn",)),
)


class Play:
    """Has three clients do what a test says, and sees that they know what there is."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.listeners = [Listener() for _ in range(3)]
        self.number = 0

    async def write(self, writes: list[tuple[str, str, str]]) -> None:
        made: list[Write] = []
        for what, group, key in writes:
            place = Place("chat", group, key)
            made.append(
                self.stream.put(key, group)
                if what == "set"
                else Remove(place)
                if what == "delete"
                else Clear("chat", group)
            )
        await self.stream.write(*made)

    async def join(self, who: int, group: str, key: str | None, resumes: bool) -> None:  # noqa: FBT001
        self.number += 1
        follow = Follow(str(self.number), "chat", group, key, resumes)
        self.stream.rejoin(self.listeners[who], follow)

    async def leave(self, who: int, which: int) -> None:
        listener = self.listeners[who]
        follows = list(listener.client.follows.values())
        if follows:
            self.stream.leave(listener, follows[which % len(follows)])

    async def lose(self, who: int, room: int | None) -> None:
        """Lose a connection, and make another; one that is lost soon may be between them."""
        before = self.listeners[who]
        self.stream.lose(before)
        follows = list(before.client.follows.values())
        for last in (inf,) if room is None else (room, inf):
            listener = self.listeners[who] = Listener(room=last)
            for follow in follows:
                follow.connect()
                self.stream.rejoin(listener, follow)
            if last != inf:
                self.stream.lose(listener)

    async def send(self, group: str, key: str | None) -> None:
        self.number += 1
        self.stream.send(self.number, key, group)

    async def hold(self) -> None:
        if self.stream.held is None:
            self.stream.hold()

    async def release(self, number: int) -> None:
        self.stream.release(number)

    async def turn(self) -> None:
        await trio.lowlevel.checkpoint()

    async def check(self) -> None:
        self.stream.release()
        await self.stream.hub.settled()
        for listener in self.listeners:
            for follow in listener.client.follows.values():
                assert follow.live
                assert follow.state.value == self.stream.now_in(follow.group, follow.key)
            assert listener.client.waits_for() == []
        present = {
            group: sum(
                any(follow.group == group for follow in listener.client.follows.values())
                for listener in self.listeners
            )
            for group in GROUPS
        }
        assert {g: self.stream.hub.presence("chat", g) for g in GROUPS} == present


@settings(max_examples=200)
@given(st.lists(STEPS, max_size=40), st.sampled_from([0, 1, 2, AT_ONCE]))
def test_whoever_joins_leaves_and_comes_back_knows_what_there_is(
    steps: list[tuple[Any, ...]], at_once: int
) -> None:
    async def main() -> None:
        async with open_stream() as stream:
            play = Play(stream)
            for what, *rest in steps:
                await getattr(play, what)(*rest)
            await play.check()

    with small_crowds(at_once):
        trio.run(main)
