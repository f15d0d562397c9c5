"""Other ways in: TLS, HTTP/2, and the streams as part of another server's ASGI application."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import h2.config
import h2.connection
import h2.events
import hypercorn.trio
import pytest
import trio
import trustme
from hypercorn.config import Config

from motia_trio import App, Service, open_runtime
from motia_trio.events import StreamConnectionFailed
from motia_trio.stream_server import asgi
from tests.stream_server.wire import (
    CLOSE,
    PING,
    PONG,
    TEXT,
    Peer,
    address,
    both_doors,
    connected,
    follower,
    frame,
    join,
    open_streams,
    request,
    text,
    until,
)
from tests.support import Notebook

AUTHORITY = trustme.CA()
CHAT = [{"name": "chat"}]


@pytest.fixture
def secure(tmp_path: Path) -> App:
    """An app with a certificate."""
    made = AUTHORITY.issue_cert("127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    return App(streams=CHAT, root=tmp_path, certfile="both.pem")


def trusting(*protocols: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    context.set_alpn_protocols(list(protocols) or ["http/1.1"])
    return context


@asynccontextmanager
async def encrypted(rt: Service, door: str) -> AsyncIterator[Peer]:
    """A client by TLS."""
    async with await trio.open_tcp_stream(*address(rt, door)) as tcp:
        stream = trio.SSLStream(tcp, trusting(), server_hostname="127.0.0.1", https_compatible=True)
        with trio.fail_after(20):
            yield await Peer(stream).shake(request())


@both_doors
async def test_streams_come_by_tls(secure: App, door: str) -> None:
    """Small and large, much at once, and the end with 1001."""
    async with open_streams(app=secure, notebook=Notebook()) as rt:
        assert str(rt.streams_url).startswith("wss://127.0.0.1:")
        async with encrypted(rt, door) as peer, encrypted(rt, door) as other:
            for each in (peer, other):
                assert each.status == 101
                await each.send(join())
                assert await each.event() == ("sync", [])
            for number in range(50):
                await rt.streams.chat.set("r", f"i{number}", {"text": "x" * 30_000})
            for each in (peer, other):
                for number in range(50):
                    kind, data = await each.event()
                    assert (kind, data["id"]) == ("create", f"i{number}")
            await other.stream.send_all(frame(2, b"rubbish"))
            assert await other.ending() == (1003, "expected text: JSON")


async def test_by_tls_too_the_silent_are_pinged(secure: App) -> None:
    settings: Any = {"stream_ping_interval": 0.1, "stream_ping_timeout": 0.1}
    async with open_streams(app=secure, notebook=Notebook(), **settings) as rt:
        async with encrypted(rt, "streams") as good, encrypted(rt, "streams") as deaf:
            for _ in range(4):
                found = await good.frame()
                assert found is not None, "dropped without being asked"
                assert found[0] == PING
                await good.stream.send_all(frame(PONG, found[1]))
            assert await deaf.ending() is None


@pytest.mark.parametrize("raw", [request(), b"\x16\x03\x01\x00\x05hello", b"", b"\x80" * 1000])
async def test_who_does_not_speak_tls_or_breaks_off_hurts_nobody(
    secure: App, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    notebook = Notebook()
    async with open_streams(app=secure, notebook=notebook) as rt:
        async with encrypted(rt, "streams") as peer:
            await peer.send(join())
            assert (await peer.event())[0] == "sync"
            for _ in range(5):
                async with connected(rt) as other:
                    await other.stream.send_all(raw)
            for _ in range(5):
                async with encrypted(rt, "streams") as other:
                    await trio.aclose_forcefully(other.stream)
            await rt.streams.chat.set("r", "a", {})
            assert (await peer.event())[0] == "create"
            await until(lambda: rt.crowd.connections == 1)
    assert not notebook.of(StreamConnectionFailed)
    assert not caplog.records


async def test_frames_that_are_none_are_told_by_tls_too(secure: App) -> None:
    async with open_streams(app=secure, notebook=Notebook()) as rt:
        for raw, code in (
            (frame(TEXT, b"\xff"), 1007),
            (frame(TEXT, "{}", masked=False), 1002),
            (frame(TEXT, "x" * 300_000), 1009),
        ):
            async with encrypted(rt, "streams") as peer:
                await peer.stream.send_all(raw)
                found = await peer.ending()
                assert found is not None
                assert found[0] == code


# HTTP/2


class Tunnel(trio.abc.Stream):
    """A web socket within HTTP/2, as bytes. Source: RFC 8441."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))
        self.status = ""
        self.came = b""
        self.over = False

    async def begin(self, **headers: str) -> None:
        self.h2.initiate_connection()
        await self._flush()
        await self._hear(lambda: self.h2.remote_settings.enable_connect_protocol)
        given = {
            ":method": "CONNECT", ":protocol": "websocket", ":scheme": "https", ":path": "/",
            ":authority": "test", "sec-websocket-version": "13",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }  # fmt: skip
        self.h2.send_headers(1, list(given.items()))
        await self._flush()
        await self._hear(lambda: self.status)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._hear(lambda: self.h2.local_flow_control_window(1) >= len(data) or self.over)
        if not self.over:
            self.h2.send_data(1, bytes(data))
            await self._flush()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self._hear(lambda: self.came or self.over)
        came, self.came = self.came, b""
        return came

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self.stream.aclose()

    async def _flush(self) -> None:
        await self.stream.send_all(self.h2.data_to_send())

    async def _hear(self, fact: Any) -> None:
        while not fact():
            data = await self.stream.receive_some(65536)
            for event in self.h2.receive_data(bytes(data)):
                if isinstance(event, h2.events.ResponseReceived):
                    headers: Any = event.headers
                    self.status = dict(headers)[":status"]
                elif isinstance(event, h2.events.DataReceived):
                    self.h2.acknowledge_received_data(event.flow_controlled_length, 1)
                    self.came += event.data
                elif isinstance(event, h2.events.StreamEnded | h2.events.StreamReset):
                    self.over = True
            if not data:
                self.over = True
                return
            await self._flush()


@asynccontextmanager
async def tunnelled(rt: Service, **headers: str) -> AsyncIterator[Tunnel]:
    async with await trio.open_tcp_stream(*address(rt, "http")) as tcp:
        context = trusting("h2")
        tunnel = Tunnel(
            trio.SSLStream(tcp, context, server_hostname="127.0.0.1", https_compatible=True)
        )
        with trio.fail_after(20):
            await tunnel.begin(**headers)
            yield tunnel


async def test_the_port_of_http_speaks_web_sockets_in_http_2(secure: App) -> None:
    async with open_streams(app=secure, notebook=Notebook()) as rt:
        async with tunnelled(rt) as tunnel:
            assert tunnel.status == "200"
            peer = Peer(tunnel)
            await peer.send(join())
            assert await peer.event() == ("sync", [])
            for number in range(20):
                await rt.streams.chat.set("r", f"i{number}", {"text": "x" * 50_000})
            for number in range(20):
                kind, data = await peer.event()
                assert (kind, data["id"]) == ("create", f"i{number}")
            await peer.stream.send_all(frame(TEXT, "rubbish"))
            assert (await peer.hear())["type"] == "error"
        await until(lambda: rt.crowd.connections == 0)


@pytest.mark.parametrize(
    ("raw", "code"),
    [(frame(2, b"x"), 1003), (frame(TEXT, b"\xff"), 1007), (frame(TEXT, "x" * 65_537), 1009)],
)
async def test_what_is_bad_ends_it_there_as_well(secure: App, raw: bytes, code: int) -> None:
    async with open_streams(app=secure, notebook=Notebook()) as rt:
        async with tunnelled(rt) as tunnel:
            for place in range(0, len(raw), 16_000):
                await tunnel.send_all(raw[place : place + 16_000])
            found = await Peer(tunnel).frame()
            assert found is not None
            assert found[0] == CLOSE
            assert int.from_bytes(found[1][:2]) == code
        await until(lambda: rt.crowd.connections == 0)


async def test_who_is_refused_is_answered_so_in_http_2(secure: App) -> None:
    async with open_streams(app=secure, notebook=Notebook(), stream_origins=[]) as rt:
        async with tunnelled(rt, origin="https://bad.example") as tunnel:
            assert tunnel.status == "403"


# another server


@asynccontextmanager
async def embedded(rt: Service) -> AsyncIterator[tuple[str, int]]:
    """``rt.asgi`` in hypercorn as it is."""
    config = Config()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = logging.getLogger("test.hypercorn")
    config.graceful_timeout = 1
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        serving: Any = hypercorn.trio.serve

        async def run(task_status: Any) -> None:
            await serving(rt.asgi, config, shutdown_trigger=stop.wait, task_status=task_status)

        (bind,) = await nursery.start(run)
        host, _, port = bind.removeprefix("http://").rpartition(":")
        yield host, int(port)
        stop.set()


async def test_streams_are_part_of_the_asgi_application() -> None:
    app = App(streams=CHAT, stream_origins=["https://good.example"])
    async with open_runtime(app, observers=()) as rt:
        async with embedded(rt) as where:
            async with await trio.open_tcp_stream(*where) as stream:
                with trio.fail_after(10):
                    peer = await Peer(stream).shake(request())
                    assert peer.status == 101
                    await peer.stream.send_all(text(join()))
                    assert await peer.event() == ("sync", [])
                    await rt.streams.chat.set("r", "a", {"n": 1})
                    assert await peer.event() == ("create", {"n": 1, "id": "a"})
                    await peer.stream.send_all(frame(TEXT, "rubbish"))
                    assert (await peer.hear())["type"] == "error"
                    await peer.stream.send_all(frame(TEXT, "x" * 65_537))
                    found = await peer.ending()
                    assert found is not None
                    assert found[0] == 1009
            async with await trio.open_tcp_stream(*where) as stream:
                with trio.fail_after(10):
                    peer = await Peer(stream).shake(request(origin="https://bad.example"))
                    assert peer.status == 403


async def test_who_follows_by_another_server_is_closed_with_1001(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """When the scope of the runtime is left, while that server still runs."""
    heard: list[Any] = []
    monkeypatch.setattr(asgi, "CLOSE_WITHIN", 0.5)
    app = App(streams=CHAT)
    async with trio.open_nursery() as nursery:
        async with open_runtime(app, observers=()) as rt:
            config = Config()
            config.bind = ["127.0.0.1:0"]
            config.errorlog = logging.getLogger("test.hypercorn")
            stop = trio.Event()
            serving: Any = hypercorn.trio.serve

            async def run(task_status: Any) -> None:
                await serving(rt.asgi, config, shutdown_trigger=stop.wait, task_status=task_status)

            (bind,) = await nursery.start(run)
            host, _, port = bind.removeprefix("http://").rpartition(":")
            stream = await trio.open_tcp_stream(host, int(port))
            peer = await Peer(stream).shake(request())
            await peer.send(join())
            assert await peer.event() == ("sync", [])

            async def follow() -> None:
                heard.append(await peer.event())
                heard.append(await peer.ending())
                await stream.aclose()
                stop.set()

            nursery.start_soon(follow)
            await rt.streams.chat.set("r", "a", {"n": 1})
    assert heard == [("create", {"n": 1, "id": "a"}), (1001, "the service is stopping")]


async def test_without_a_declared_stream_there_are_no_web_sockets() -> None:
    async with open_runtime(App([]), http="127.0.0.1:0", observers=()) as rt:
        async with connected(rt, "http") as peer:
            await peer.shake(request())
            assert peer.status in {403, 404}


async def test_a_second_client_of_an_own_port_is_not_one_of_the_other() -> None:
    """Both doors lead to the same crowd."""
    async with open_streams(notebook=Notebook()) as rt:
        async with follower(rt, "streams"), follower(rt, "http"):
            assert rt.crowd.connections == 2
            assert rt.shared.hub.presence("chat", "r") == 2
