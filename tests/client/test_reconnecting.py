"""What followers are told when a connection was lost and there is another: on a virtual clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from motia_trio.client import Gap, StreamEvent
from tests.client.fake import A1, A2, B1, Connection, connected, warnings


async def dropped(server: Connection) -> None:
    await server.drop()


async def stopped(server: Connection) -> None:
    await server.close(1001, "the service is stopping")


async def lagged(server: Connection) -> None:
    await server.close(4008, "lagged")


async def cut_in_a_frame(server: Connection) -> None:
    await server.stream.send_all(b"\x81\x7e\x10\x00{")
    await server.drop()


async def talking_nonsense(server: Connection) -> None:
    await server.stream.send_all(b"\xff" * 100)


@pytest.mark.parametrize("end", [dropped, stopped, lagged, cut_in_a_frame, talking_nonsense])
async def test_a_connection_that_ends_is_made_again_from_where_it_was(
    end: Callable[[Connection], Awaitable[None]],
    autojump_clock: trio.testing.MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected() as (fake, client, server):
        server.will_say("sync", 5, [A1])
        async with client.group("chat", "room-1") as group:
            joined = await server.joined()
            await server.say("create", 7, B1, "b")
            await trio.testing.wait_all_tasks_blocked()
            assert await group.receive() == [A1, B1]
            assert "since" not in joined
            began = trio.current_time()
            await end(server)
            again = await fake.accept()
            assert 0.1 <= trio.current_time() - began <= 0.2
            assert await again.joined() == {**joined, "since": 7}
            await again.say("resume", 12, {"since": 7})
            await again.say("update", 9, A2, "a")
            await again.say("delete", 11, {"id": "b"}, "b")
            await trio.testing.wait_all_tasks_blocked()
            assert await group.receive() == [A2]
            assert (group.gaps, client.connections) == (0, 2)
    (told,) = warnings(caplog)
    assert told.startswith("ws://streams.test:3112/: ")
    assert "trying again in 0." in told


async def test_a_reconnect_that_cannot_be_resumed_is_a_gap(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    order: list[Any] = []
    async with connected() as (fake, client, server):
        server.will_say("sync", 5, [A1])
        async with client.group("chat", "room-1", on_gap=order.append) as group:
            order.append(await group.receive())
            await server.drop()
            again = await fake.accept()
            assert (await again.joined())["since"] == 5
            await again.say("sync", 3, [B1])  # another store, or an older one
            order.append(await group.receive())
            await again.say("create", 4, A1, "a")
            order.append(await group.receive())
            assert group.gaps == 1
    gap = Gap("chat", "room-1", None, "not resumed")
    assert order == [[A1], gap, [B1], [B1, A1]]
    assert (
        "chat/room-1: connected again, and the server does not know any more" in warnings(caplog)[1]
    )


async def test_a_gap_is_told_though_the_state_is_what_it_was(
    autojump_clock: trio.testing.MockClock,
) -> None:
    gaps: list[Gap] = []
    async with connected() as (fake, client, server):
        server.will_say("sync", 5, A1, "a")
        async with client.item("chat", "room-1", "a", on_gap=gaps.append) as item:
            await item.receive()
            with trio.move_on_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(item.receive)
                    await server.drop()
                    again = await fake.accept()
                    await again.joined()
                    await again.say("sync", 9, A1, "a")
    assert gaps == [Gap("chat", "room-1", "a", "not resumed")]


async def test_whoever_iterates_is_given_what_on_gap_raises(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def give_up(gap: Gap) -> None:
        raise LookupError(gap.cause)

    async with connected() as (fake, client, server):
        server.will_say("sync", 5, [A1])
        async with client.group("chat", "room-1", on_gap=give_up) as group:
            await group.receive()
            await server.drop()
            again = await fake.accept()
            again.will_say("sync", 9, [A1])
            with pytest.raises(LookupError, match="not resumed"):
                await group.receive()


async def test_what_was_never_answered_has_no_gap(autojump_clock: trio.testing.MockClock) -> None:
    async with connected() as (fake, client, server), trio.open_nursery() as nursery:
        group = client.group("chat", "room-1")
        nursery.start_soon(group.receive)
        await server.joined()
        await server.drop()
        again = await fake.accept()
        assert "since" not in await again.joined()
        await again.say("sync", 5, [])
        await trio.testing.wait_all_tasks_blocked()
        assert group.gaps == 0


async def test_every_reconnect_may_have_lost_events(autojump_clock: trio.testing.MockClock) -> None:
    gaps: list[Gap] = []
    async with connected() as (fake, client, first):
        server = first
        server.will_say("sync", 5, [])
        async with client.events("chat", "room-1", on_gap=gaps.append) as events:
            for answer, data in [("resume", {"since": 5}), ("sync", [])]:
                await server.drop()
                server = await fake.accept()
                assert (await server.joined())["since"] == 5
                await server.say(answer, 9, data)
                await server.say("event", 5, {"type": "n"})
                assert await events.receive() == StreamEvent("n")
    assert gaps == [Gap("chat", "room-1", None, "reconnected")] * 2
    assert events.gaps == 2


async def test_a_connection_lost_while_it_catches_up_is_resumed_from_what_was_applied(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The seq of the resume is that of the end, which has not been reached."""
    async with connected() as (fake, client, first):
        server = first
        server.will_say("sync", 5, [])
        async with client.group("chat", "room-1") as group:
            await group.receive()
            await server.drop()
            server = await fake.accept()
            await server.joined()
            await server.say("resume", 20, {"since": 5})
            await server.say("create", 8, A1, "a")
            await trio.testing.wait_all_tasks_blocked()
            await server.drop()
            server = await fake.accept()
            assert (await server.joined())["since"] == 8


async def test_what_was_made_and_merged_before_it_was_heard_of_is_there_after_a_resume(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Made at 6 and changed at 8, of which only 7 came: the log after 7 has an update of it."""
    async with connected() as (fake, client, first):
        server = first
        server.will_say("sync", 5, [])
        async with client.group("chat", "room-1") as group:
            await server.say("create", 7, B1, "b")
            await trio.testing.wait_all_tasks_blocked()
            await server.drop()
            server = await fake.accept()
            await server.joined()
            await server.say("resume", 8, {"since": 7})
            await server.say("update", 8, A2, "a")
            await trio.testing.wait_all_tasks_blocked()
            assert await group.receive() == [B1, A2]


async def test_followers_of_one_place_are_resumed_each_from_where_it_was(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected() as (fake, client, first):
        server = first
        server.will_say("sync", 5, [])
        async with client.group("chat", "room-1") as one:
            assert await one.receive() == []
            await server.drop()
            server = await fake.accept()
            async with trio.open_nursery() as nursery:
                two = client.group("chat", "room-1")
                states: list[Any] = []

                async def follow() -> None:
                    states.append(await two.receive())

                nursery.start_soon(follow)
                assert (await server.joined())["since"] == 5
                assert "since" not in await server.joined()
                await server.say("resume", 8, {"since": 5})
                await server.say("create", 8, A1, "a")
                await trio.testing.wait_all_tasks_blocked()
                assert (await one.receive(), states) == ([A1], [])
                await server.say("sync", 8, [A1])
            assert states == [[A1]]
            assert (one.gaps, two.gaps) == (0, 0)


async def test_the_answer_to_another_is_no_gap_of_ones_own(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The state may be taken from it; whether there was a gap, one's own answer tells."""
    async with connected() as (fake, client, first):
        server = first
        server.will_say("sync", 5, [])
        async with client.group("chat", "room-1") as one:
            server.will_say("sync", 5, [])
            async with client.group("chat", "room-1") as two:
                await server.say("create", 6, A1, "a")
                await trio.testing.wait_all_tasks_blocked()
                await server.drop()
                server = await fake.accept()
                await server.joined()
                await server.joined()
                await server.say("sync", 9, [B1])
                await server.say("resume", 9, {"since": 6})
                await server.say("delete", 8, {"id": "a"}, "a")
                await server.say("create", 9, B1, "b")
                await trio.testing.wait_all_tasks_blocked()
                assert (await one.receive(), await two.receive()) == ([B1], [B1])
                assert (one.gaps, two.gaps) == (1, 0)


async def test_the_answer_to_one_that_has_just_left_is_no_gap_of_another(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected() as (fake, client, first):
        server = first
        server.will_say("sync", 5, [A1])
        async with client.group("chat", "room-1") as stays:
            assert await stays.receive() == [A1]
            server.will_say("sync", 5, [A1])
            async with client.group("chat", "room-1"):
                await server.drop()
                server = await fake.accept()
                joins = [await server.joined() for _ in range(2)]
            left = (await server.frame())["data"]["subscriptionId"]
            for join in sorted(joins, key=lambda data: data["subscriptionId"] != left):
                mine = join["subscriptionId"]
                if mine == left:  # what it was sent before its leave was read
                    await server.say("sync", 5, [A1], join=mine)
                else:
                    await server.say("resume", 5, {"since": 5}, join=mine)
            await server.say("update", 6, A2, "a")
            assert await stays.receive() == [A2]
    assert stays.gaps == 0


async def test_who_left_while_there_was_no_connection_is_not_joined_again(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected() as (fake, client, first):
        server = first
        for room in ("room-1", "room-2", "room-3"):
            server.will_say("sync", 5, [], None, f"chat/{room}")
        async with client.group("chat", "room-1"):
            async with client.group("chat", "room-2"):
                async for _ in client.group("chat", "room-3"):
                    break  # and it is forgotten
                await server.drop()
                await trio.testing.wait_all_tasks_blocked()
                assert not client.connected
            server = await fake.accept()
            assert (await server.joined())["groupId"] == "room-1"
            await trio.sleep(1)
            with pytest.raises(trio.WouldBlock):
                server.frames[1].receive_nowait()


async def test_access_may_be_lost_on_a_reconnect(autojump_clock: trio.testing.MockClock) -> None:
    from motia_trio.client import Unauthorized

    async with connected() as (fake, client, first):
        server = first
        server.will_say("sync", 5, [])
        async with client.group("chat", "room-1") as group:
            await group.receive()
            await server.drop()
            server = await fake.accept()
            server.will_say("unauthorized", 5, None)
            with pytest.raises(Unauthorized):
                await group.receive()
