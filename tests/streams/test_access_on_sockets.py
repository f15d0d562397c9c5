"""Who may listen, as clients find out: on real sockets, from the handshake to the last leave."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from motia_trio import App, open_runtime
from motia_trio.data import Data
from motia_trio.events import StreamClientRefused, StreamHookFailed
from motia_trio.service import Service
from tests.support import Notebook


class Visits:
    """Hooks that note who came and who went."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, str]] = []

    async def on_join(self, subscription: Data, ctx: Any, auth: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.notes.append(("joined", subscription.subscription_id))

    async def on_leave(self, subscription: Data, ctx: Any, auth: Any) -> None:
        await trio.lowlevel.checkpoint()
        self.notes.append(("left", subscription.subscription_id))

    def app(self, **more: Any) -> App:
        chat = {"name": "chat", "onJoin": self.on_join, "onLeave": self.on_leave}
        return App(streams=[chat], **more)

    async def reach(self, *notes: tuple[str, str]) -> None:
        while len(self.notes) < len(notes):
            await trio.sleep(0.001)
        assert sorted(self.notes) == sorted(notes)


def frame(kind: str, name: str, group: str = "room") -> str:
    data = {"streamName": "chat", "groupId": group, "subscriptionId": name}
    return json.dumps({"type": kind, "data": data})


async def join(socket: WebSocketConnection, name: str) -> Any:
    await socket.send_message(frame("join", name))
    return json.loads(await socket.get_message())["event"]


@asynccontextmanager
async def open_service(app: App, *observers: Any) -> AsyncIterator[Service]:
    with trio.fail_after(20):
        async with open_runtime(app, streams="127.0.0.1:0", observers=observers) as rt:
            yield rt


@asynccontextmanager
async def connected(
    rt: Service,
) -> AsyncIterator[tuple[WebSocketConnection, trio.SocketStream]]:
    """A client, and the stream below it."""
    assert rt.streams_url is not None
    host, _, port = rt.streams_url.removeprefix("ws://").partition(":")
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        async with trio.open_nursery() as nursery:
            yield await wrap_client_stream(nursery, stream, host, "/"), stream
            nursery.cancel_scope.cancel()


SYNC = {"type": "sync", "data": []}


async def test_a_client_that_leaves_and_then_closes_has_left_once() -> None:
    visits = Visits()
    async with open_service(visits.app()) as rt:
        async with connected(rt) as (socket, _):
            assert await join(socket, "a") == SYNC
            assert await join(socket, "a") == SYNC  # it is answered again, and joins once
            await socket.send_message(frame("leave", "a"))
            await socket.send_message(frame("leave", "a"))
            await visits.reach(("joined", "a"), ("left", "a"))
            assert await join(socket, "b") == SYNC
            await socket.aclose()
        await visits.reach(("joined", "a"), ("left", "a"), ("joined", "b"), ("left", "b"))
        await rt.quiesce()
    assert len(visits.notes) == 4


async def test_a_socket_that_just_dies_has_left_all_that_it_had_joined_once() -> None:
    visits = Visits()
    names = [f"s{number}" for number in range(20)]
    async with open_service(visits.app()) as rt:
        async with connected(rt) as (socket, stream):
            for name in names:
                await join(socket, name)
            assert await rt.streams.chat.presence("room") == 1
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0" * 2)
            stream.socket.close()  # a reset, and no word before it
            await visits.reach(*(("joined", n) for n in names), *(("left", n) for n in names))
        assert await rt.streams.chat.presence("room") == 0
        await rt.quiesce()
    assert len(visits.notes) == 40


async def test_a_service_that_stops_has_all_clients_leave_first() -> None:
    visits = Visits()
    names = [f"s{number}" for number in range(5)]
    async with trio.open_nursery() as nursery:
        async with open_service(visits.app()) as rt:
            for name in names:
                await nursery.start(_stay, rt, name)
        assert sorted(visits.notes) == sorted((w, n) for n in names for w in ("joined", "left"))


async def _stay(rt: Service, name: str, task_status: Any) -> None:
    async with connected(rt) as (socket, _):
        await join(socket, name)
        task_status.started()
        with pytest.raises(ConnectionClosed):
            await socket.get_message()
        assert socket.closed is not None
        assert socket.closed.code == 1001


async def test_a_service_that_stops_while_a_client_joins_lets_its_hooks_finish() -> None:
    events: list[str] = []
    begun, go_on = trio.Event(), trio.Event()

    async def on_join(subscription: Data) -> None:
        begun.set()
        await go_on.wait()
        events.append("joined")

    async def on_leave(subscription: Data) -> None:
        await trio.sleep(0.01)
        events.append("left")

    app = App(streams=[{"name": "chat", "onJoin": on_join, "onLeave": on_leave}])
    async with trio.open_nursery() as nursery:
        async with open_service(app) as rt:
            socket, _ = await nursery.start(_connect, rt)
            await socket.send_message(frame("join", "a"))
            await begun.wait()
            nursery.start_soon(_set_later, go_on)
        nursery.cancel_scope.cancel()
    assert events == ["joined", "left"]


async def _connect(rt: Service, task_status: Any) -> None:
    async with connected(rt) as pair:
        task_status.started(pair)
        await trio.sleep_forever()


async def _set_later(event: trio.Event) -> None:
    await trio.sleep(0.05)
    event.set()


async def test_a_hook_that_raises_refuses_one_join_and_leaves_the_connection_alone() -> None:
    async def can_access(subscription: Data, auth: Any) -> bool:
        if subscription.group_id == "broken":
            raise LookupError("no such room")
        return True

    notes = Notebook()
    app = App(streams=[{"name": "chat", "canAccess": can_access}])
    async with open_service(app, notes) as rt:
        async with connected(rt) as (socket, _):
            await socket.send_message(frame("join", "x", "broken"))
            answer = json.loads(await socket.get_message())
            assert (answer["groupId"], answer["event"]) == ("broken", {"type": "unauthorized"})
            assert await join(socket, "y") == SYNC
    (failed,) = notes.of(StreamHookFailed)
    assert (failed.stream, failed.error) == ("chat", "LookupError: no such room")


async def upgrade(url: str, target: str, *headers: str) -> int:
    """Ask for a web socket; give the status."""
    host, _, port = url.removeprefix("ws://").partition(":")
    usual = (
        "Host: x", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )  # fmt: skip
    async with await trio.open_tcp_stream(host, int(port)) as stream:
        lines = [f"GET {target} HTTP/1.1", *usual, *headers, "", ""]
        await stream.send_all("\r\n".join(lines).encode())
        return int((await stream.receive_some()).split()[1])


async def test_authenticate_sees_the_handshake_and_decides_before_the_upgrade() -> None:
    seen: list[Data] = []

    def authenticate(request: Data) -> Any:
        seen.append(request)
        return request.token == "yes"

    notes = Notebook()
    async with open_service(
        App(streams=[{"name": "chat"}], authenticate=authenticate), notes
    ) as rt:
        url = rt.streams_url
        assert url is not None
        assert await upgrade(url, "/some/path?authToken=yes&a=1&a=2", "X-One: 1") == 101
        protocol = "Sec-WebSocket-Protocol: Authorization, yes"
        assert await upgrade(url, "/", protocol) == 101
        assert await upgrade(url, "/", "Authorization: Bearer yes") == 101
        assert await upgrade(url, "/?authToken=no") == 401
        assert await upgrade(url, "/") == 401
    first = seen[0]
    assert (first.path, first.method, first.address) == ("/some/path", "GET", "127.0.0.1")
    assert first.query == first.queryParams == {"authToken": "yes", "a": ["1", "2"]}
    assert first.headers["x-one"] == "1"
    assert [request.token for request in seen] == ["yes", "yes", "yes", "no", None]
    assert [(each.address, each.status) for each in notes.of(StreamClientRefused)] == [
        ("127.0.0.1", 401)
    ] * 2
    assert notes.of(StreamHookFailed) == []
