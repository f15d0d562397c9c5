"""Who is let in, who is not, and what each is told; and what is no handshake at all."""

from __future__ import annotations

import struct
import time
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest
import trio

from motia_trio import App
from motia_trio.events import (
    StreamClientRefused,
    StreamConnectionFailed,
    StreamHookFailed,
)
from tests.stream_server.wire import (
    address,
    both_doors,
    client,
    connected,
    follower,
    join,
    open_streams,
    request,
    text,
    until,
)
from tests.support import Notebook

CHAT = [{"name": "chat"}]


def app_of(authenticate: Any) -> App:
    return App(streams=CHAT, authenticate=authenticate)


# who may


async def let_in(handshake: Any) -> Any:
    return {"user": "ada"} if handshake.token == "good" else False


def let_in_sync(handshake: Any) -> Any:
    if handshake.token != "good":
        raise PermissionError("no such token")
    return {"user": "ada"}


@both_doors
@pytest.mark.parametrize("authenticate", [let_in, let_in_sync])
@pytest.mark.parametrize(
    ("path", "headers", "chosen"),
    [
        ("/?authToken=good", {}, None),
        ("/", {"authorization": "Bearer good"}, None),
        ("/", {"sec_websocket_protocol": "Authorization, good"}, "Authorization"),
    ],
    ids=["query", "header", "protocol"],
)
async def test_a_token_may_come_three_ways(
    door: str, authenticate: Any, path: str, headers: dict[str, str], chosen: str | None
) -> None:
    """The sub-protocol that carries one is answered, as browsers demand."""
    async with open_streams(app=app_of(authenticate)) as rt:
        async with client(rt, door, path, **headers) as peer:
            assert peer.header("sec-websocket-protocol") == chosen
            await peer.send(join())
            assert await peer.event() == ("sync", [])


@both_doors
@pytest.mark.parametrize(
    ("authenticate", "failed"), [(let_in, 0), (let_in_sync, 1)], ids=["False", "raises"]
)
async def test_who_is_not_authenticated_is_answered_401(
    door: str, authenticate: Any, failed: int
) -> None:
    """Before the upgrade; and nothing of it stays."""
    notebook = Notebook()
    async with open_streams(app=app_of(authenticate), notebook=notebook) as rt:
        for _ in range(3):
            async with connected(rt, door) as peer:
                await peer.shake(request("/?authToken=bad"))
                assert peer.status == 401
                assert await peer.body() == {"error": "Unauthorized"}
                assert await peer.frame() is None
        assert rt.crowd.connections == 0
    assert [each.status for each in notebook.of(StreamClientRefused)] == [401] * 3
    assert len(notebook.of(StreamHookFailed)) == 3 * failed
    assert not notebook.of(StreamConnectionFailed)


@both_doors
async def test_authenticate_sees_all_of_the_handshake(door: str) -> None:
    seen: list[Any] = []

    async def authenticate(handshake: Any) -> None:
        seen.append(handshake)

    async with open_streams(app=app_of(authenticate)) as rt:
        async with client(rt, door, "/a%20b?x=1&x=2&y=3", cookie="c=1"):
            pass
    (found,) = seen
    assert found.path == "/a b"
    assert found.query == {"x": ["1", "2"], "y": "3"}
    assert found.headers["cookie"] == "c=1"
    assert found.address == "127.0.0.1"
    assert found.token is None


@both_doors
@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        (["https://good.example"], "https://good.example", 101),
        (["https://good.example"], "https://bad.example", 403),
        (["https://good.example"], "null", 403),
        (["https://good.example"], None, 101),
        (["*"], "https://bad.example", 101),
        ([], "https://bad.example", 403),
    ],
)
async def test_pages_of_other_origins_are_answered_403(
    door: str, origins: list[str], origin: str | None, status: int
) -> None:
    async with open_streams(notebook=Notebook(), stream_origins=origins) as rt:
        async with connected(rt, door) as peer:
            await peer.shake(request(origin=origin))
            assert peer.status == status
            if status == 403:
                assert await peer.body() == {"error": "Origin not allowed"}


# how many may


@both_doors
@pytest.mark.parametrize("limit", ["stream_max_connections", "stream_max_connections_per_address"])
async def test_who_comes_when_all_places_are_taken_is_answered_503(door: str, limit: str) -> None:
    """And is let in when one has left."""
    notebook = Notebook()
    two: Any = {limit: 2}
    async with open_streams(notebook=notebook, **two) as rt:
        async with client(rt, door), client(rt, "streams"):
            async with connected(rt, door) as peer:
                await peer.shake(request())
                assert peer.status == 503
                assert peer.header("retry-after") == "1"
                assert await peer.body() == {"error": "Overloaded"}
        await until(lambda: rt.crowd.connections == 0)
        async with client(rt, door), client(rt, door):
            pass
    (refused,) = notebook.of(StreamClientRefused)
    assert refused.status == 503
    assert "2" in refused.reason + refused.detail


@both_doors
@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("stream_max_subscriptions", "2 in all"),
        ("stream_max_subscriptions_per_address", "2 for one address"),
        ("stream_max_subscriptions_per_connection", "2 for one connection"),
    ],
)
async def test_a_join_beyond_the_subscriptions_is_an_error(
    door: str, limit: str, words: str
) -> None:
    """The client stays, with what it has, and has a place again when it leaves one."""
    two: Any = {limit: 2}
    async with open_streams(notebook=Notebook(), **two) as rt:
        async with client(rt, door) as peer:
            for number in (1, 2, 3):
                await peer.send(join(f"g{number}", number=number))
            heard = [await peer.hear() for _ in range(3)]
            assert [each.get("groupId") for each in heard if each["type"] == "stream"] == [
                "g1",
                "g2",
            ]
            assert [each["message"] for each in heard if each["type"] == "error"] == [
                f"join: too many subscriptions: {words}"
            ]
            await peer.send({**join("g1", number=1), "type": "leave"})
            await peer.send(join("g3", number=3))
            assert (await peer.hear())["groupId"] == "g3"
        await until(lambda: rt.crowd.subscriptions == 0)
        async with client(rt, door) as peer:
            await peer.send(join("g1", number=1))
            await peer.send(join("g2", number=2))
            assert (await peer.event())[0] == (await peer.event())[0] == "sync"


# what is no handshake

BROKEN: dict[str, tuple[bytes, set[int]]] = {
    "garbage": (b"\x00\x01\x02\xff" * 500 + b"\r\n\r\n", {400}),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), {400}),
    "post": (b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", {400, 404, 405}),
    "plain": (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", {400, 404, 426}),
    "no key": (request(sec_websocket_key=None), {400}),
    "no version": (request(sec_websocket_version=None), {400, 426}),
    "version": (request(sec_websocket_version="8"), {400, 426}),
    "no host": (request(host=None), {400}),
    "host": (request(host="\xff\xfe"), {400}),
    "long label": (request(host="x" * 70 + ".y"), {400, 101}),
    "target": (request("/\xff\xfe"), {400}),
    "protocols": (request(sec_websocket_protocol="\xff\xfe"), {400}),
    "extensions": (request(sec_websocket_extensions="\xff\xfe"), {400, 101}),
    "connection": (request(connection="\xff\xfe"), {400, 404}),
    "key": (request(sec_websocket_key="\xff\xfe"), {400, 101}),
    "huge": (request(x="y" * 100_000), {400, 431}),
    "many": (request("/", *[f"x{n}: y" for n in range(9000)]), {400, 431}),
    "long path": (request("/" + "x" * 100_000), {400, 414, 431}),
    "http/1.0": (request().replace(b"HTTP/1.1", b"HTTP/1.0"), {400, 404, 101}),
    "http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "two hosts": (request("/", "host: other"), {400}),
    "folded": (request("/", "a: b\r\n c"), {400, 101}),
}


@pytest.mark.parametrize("kind", BROKEN)
async def test_what_is_no_handshake_is_answered_and_closed(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is no failure of ours, and nobody else notices."""
    raw, statuses = BROKEN[kind]
    notebook = Notebook()
    async with open_streams(notebook=notebook) as rt, follower(rt) as other:
        async with connected(rt) as peer:
            try:
                await peer.stream.send_all(raw)
            except trio.BrokenResourceError:
                pass  # it was answered before all of it was there
            await peer.be_answered()
            assert peer.status in statuses, peer.head
        await rt.streams.chat.set("r", "a", {})
        assert (await other.event())[0] == "create"
    assert not notebook.of(StreamConnectionFailed)
    assert not caplog.records


@pytest.mark.parametrize("kind", BROKEN)
async def test_nor_is_it_on_the_port_of_http(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    notebook = Notebook()
    async with open_streams(notebook=notebook) as rt, follower(rt, "http") as other:
        async with connected(rt, "http") as peer:
            try:
                await peer.stream.send_all(BROKEN[kind][0])
            except trio.BrokenResourceError:
                pass
            with trio.move_on_after(0.3):
                while await peer.frame():
                    pass
        await rt.streams.chat.set("r", "a", {})
        assert (await other.event())[0] == "create"
    assert not notebook.of(StreamConnectionFailed)
    assert not caplog.records


async def reset(stream: trio.SocketStream) -> None:
    """End a connection with a reset."""
    stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


@both_doors
@pytest.mark.parametrize("sent", [0, 1, 60, None], ids=["nothing", "a byte", "half", "all"])
@pytest.mark.parametrize("how", ["reset", "closed", "half-closed"])
async def test_who_goes_away_in_the_handshake_takes_nothing_along(
    door: str, sent: int | None, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    notebook = Notebook()
    async with open_streams(notebook=notebook) as rt, follower(rt, door) as other:
        for _ in range(10):
            stream = await trio.open_tcp_stream(*address(rt, door))
            if raw := request()[:sent]:
                await stream.send_all(raw)
            if how == "reset":
                await reset(stream)
            elif how == "closed":
                await stream.aclose()
            else:
                await stream.send_eof()
                with trio.fail_after(5):
                    try:
                        while await stream.receive_some():
                            pass
                    except trio.BrokenResourceError:
                        pass
                await stream.aclose()
        await rt.streams.chat.set("r", "a", {})
        assert (await other.event())[0] == "create"
        await until(lambda: rt.crowd.connections == 1)
    assert not notebook.of(StreamConnectionFailed)
    assert not caplog.records


@both_doors
async def test_who_goes_away_while_it_is_authenticated_gives_its_place_back(door: str) -> None:
    reached, release = trio.Event(), trio.Event()

    async def authenticate(handshake: Any) -> None:
        reached.set()
        await release.wait()

    notebook = Notebook()
    async with open_streams(app=app_of(authenticate), notebook=notebook) as rt:
        stream = await trio.open_tcp_stream(*address(rt, door))
        await stream.send_all(request())
        await reached.wait()
        await reset(stream)
        release.set()
        await until(lambda: rt.crowd.connections == 0)
    assert not notebook.of(StreamConnectionFailed)


async def test_what_comes_before_the_client_was_let_in_is_not_collected() -> None:
    """A client that is asked about cannot fill the memory meanwhile; what it said is read later."""
    release = trio.Event()

    async def authenticate(handshake: Any) -> None:
        await release.wait()

    async with open_streams(app=app_of(authenticate), notebook=Notebook()) as rt:
        async with connected(rt) as peer:
            await peer.stream.send_all(request())
            await trio.sleep(0.05)
            await peer.send(join())
            flooded = 0
            with trio.move_on_after(0.5):
                while True:
                    await peer.stream.send_all(text({"type": "x" * 60_000}))
                    flooded += 60_000
            assert flooded < 30_000_000  # what two sockets hold
            release.set()
            await peer.be_answered()
            assert peer.status == 101
            assert await peer.event() == ("sync", [])


async def test_a_handshake_that_dribbles_in_is_let_go_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one is that does not come at all."""
    from motia_trio.stream_server import connections

    monkeypatch.setattr(connections, "HANDSHAKE_WITHIN", 0.4)
    notebook = Notebook()
    async with open_streams(notebook=notebook) as rt:
        began = time.monotonic()
        async with connected(rt) as silent, connected(rt) as slow, trio.open_nursery() as nursery:

            async def dribble() -> None:
                try:
                    for byte in request():
                        await slow.stream.send_all(bytes([byte]))
                        await trio.sleep(0.02)
                except trio.BrokenResourceError:
                    pass

            nursery.start_soon(dribble)
            assert await silent.frame() is None
            assert await slow.frame() is None
        assert 0.3 < time.monotonic() - began < 3
    assert not notebook.of(StreamConnectionFailed)
