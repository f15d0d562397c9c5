"""What happens when a connection is lost, refused, or not to be had: on a virtual clock."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from motia_trio import MessageTooLarge
from motia_trio.client import Backoff, ConnectionRefused, Gap, StreamEvent, open_stream_client
from tests.client.fake import URL, Connection, connected, fake_server

A1, A2, B1 = {"id": "a", "n": 1}, {"id": "a", "n": 2}, {"id": "b", "n": 1}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log has as warnings."""
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


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


# attempts


async def test_waits_grow_until_there_is_a_connection_and_begin_anew_after_a_stable_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(backoff=Backoff(first=1.0, longest=8.0, stable=10.0)) as (fake, _, first):
        server = first
        await trio.sleep(60)
        fake.down = 6
        await server.drop()
        server = await fake.accept()
        times = [at for at, _ in fake.attempts[1:]]
        waits = [times[0] - 60.0, *(b - a for a, b in itertools.pairwise(times))]
        for wait, most in zip(waits, [1, 2, 4, 8, 8, 8, 8], strict=True):
            assert most / 2 <= wait <= most
        await trio.sleep(9)  # not stable
        await server.drop()
        began = trio.current_time()
        server = await fake.accept()
        assert trio.current_time() - began >= 4
        await trio.sleep(11)
        await server.drop()
        began = trio.current_time()
        await fake.accept()
        assert trio.current_time() - began <= 1


async def test_the_scope_is_entered_when_there_is_a_connection(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with fake_server() as fake:
        fake.down = 3
        async with open_stream_client(URL) as client:
            assert (client.connected, client.connections, len(fake.attempts)) == (True, 1, 4)


async def test_503_is_tried_again_after_what_the_server_asks_for(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_server() as fake:
        fake.refusal, fake.refusal_headers = (503, b"too many"), [(b"Retry-After", b"7")]
        async with trio.open_nursery() as nursery:

            async def recover() -> None:
                await trio.sleep(13)
                fake.refusal = None

            nursery.start_soon(recover)
            async with open_stream_client(URL):
                first, second, third = [at for at, _ in fake.attempts]
                assert 7.1 <= second - first <= 7.2
                assert 7.2 <= third - second <= 7.4
    assert "503 Service Unavailable: too many; trying again in 7." in warnings(caplog)[0]


@pytest.mark.parametrize("answer", [500, 502, 504, 408, 425, 429])
async def test_what_may_pass_is_tried_again(
    answer: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with fake_server() as fake:
        fake.refusal = answer, b""
        with trio.move_on_after(5):
            async with open_stream_client(URL):
                pytest.fail("there was no connection")
        assert len(fake.attempts) > 3


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "answered 401 Unauthorized; give the token that it asks for"),
        (
            403,
            b'{"error": "origin"}',
            'answered 403 Forbidden: {"error": "origin"}; it does not let',
        ),
        (404, b"<html>", "answered 404 Not Found: <html>; is that the address of a stream server"),
        (200, b"hello", "answered 200 OK: hello; is that the address of a stream server"),
        (302, b"", "answered 302 Found; is that"),
        (499, b"", "answered 499; is that"),
    ],
)
async def test_a_refusal_is_raised_at_once_and_not_tried_again(
    status: int, body: bytes, words: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with fake_server() as fake:
        fake.refusal = status, body
        with pytest.raises(ConnectionRefused) as caught:
            async with open_stream_client(URL, token="hush", token_in="query"):
                pytest.fail("it was entered")
        assert words in str(caught.value)
        assert "ws://streams.test:3112/" in str(caught.value)
        assert "hush" not in str(caught.value)
        assert caught.value.status == status
        assert len(fake.attempts) == 1
        assert trio.current_time() < 1


async def test_a_refusal_later_on_is_raised_by_all_followers_now_and_then(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caught: list[ConnectionRefused] = []
    async with connected() as (fake, client, server), trio.open_nursery() as nursery:
        for follower in [client.group("chat", "room-1"), client.events("chat", "room-2")]:

            async def follow(follower: Any = follower) -> None:
                with pytest.raises(ConnectionRefused) as raised:
                    await follower.receive()
                caught.append(raised.value)

            nursery.start_soon(follow)
        await server.joined()
        fake.refusal = 401, b""
        await server.drop()
        await trio.sleep(100)
        assert len(caught) == 2
        assert caught[0] is not caught[1]
        assert [error.status for error in caught] == [401, 401]
        with pytest.raises(ConnectionRefused):
            await client.group("chat", "room-1").receive()
        with pytest.raises(ConnectionRefused):
            async with client.item("chat", "room-1", "a"):
                pass
        assert len(fake.attempts) == 2
    assert "it is not tried again" in warnings(caplog)[-1]


@pytest.mark.parametrize("how", ["hangs_up", "is_deaf"])
async def test_a_server_that_ends_or_waits_before_the_web_socket_is_tried_again(
    how: str, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_server() as fake:
        setattr(fake, how, True)
        with trio.move_on_after(60):
            async with open_stream_client(URL, connect_timeout=5):
                pytest.fail("it was entered")
        assert len(fake.attempts) > 3
    expected = {
        "hangs_up": "the connection was closed before it was a web socket",
        "is_deaf": "the connection was no web socket within 5 s",
    }
    assert all(expected[how] in told for told in warnings(caplog))


async def test_connecting_may_take_so_long(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with fake_server() as fake:
        with pytest.MonkeyPatch.context() as patch, trio.move_on_after(30):

            async def dial(*_: object) -> trio.abc.Stream:
                await trio.sleep_forever()
                raise AssertionError

            patch.setattr("motia_trio.client.connection.dial", dial)
            async with open_stream_client(URL, connect_timeout=5):
                pytest.fail("it was entered")
        assert fake.attempts == []
    assert "no connection within 5 s" in warnings(caplog)[0]


# servers that are dead


async def test_a_server_that_says_nothing_any_more_is_noticed(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(ping_interval=20.0, ping_timeout=5.0) as (fake, client, server):
        await trio.sleep(1000)
        assert client.connections == 1  # it answers pings
        began = trio.current_time()
        server.stream.mute = True
        await fake.accept()
        assert 25 - 20 <= trio.current_time() - began <= 25 + 1
    assert "nothing was heard for 25 s, not even the answer to a ping" in warnings(caplog)[0]


async def test_a_server_that_talks_need_not_answer_pings(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(ping_interval=20.0, ping_timeout=5.0) as (_, client, server):
        server.stream.deaf = True
        for _ in range(20):
            await trio.sleep(10)
            await server.send("{}")
        assert client.connections == 1


# messages that are too large


async def test_a_message_that_is_too_large_ends_it_with_what_to_do(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with connected(message_limit=1000) as (fake, client, server):
        server.will_say("sync", 1, [{"id": str(n)} for n in range(100)])
        with pytest.raises(MessageTooLarge, match="message_limit= of open_stream_client"):
            await client.group("chat", "room-1").receive()
        await trio.sleep(100)
        assert len(fake.attempts) == 1


# tokens and headers


async def test_a_token_is_asked_for_before_each_attempt(
    autojump_clock: trio.testing.MockClock,
) -> None:
    tokens = iter(["one", "two"])

    async def token() -> str:
        await trio.sleep(1)
        return next(tokens)

    async with connected(token=token, headers={"X-From": "tests"}) as (fake, _, server):
        assert server.request.proposed_subprotocols == ("Authorization", "one")
        assert (b"x-from", b"tests") in server.request.headers
        await server.drop()
        again = await fake.accept()
        assert again.request.proposed_subprotocols == ("Authorization", "two")


async def test_a_token_may_go_in_the_url() -> None:
    async with connected(token="a/b", token_in="query") as (_, _client, server):
        assert server.request.path == "/?authToken=a%2Fb"
        assert server.request.proposed_subprotocols == ()


async def test_what_cannot_be_used_is_told_at_once() -> None:
    for options, words in [
        ({"token": "a b"}, "token_in"),
        ({"token": ""}, "empty"),
        ({"headers": {"a b": "c"}}, "header"),
        ({"ping_interval": 0}, "ping_interval"),
        ({"message_limit": -1}, "message_limit"),
    ]:
        with pytest.raises(ValueError, match=words):
            async with open_stream_client(URL, **options):  # type: ignore[arg-type]
                pytest.fail("it was entered")
