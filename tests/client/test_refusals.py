"""Joins that are refused, and what makes no sense: who hears of it, and who goes on."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from motia_trio.client import NotJoined, Unauthorized
from tests.client.fake import A1, A2, B1, connected, settled


@pytest.mark.parametrize("item", [None, "a"])
async def test_a_join_that_is_refused_is_raised_where_it_is_iterated(item: str | None) -> None:
    async with connected() as (_, client, server):
        server.will_say("unauthorized", 1, None, item)
        follower = client.events("chat", "room-1", item)
        with pytest.raises(
            Unauthorized, match=r"chat/room-1.* cannot be followed: canAccess or onJoin"
        ) as caught:
            async for _ in follower:
                pass
        assert (caught.value.stream, caught.value.group, caught.value.item) == (
            "chat",
            "room-1",
            item,
        )
        with pytest.raises(Unauthorized):
            await follower.receive()


async def test_a_join_that_is_refused_is_raised_on_entering() -> None:
    async with connected() as (_, client, server):
        server.will_say("unauthorized", 1, None)
        with pytest.raises(Unauthorized):
            async with client.group("chat", "room-1"):
                pytest.fail("it was entered")


async def test_a_refusal_is_for_the_one_who_asked() -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async with client.group("chat", "room-1") as group:
            server.will_say("unauthorized", 1, None)
            with pytest.raises(Unauthorized):
                await client.group("chat", "room-1").receive()
            await server.say("create", 2, A1, "a")
            await settled()
            assert await group.receive() == [A1]


async def test_a_refusal_that_overtakes_the_answer_to_another_is_for_the_one_who_asked() -> None:
    """A server refuses at once; a sync may have to wait."""
    async with connected() as (_, client, server), trio.open_nursery() as nursery:
        states: list[Any] = []

        async def follow() -> None:
            states.append(await client.group("chat", "room-1").receive())

        nursery.start_soon(follow)
        first = (await server.joined())["subscriptionId"]

        async def refuse() -> None:
            second = (await server.joined())["subscriptionId"]
            await server.say("unauthorized", 1, None, join=second)

        nursery.start_soon(refuse)
        with pytest.raises(Unauthorized):
            await client.group("chat", "room-1").receive()
        await server.say("sync", 1, [A1], join=first)
        await settled()
        assert states == [[A1]]


async def test_the_answer_to_another_begins_nothing_if_it_says_whose_it_is() -> None:
    async with connected() as (_, client, server), trio.open_nursery() as nursery:
        states: list[Any] = []

        async def follow() -> None:
            states.append(await client.group("chat", "room-1").receive())

        nursery.start_soon(follow)
        mine = (await server.joined())["subscriptionId"]
        await server.say("sync", 1, [B1], join="another's")
        await settled()
        assert states == []
        await server.say("sync", 2, [A1], join=mine)
        await settled()
        assert states == [[A1]]


async def test_rubbish_is_ignored_with_a_note_for_who_debugs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "motia_trio.client")
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async with client.group("chat", "room-1") as group:
            await group.receive()
            caplog.clear()
            for rubbish in ["hello", b"\x00", [], {"type": "pong"}, {"type": "stream"}]:
                await server.send(rubbish)
            await server.say("merge", 2, [])
            await server.say("create", 3, A1, "a")
            assert await group.receive() == [A1]
    told = [record.levelname for record in caplog.records]
    assert told == ["DEBUG"] * 6


async def test_what_the_server_says_is_wrong_and_what_it_says_wrong_are_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with connected() as (_, client, server):
        server.will_say("sync", 1, [])
        async with client.group("chat", "room-1") as group:
            await group.receive()
            await server.send({"type": "error", "message": "stream 'chat' is not declared"})
            await server.say("sync", 2, {"no": "list"})
            await server.say("create", 3, A1, "a")
            assert await group.receive() == [A1]
    told = [record.getMessage() for record in caplog.records]
    assert "the server says: stream 'chat' is not declared" in told[0]
    assert "a sync of a group without a list of items" in told[1]


async def test_a_join_that_cannot_be_is_raised_where_it_is_iterated() -> None:
    async with connected() as (_, client, server), trio.open_nursery() as nursery:
        other = client.group("chat", "room-1")
        nursery.start_soon(other.receive)
        await server.joined()

        async def refuse() -> None:
            subscription = (await server.joined())["subscriptionId"]
            words = "join: no stream 'caht'"
            await server.send({"type": "error", "message": words, "subscriptionId": subscription})

        nursery.start_soon(refuse)
        with pytest.raises(NotJoined, match="caht/room-1 cannot be followed: join: no stream"):
            await client.group("caht", "room-1").receive()
        await server.say("sync", 1, [])  # the other one goes on


async def test_items_without_an_id_are_synced_again_when_they_change() -> None:
    """What a sync tells of them is not which is which."""
    async with connected() as (_, client, server):
        server.will_say("sync", 1, ["one", A1])
        async with client.group("chat", "room-1") as group:
            assert await group.receive() == [A1, "one"]
            first = await server.joined()
            await server.say("update", 2, "two", "x")
            assert await server.joined() == first
            await server.say("update", 3, A2, "a")  # this one can be applied
            assert await group.receive() == [A2, "one"]
            await server.say("update", 4, "three", "x")
            await server.say("sync", 4, ["three", A2])
            assert await group.receive() == [A2, "three"]
            await server.say("delete", 5, {"id": "x"}, "x")  # as after a resume
            assert await server.joined() == first
            await server.say("sync", 5, [A2])
            assert await group.receive() == [A2]
