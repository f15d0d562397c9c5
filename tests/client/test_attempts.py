"""Connections that cannot be had, or are refused, dead, or too much: on a virtual clock."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
import trio.testing

from motia_trio import MessageTooLarge
from motia_trio.client import Backoff, ConnectionRefused, open_stream_client
from tests.client.fake import URL, connected, fake_server, warnings

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
        (401, b"", "answered 401 Unauthorized; it refused the token, or asks for one"),
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
