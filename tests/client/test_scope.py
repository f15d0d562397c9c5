"""What the scope of a client leaves behind, however it ends: nothing; and errors as they were."""

from __future__ import annotations

import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed

from motia_trio import Closed
from motia_trio.client import ConnectionRefused, StreamClient, open_stream_client
from tests.client.fake import URL, Connection, connected, fake_server


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


async def test_leaving_closes_the_connection_in_order() -> None:
    async with fake_server() as fake:
        async with open_stream_client(URL) as client:
            server = await fake.accept()
            assert client.connected
        assert not client.connected
        with pytest.raises(ConnectionClosed) as caught:
            await server.socket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1000


async def test_what_was_left_is_told_before_the_connection_is_closed() -> None:
    async with fake_server() as fake:
        async with open_stream_client(URL) as client:
            server = await fake.accept()
            server.will_say("sync", 1, [])
            async with client.group("chat", "room-1"):
                pass
        assert [(await server.frame())["type"] for _ in range(2)] == ["join", "leave"]
        with pytest.raises(ConnectionClosed) as caught:
            await server.socket.get_message()
        assert caught.value.reason is not None
        assert caught.value.reason.code == 1000


async def test_a_server_that_does_not_answer_the_end_is_not_waited_for_long(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fake_server() as fake:
        async with open_stream_client(URL):
            server = await fake.accept()
            server.stream.deaf = True
            await trio.sleep(1)
            began = trio.current_time()
        assert 1 < trio.current_time() - began < 3


async def test_nothing_of_it_runs_on(autojump_clock: trio.testing.MockClock) -> None:
    async with fake_server() as fake:
        before = tasks()
        async with open_stream_client(URL) as client:
            server = await fake.accept()
            server.will_say("sync", 1, [])
            async with client.group("chat", "room-1") as group:
                await group.receive()
                await server.drop()
                await fake.accept()
        await trio.testing.wait_all_tasks_blocked()
        assert (tasks(), fake.open) == (before, 0)


@pytest.mark.parametrize("down", [False, True], ids=["connected", "waiting"])
async def test_it_can_be_cancelled_at_once(
    autojump_clock: trio.testing.MockClock, *, down: bool
) -> None:
    async with fake_server() as fake:
        with trio.CancelScope() as scope:
            async with open_stream_client(URL) as client:
                server = await fake.accept()
                server.stream.deaf = True  # it would not answer the end
                if down:
                    fake.down = True
                    await server.drop()
                    await trio.sleep(100)
                began = trio.current_time()
                scope.cancel()
                async for _ in client.group("chat", "room-1"):
                    pytest.fail("it is cancelled")
        assert scope.cancelled_caught
        assert trio.current_time() == began


async def test_it_can_be_cancelled_before_it_is_entered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fake_server() as fake:
        fake.down = True
        with trio.move_on_after(7) as scope:
            async with open_stream_client(URL):
                pytest.fail("there was no connection")
        assert scope.cancelled_caught
        assert trio.current_time() == 7


class Sudden(Exception):
    """What a test raises."""


async def body_raises(client: StreamClient, server: Connection) -> None:
    raise Sudden


async def body_raises_in_a_loop(client: StreamClient, server: Connection) -> None:
    server.will_say("sync", 1, [])
    async for _ in client.group("chat", "room-1"):
        raise Sudden


async def body_raises_in_a_follower(client: StreamClient, server: Connection) -> None:
    server.will_say("sync", 1, [])
    async with client.group("chat", "room-1"):
        raise Sudden


async def body_raises_while_there_is_no_connection(
    client: StreamClient, server: Connection
) -> None:
    await server.drop()
    await trio.testing.wait_all_tasks_blocked()
    raise Sudden


@pytest.mark.parametrize(
    "body",
    [
        body_raises,
        body_raises_in_a_loop,
        body_raises_in_a_follower,
        body_raises_while_there_is_no_connection,
    ],
)
async def test_an_error_in_the_scope_comes_out_as_it_was(
    body: Callable[[StreamClient, Connection], Awaitable[None]],
) -> None:
    async with fake_server() as fake:
        with pytest.raises(Sudden) as caught:
            async with open_stream_client(URL) as client:
                await body(client, await fake.accept())
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__


async def test_a_group_that_was_raised_in_the_scope_is_that_group() -> None:
    group = ExceptionGroup("mine", [Sudden()])
    async with fake_server():
        with pytest.raises(ExceptionGroup, match="mine") as caught:
            async with open_stream_client(URL):
                raise group
        assert caught.value.exceptions == group.exceptions


async def test_what_asking_for_a_token_raises_ends_the_scope_as_it_was(
    autojump_clock: trio.testing.MockClock,
) -> None:
    answers: list[Any] = ["first", Sudden()]

    async def token() -> str:
        await trio.lowlevel.checkpoint()
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    async with fake_server() as fake:
        with pytest.raises(Sudden):
            async with open_stream_client(URL, token=token):
                await (await fake.accept()).drop()
                await trio.sleep_forever()


async def test_a_refusal_that_nobody_waits_for_does_not_end_the_scope(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected() as (fake, client, server):
        fake.refusal = 401, b""
        await server.drop()
        await trio.sleep(10)
        with pytest.raises(ConnectionRefused):
            await client.group("chat", "room-1").receive()


async def test_whoever_comes_when_the_scope_is_left_is_told() -> None:
    async with fake_server() as fake, trio.open_nursery() as nursery:
        async with open_stream_client(URL) as client:
            server = await fake.accept()
            server.will_say("sync", 1, [{"id": "a"}])
            follower = client.group("chat", "room-1")

            async def wait() -> None:
                with pytest.raises(Closed, match="open_stream_client has been left"):
                    async for _ in follower:
                        pass

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
        for late in (follower, client.group("chat", "room-1")):
            with pytest.raises(Closed, match="open_stream_client has been left"):
                await late.receive()


async def test_followers_may_go_to_the_garbage_at_any_time() -> None:
    async with connected() as (_, client, server):
        for room in range(20):
            follower: Any = client.group("chat", f"room-{room}")
            with trio.move_on_after(0):
                await follower.receive()
            del follower
        gc.collect()
        for room in range(20):
            await server.say("create", 2, {"id": "a"}, "a", f"chat/room-{room}")
        for _ in range(40):
            assert (await server.frame())["type"] in {"join", "leave"}
