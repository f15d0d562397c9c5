"""What a follower makes of what it hears on one connection."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from motia_trio.client import StreamEvent
from tests.client.fake import A1, A2, B1, connected, settled

# groups


async def test_a_group_is_a_list_of_items_now_and_as_it_changes() -> None:
    async with connected() as (_, client, server):
        follower = client.group("chat", "room-1")
        server.will_say("sync", 5, [B1])
        assert await follower.receive() == [B1]
        assert (await server.joined())["groupId"] == "room-1"
        for kind, seq, data, name, state in [
            ("create", 6, A1, "a", [B1, A1]),
            ("update", 7, A2, "a", [B1, A2]),
            ("delete", 8, B1, "b", [A2]),
            ("create", 9, B1, "b", [A2, B1]),
        ]:
            await server.say(kind, seq, data, name)
            assert await follower.receive() == state


async def test_a_group_of_nothing_is_an_empty_list() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 5, [])
        assert await client.group("chat", "room-1").receive() == []


async def test_who_is_slow_sees_the_newest_state_only() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async with client.group("chat", "room-1") as follower:
            for n in range(100):
                await server.say("update" if n else "create", 2 + n, {"id": "a", "n": n}, "a")
            await settled()
            assert await follower.receive() == [{"id": "a", "n": 99}]
            with trio.move_on_after(0.01) as nothing:
                await follower.receive()
            assert nothing.cancelled_caught


async def test_a_change_that_changes_nothing_is_no_state() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [A1])
        async with client.group("chat", "room-1") as follower:
            await follower.receive()
            await server.say("update", 2, A1, "a")
            await server.say("delete", 3, B1, "b")
            await server.say("create", 4, B1, "b")
            assert await follower.receive() == [A1, B1]


async def test_a_repeat_and_what_is_older_than_what_was_applied_are_dropped() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 5, [A1])
        async with client.group("chat", "room-1") as follower:
            await follower.receive()
            await server.say("update", 7, A2, "a")
            await server.say("update", 7, A1, "a")
            await server.say("delete", 6, A1, "a")
            await server.say("sync", 6, [])
            await server.say("create", 8, B1, "b")
            await settled()
            assert await follower.receive() == [A2, B1]


async def test_other_groups_and_other_streams_are_not_heard() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async with client.group("chat", "room-1") as follower:
            await follower.receive()
            await server.say("create", 2, A1, "a", place="chat/room-2")
            await server.say("create", 3, A1, "a", place="other/room-1")
            await server.say("create", 4, B1, "b")
            assert await follower.receive() == [B1]


async def test_a_state_is_the_followers_own_to_change() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [A1])
        async with client.group("chat", "room-1") as one:
            server.will_say("sync", 1, [A1])
            async with client.group("chat", "room-1") as two:
                mine = await one.receive()
                mine[0]["n"] = "mine"
                mine.clear()
                assert await two.receive() == [A1]
                await server.say("create", 2, B1, "b")
                assert await one.receive() == [A1, B1]


async def test_changes_of_others_before_the_answer_are_not_applied() -> None:
    """An item of the group may be followed already, so that its changes come."""
    async with connected() as (_, client, server):
        server.will_say("sync", 1, A1, "a")
        async with client.item("chat", "room-1", "a"), trio.open_nursery() as nursery:
            states: list[Any] = []

            async def follow() -> None:
                async for state in client.group("chat", "room-1"):
                    states.append(state)  # noqa: PERF401  # as it comes

            nursery.start_soon(follow)
            await settled()
            await server.say("update", 2, A2, "a")
            await settled()
            assert states == []
            await server.say("sync", 2, [A2, B1])
            await settled()
            assert states == [[A2, B1]]
            nursery.cancel_scope.cancel()


async def test_items_are_known_by_the_id_they_carry_be_it_a_number() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [{"id": 7, "n": 1}])
        async with client.group("chat", "room-1") as follower:
            await follower.receive()
            await server.say("update", 2, {"id": 7, "n": 2}, "7")
            assert await follower.receive() == [{"id": 7, "n": 2}]
            await server.say("delete", 3, {"id": "7"}, "7")
            assert await follower.receive() == []


async def test_a_server_that_tells_no_seq_is_understood() -> None:
    """As Motia's own: then nothing can be a repeat."""
    async with connected() as (_, client, server):
        server.will_say("sync", None, [A1])
        async with client.group("chat", "room-1") as follower:
            await follower.receive()
            await server.say("update", None, A2, "a")
            assert await follower.receive() == [A2]


# items


async def test_an_item_is_what_it_is_or_none() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 5, None, "a")
        async with client.item("chat", "room-1", "a") as follower:
            assert (await server.joined())["id"] == "a"
            assert await follower.receive() is None
            for kind, seq, data, state in [
                ("create", 6, A1, A1),
                ("update", 7, A2, A2),
                ("delete", 8, A2, None),
            ]:
                await server.say(kind, seq, data, "a")
                assert await follower.receive() == state


async def test_an_item_hears_of_no_other_and_not_of_its_group() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 5, A1, "a")
        async with client.item("chat", "room-1", "a") as follower:
            assert await follower.receive() == A1
            await server.say("sync", 6, [B1])
            await server.say("update", 7, B1, "b")
            await server.say("update", 8, A1, "a", place="chat/room-2")
            await server.say("update", 9, A2, "a")
            assert await follower.receive() == A2


async def test_one_message_is_for_the_item_and_for_its_group() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 5, A1, "a")
        async with client.item("chat", "room-1", "a") as item:
            server.will_say("sync", 5, [A1])
            async with client.group("chat", "room-1") as group:
                assert (await item.receive(), await group.receive()) == (A1, [A1])
                await server.say("update", 6, A2, "a")
                assert (await item.receive(), await group.receive()) == (A2, [A2])


# events


async def test_events_come_in_order_each_with_whom_it_was_sent_to() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 5, [A1])
        async with client.events("chat", "room-1") as events:
            await server.say("event", 5, {"type": "typing", "data": {"who": "Ann"}})
            await server.say("event", 5, {"type": "seen"}, "a")
            await server.say("update", 6, A2, "a")
            await server.say("event", 6, {"type": "typing", "data": [1]})
            assert [await events.receive() for _ in range(3)] == [
                StreamEvent("typing", {"who": "Ann"}, None),
                StreamEvent("seen", None, "a"),
                StreamEvent("typing", [1], None),
            ]


async def test_events_may_be_those_of_an_item_and_of_a_type() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 5, A1, "a")
        async with client.events("chat", "room-1", id="a", type="seen") as events:
            await server.say("event", 5, {"type": "seen", "data": 1})
            await server.say("event", 5, {"type": "seen", "data": 2}, "b")
            await server.say("event", 5, {"type": "typing", "data": 3}, "a")
            await server.say("event", 5, {"type": "seen", "data": 4}, "a")
            assert await events.receive() == StreamEvent("seen", 4, "a")


async def test_events_are_no_states() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 5, [A1])
        async with client.group("chat", "room-1") as group:
            await group.receive()
            await server.say("event", 5, {"type": "typing", "data": 1})
            await server.say("update", 6, A2, "a")
            assert await group.receive() == [A2]


async def test_events_that_are_not_taken_wait_up_to_a_bound_and_what_is_lost_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    gaps: list[Any] = []
    async with connected() as (_, client, server):
        server.will_say("sync", 5, [])
        async with client.events("chat", "room-1", buffer=3, on_gap=gaps.append) as events:
            for n in range(10):
                await server.say("event", 5, {"type": "n", "data": n})
            await settled()
            assert [(await events.receive()).data for _ in range(3)] == [7, 8, 9]
    assert (events.gaps, events.lost) == (1, 7)
    assert [(gap.cause, gap.lost) for gap in gaps] == [("overflow", 7)]
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert told == ["chat/room-1: events come faster than they are taken; the oldest are dropped"]


# leaving


async def test_leaving_is_told_to_the_server_once() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async with client.group("chat", "room-1") as group:
            joined = await server.joined()
            await group.aclose()
        left = await server.frame()
        assert left == {"type": "leave", "data": joined}
        with pytest.raises(trio.WouldBlock):
            server.frames[1].receive_nowait()


async def test_a_follower_that_is_forgotten_leaves_when_there_is_news() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async for _ in client.group("chat", "room-1"):
            break
        joined = await server.joined()
        await server.say("create", 2, A1, "a")
        assert (await server.frame()) == {"type": "leave", "data": joined}


async def test_one_of_two_followers_of_a_place_may_leave() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async with client.group("chat", "room-1") as one:
            server.will_say("sync", 1, [])
            async with client.group("chat", "room-1"):
                ids = {(await server.joined())["subscriptionId"] for _ in range(2)}
                assert len(ids) == 2
            left = (await server.frame())["data"]["subscriptionId"]
            assert left in ids
            await server.say("create", 2, A1, "a")
            await settled()
            assert await one.receive() == [A1]


async def test_a_closed_follower_says_so() -> None:
    from motia_trio import Closed

    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async with client.group("chat", "room-1") as group:
            await group.receive()
            async with trio.open_nursery() as nursery:

                async def wait() -> None:
                    with pytest.raises(Closed, match="the follower of chat/room-1 has been closed"):
                        await group.receive()

                nursery.start_soon(wait)
                await settled()
                await group.aclose()
        unused = client.group("chat", "room-1")
        await unused.aclose()
        with pytest.raises(Closed):
            await unused.receive()


async def test_two_tasks_cannot_iterate_over_one_follower() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async with client.group("chat", "room-1") as group, trio.open_nursery() as nursery:
            await group.receive()
            nursery.start_soon(group.receive)
            await settled()
            with pytest.raises(trio.BusyResourceError):
                await group.receive()
            nursery.cancel_scope.cancel()


async def test_entering_a_follower_that_is_cancelled_leaves() -> None:
    async with connected() as (_, client, server):
        with trio.move_on_after(0.01):
            async with client.group("chat", "room-1"):
                pytest.fail("nobody has answered")
        joined = await server.joined()
        assert await server.frame() == {"type": "leave", "data": joined}


@pytest.mark.parametrize("name", ["", 7, None, "x" * 513, "\ud800"])
async def test_names_that_are_none_are_refused_at_once(name: Any) -> None:
    async with connected() as (_, client, _server):
        with pytest.raises(ValueError, match=r"stream .*(string|limit|UTF-8)"):
            client.group(name, "room-1")
        with pytest.raises(ValueError, match="group "):
            client.item("chat", name, "a")
        with pytest.raises(ValueError, match="id "):
            client.item("chat", "room-1", name)
        with pytest.raises(ValueError, match="buffer is a number of events"):
            client.events("chat", "room-1", buffer=0)
