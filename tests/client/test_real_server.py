"""The client and our own server, on real sockets, with restarts and cuts in between."""

from __future__ import annotations

import logging
import random
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from motia_trio import App, Service, open_runtime
from motia_trio.client import (
    Backoff,
    ConnectionRefused,
    Gap,
    NotJoined,
    StreamEvent,
    Unauthorized,
    open_stream_client,
)

QUICK = Backoff(first=0.02, longest=0.1)
CHAT = [{"name": "chat"}]


@asynccontextmanager
async def serving(
    root: Path, streams: str = "127.0.0.1:0", declared: Any = CHAT, **options: Any
) -> AsyncIterator[tuple[Service, str]]:
    """Run an app with streams; give it and its address."""
    app = App([], streams=declared, root=root, **{"store": "sqlite:///store.db", **options})
    async with open_runtime(app, streams=streams, shutdown_timeout=5) as rt:
        assert rt.streams_url is not None
        yield rt, rt.streams_url


def told(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(each.getMessage() for each in caplog.records if "client" in each.name)


async def test_a_group_an_item_and_events_are_followed(tmp_path: Path) -> None:
    async with serving(tmp_path) as (rt, url), open_stream_client(url) as client:
        chat = rt.streams.chat
        await chat.set("room-1", "a", {"n": 1})
        async with (
            client.group("chat", "room-1") as group,
            client.item("chat", "room-1", "b") as item,
            client.events("chat", "room-1") as events,
            client.events("chat", "room-1", id="b", type="seen") as seen,
        ):
            assert await group.receive() == [{"id": "a", "n": 1}]
            assert await item.receive() is None
            await chat.set("room-1", "b", {"n": 2})
            assert await group.receive() == [{"id": "a", "n": 1}, {"id": "b", "n": 2}]
            assert await item.receive() == {"id": "b", "n": 2}
            await chat.update("room-1", "b", [{"type": "increment", "path": "n", "by": 1}])
            assert await item.receive() == {"id": "b", "n": 3}
            await chat.delete("room-1", "b")
            assert await item.receive() is None
            assert await group.receive() == [{"id": "a", "n": 1}]
            await chat.send("room-1", {"type": "typing", "data": {"who": "Ann"}})
            await chat.send({"groupId": "room-1", "id": "b"}, {"type": "seen", "data": 1})
            assert await events.receive() == StreamEvent("typing", {"who": "Ann"})
            assert await events.receive() == StreamEvent("seen", 1, "b")
            assert await seen.receive() == StreamEvent("seen", 1, "b")
            assert await chat.presence("room-1") == 1
        with trio.fail_after(5):
            while await chat.presence("room-1"):
                await trio.sleep(0.001)


async def test_items_that_are_no_objects_are_followed(tmp_path: Path) -> None:
    async with serving(tmp_path) as (rt, url), open_stream_client(url) as client:
        chat = rt.streams.chat
        await chat.set("room-1", "a", "one")
        async with client.group("chat", "room-1") as group:
            assert await group.receive() == ["one"]
            await chat.set("room-1", "a", "two")
            assert await group.receive() == ["two"]
            await chat.set("room-1", "b", {"n": 1})
            while await group.receive() != [{"id": "b", "n": 1}, "two"]:
                pass
            await chat.delete("room-1", "a")
            assert await group.receive() == [{"id": "b", "n": 1}]


class Life:
    """A server that lives until it is stopped."""

    def __init__(self) -> None:
        self._stop, self._gone = trio.Event(), trio.Event()

    async def run(self, root: Path, task_status: trio.TaskStatus[Any], **options: Any) -> None:
        async with serving(root, **options) as served:
            task_status.started(served)
            await self._stop.wait()
        self._gone.set()

    async def stop(self) -> None:
        self._stop.set()
        await self._gone.wait()


async def test_a_restart_in_between_is_resumed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        first = Life()
        rt, url = await nursery.start(first.run, tmp_path)
        await rt.streams.chat.set("room-1", "a", {"n": 1})
        await rt.streams.chat.set("room-1", "b", {"n": 1})
        async with (
            open_stream_client(url, backoff=QUICK) as client,
            client.group("chat", "room-1") as group,
            client.item("chat", "room-1", "b") as item,
            client.events("chat", "room-1") as events,
        ):
            assert await group.receive() == [{"id": "a", "n": 1}, {"id": "b", "n": 1}]
            assert await item.receive() == {"id": "b", "n": 1}
            await first.stop()
            async with serving(tmp_path, url.rpartition("//")[2]) as (rt, _):
                chat = rt.streams.chat
                await chat.set("room-1", "b", {"n": 2})
                await chat.set("room-1", "c", {"n": 1})
                await chat.delete("room-1", "a")
                with trio.fail_after(10):
                    while await group.receive() != [{"id": "b", "n": 2}, {"id": "c", "n": 1}]:
                        pass
                    assert await item.receive() == {"id": "b", "n": 2}
                    while not events.gaps:  # it is there again, too
                        await trio.sleep(0.001)
                    await chat.send("room-1", {"type": "typing"})
                    assert await events.receive() == StreamEvent("typing")
                assert (group.gaps, item.gaps, events.gaps) == (0, 0, 1)
    assert "closed it with 1001 (the service is stopping); trying again" in told(caplog)


async def test_a_restart_of_a_server_that_keeps_nothing_is_a_gap(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    gaps: list[Gap] = []
    memory: dict[str, Any] = {"store": "memory:"}
    async with trio.open_nursery() as nursery:
        first = Life()
        rt, url = await nursery.start(partial(first.run, tmp_path, **memory))
        await rt.streams.chat.set("room-1", "a", {"n": 1})
        async with (
            open_stream_client(url, backoff=QUICK) as client,
            client.group("chat", "room-1", on_gap=gaps.append) as group,
        ):
            assert await group.receive() == [{"id": "a", "n": 1}]
            await first.stop()
            async with serving(tmp_path, url.rpartition("//")[2], **memory):
                with trio.fail_after(10):
                    assert await group.receive() == []
    assert gaps == [Gap("chat", "room-1", None, "not resumed")]
    assert "chat/room-1: connected again, and the server does not know" in told(caplog)


class Proxy:
    """Stands between a client and a server, and cuts their connections."""

    def __init__(self, url: str) -> None:
        self._port = int(url.rpartition(":")[2])
        self._scopes: set[trio.CancelScope] = set()
        self.url = ""
        self.is_shut = False

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        task_status.started()
        await trio.serve_listeners(self._carry, listeners)

    def cut(self) -> None:
        for scope in self._scopes:
            scope.cancel()

    async def _carry(self, client: trio.SocketStream) -> None:
        if self.is_shut:
            return
        async with await trio.open_tcp_stream("127.0.0.1", self._port) as server, client:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._copy, client, server, nursery.cancel_scope)
                    nursery.start_soon(self._copy, server, client, nursery.cancel_scope)
            self._scopes.discard(scope)

    async def _copy(
        self, source: trio.SocketStream, sink: trio.SocketStream, scope: trio.CancelScope
    ) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()


async def test_cuts_while_much_is_written_leave_nobody_behind(tmp_path: Path) -> None:
    """Every state is one that could be; the last is what the store has; events never go back."""
    chance = random.Random(5)
    async with serving(tmp_path, store="memory:") as (rt, url), trio.open_nursery() as nursery:
        proxy = Proxy(url)
        await nursery.start(proxy.run)
        chat = rt.streams.chat
        newest: dict[str, int] = {}
        last: list[Any] = []
        numbers: list[int] = []
        async with open_stream_client(proxy.url, backoff=QUICK) as client:
            group, events = client.group("chat", "room-1"), client.events("chat", "room-1")

            async def follow() -> None:
                async for state in group:
                    last[:] = state
                    for item in state:
                        assert item["n"] >= newest.get(item["id"], 0)
                        newest[item["id"]] = item["n"]

            async def listen() -> None:
                async for event in events:
                    assert not numbers or event.data > numbers[-1]
                    numbers.append(event.data)

            nursery.start_soon(follow)
            nursery.start_soon(listen)
            for n in range(1, 1_001):
                key = f"m{chance.randrange(20)}"
                if chance.random() < 0.3:
                    await chat.delete("room-1", key)
                else:
                    await chat.set("room-1", key, {"n": n})
                await chat.send("room-1", {"type": "n", "data": n})
                if n % 50 == 0:
                    proxy.cut()
                    if chance.random() < 0.5:
                        await trio.sleep(0.03)
            with trio.fail_after(10):
                expected = {item["id"]: item["n"] for item in await keyed(chat)}
                while {item["id"]: item["n"] for item in last} != expected:
                    await trio.sleep(0.005)
            assert client.connections > 2
            assert group.gaps == 0
            assert 1 <= events.gaps < client.connections  # some were cut before they had joined
            nursery.cancel_scope.cancel()


async def keyed(chat: Any) -> list[dict[str, Any]]:
    """The items of the room, as clients get them."""
    return [{"id": key, **await chat.get("room-1", key)} for key in await chat.keys("room-1")]


async def test_a_log_that_is_too_short_is_a_gap(tmp_path: Path) -> None:
    async with serving(tmp_path, stream_log=10) as (rt, url), trio.open_nursery() as nursery:
        proxy = Proxy(url)
        await nursery.start(proxy.run)
        async with open_stream_client(proxy.url, backoff=QUICK) as client:
            async with client.group("chat", "room-1") as group:
                await rt.streams.chat.set("room-1", "a", {"n": 0})
                while await group.receive() != [{"id": "a", "n": 0}]:
                    pass
                proxy.is_shut = True
                proxy.cut()
                for n in range(100):
                    await rt.streams.chat.set("room-1", "a", {"n": n})
                proxy.is_shut = False
                assert await group.receive() == [{"id": "a", "n": 99}]
                assert group.gaps == 1
        nursery.cancel_scope.cancel()


# who may


async def authenticate(request: Any) -> Any:
    """Let those in who have a token."""
    return {"user": request.token} if request.token in {"ann", "bob"} else False


async def can_access(subscription: Any, auth: Any) -> bool:
    """Let each into their own room."""
    return bool(subscription.group_id == auth["user"])


@pytest.mark.parametrize("token_in", ["protocol", "query"])
async def test_who_has_no_good_token_is_refused(tmp_path: Path, token_in: Any) -> None:
    async with serving(tmp_path, authenticate=authenticate) as (_, url):
        for token in (None, "eve"):
            with pytest.raises(ConnectionRefused, match="401 Unauthorized") as caught:
                async with open_stream_client(url, token=token, token_in=token_in):
                    pytest.fail("it was let in")
            assert caught.value.status == 401
        async with open_stream_client(url, token="ann", token_in=token_in) as client:
            assert await client.group("chat", "ann").receive() == []
        async with open_stream_client(url, headers={"Authorization": "Bearer bob"}) as client:
            assert await client.group("chat", "bob").receive() == []


async def test_who_may_not_join_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    declared = [{"name": "chat", "canAccess": can_access}]
    async with serving(tmp_path, declared=declared, authenticate=authenticate) as (rt, url):
        async with open_stream_client(url, token="ann") as client:
            async with client.group("chat", "ann") as own:
                with pytest.raises(Unauthorized, match="chat/bob cannot be followed"):
                    await client.group("chat", "bob").receive()
                with pytest.raises(Unauthorized, match="chat/bob/a cannot be followed"):
                    async with client.item("chat", "bob", "a"):
                        pytest.fail("it was entered")
                await rt.streams.chat.set("ann", "a", {"n": 1})
                while not await own.receive():
                    pass


async def test_a_stream_that_is_not_there_and_one_too_many_are_told(tmp_path: Path) -> None:
    async with serving(tmp_path, stream_max_subscriptions_per_connection=2) as (_, url):
        async with open_stream_client(url) as client:
            with pytest.raises(
                NotJoined, match="caht/r cannot be followed: join: no stream 'caht'"
            ):
                await client.group("caht", "r").receive()
            async with client.group("chat", "1"), client.group("chat", "2"):
                with pytest.raises(NotJoined, match="too many subscriptions"):
                    await client.group("chat", "3").receive()
            async with client.group("chat", "3"):
                pass


async def test_a_server_that_is_full_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(tmp_path, stream_max_connections=1) as (_, url):
        async with trio.open_nursery() as nursery:
            entered = trio.Event()

            async def wait() -> None:
                async with open_stream_client(url, backoff=QUICK):
                    entered.set()

            async with open_stream_client(url):
                nursery.start_soon(wait)
                with trio.fail_after(10):
                    while "503 Service Unavailable" not in told(caplog):
                        await trio.sleep(0.005)
                assert not entered.is_set()
            with trio.fail_after(10):
                await entered.wait()


# TLS


async def test_a_certificate_is_checked(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    tls = {"certfile": "cert.pem", "keyfile": "key.pem"}
    async with serving(tmp_path, **tls) as (_, url):
        assert url.startswith("wss://")
        with pytest.raises(
            ConnectionRefused, match=r"is not to be trusted.*ssl_context="
        ) as caught:
            async with open_stream_client(url):
                pytest.fail("it was trusted")
        assert caught.value.status is None
        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with open_stream_client(url, ssl_context=context) as client:
            assert await client.group("chat", "room-1").receive() == []


async def test_nobody_is_there_and_then_somebody_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "motia_trio.client")
    with trio.socket.socket() as free:
        await free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        connected = trio.Event()

        async def follow() -> None:
            async with open_stream_client(f"ws://{address}", backoff=QUICK):
                connected.set()

        nursery.start_soon(follow)
        with trio.fail_after(10):
            while "trying again" not in told(caplog):
                await trio.sleep(0.005)
            async with serving(tmp_path, address):
                await connected.wait()
    assert "no connection: " in told(caplog)
    assert f"ws://{address}: connected" in told(caplog)
