"""Those who say nothing: pinged, and dropped when they do not answer; and what is not compressed."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from motia_trio import Service
from motia_trio.events import StreamClientClosed, StreamConnectionFailed
from tests.stream_server.wire import (
    BINARY,
    PING,
    PONG,
    Peer,
    both_doors,
    client,
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


@asynccontextmanager
async def pinging(
    interval: float, patience: float, notebook: Notebook | None = None
) -> AsyncIterator[Service]:
    async with open_streams(
        notebook=notebook or Notebook(),
        stream_ping_interval=interval,
        stream_ping_timeout=patience,
        client_timeout=0.5,  # what the port of HTTP gives a client to take 64 KiB
    ) as rt:
        yield rt


async def pings_of(peer: Peer, number: int) -> None:
    """Answer so many pings."""
    answered = 0
    while answered < number:
        found = await peer.frame()
        assert found is not None, f"dropped after {answered} pings"
        if found[0] == PING:
            await peer.stream.send_all(frame(PONG, found[1]))
            answered += 1


@both_doors
async def test_who_answers_pings_stays_and_who_does_not_is_dropped(door: str) -> None:
    notebook = Notebook()
    async with pinging(0.1, 0.1, notebook) as rt:
        async with follower(rt, door, "mine") as deaf, follower(rt, door) as good:
            began = trio.current_time()
            with trio.fail_after(5):
                await pings_of(good, 4)
            found = await deaf.frame()
            assert found is not None
            assert found[0] == PING
            assert await deaf.ending() is None
            assert trio.current_time() - began > 0.3
            await until(lambda: rt.shared.hub.presence("chat", "mine") == 0)
            assert rt.shared.hub.presence("chat", "r") == 1
            await rt.streams.chat.set("r", "a", {})
            assert (await good.event())[0] == "create"
            assert [each.code for each in notebook.of(StreamClientClosed)] == [1006]
    assert not notebook.of(StreamConnectionFailed)


@both_doors
async def test_who_talks_is_not_pinged(door: str) -> None:
    async with pinging(0.3, 5) as rt, client(rt, door) as peer:
        for number in range(30):
            await peer.send(join("g", number=number))
            found = await peer.frame()
            assert found is not None
            assert found[0] != PING
            await trio.sleep(0.02)


@both_doors
async def test_pings_of_a_client_are_answered_with_what_they_carry(door: str) -> None:
    async with pinging(20, 20) as rt, client(rt, door) as peer:
        for payload in (b"", b"x", bytes(range(125))):
            await peer.stream.send_all(frame(PING, payload))
            assert await peer.frame() == (PONG, payload)
        await peer.stream.send_all(frame(PONG, b"nobody asked"))
        await peer.send(join())
        assert (await peer.event())[0] == "sync"


@both_doors
async def test_who_is_told_much_and_reads_nothing_is_dropped_for_its_silence(door: str) -> None:
    """What waits to be sent to it does not keep it there."""
    notebook = Notebook()
    async with pinging(0.2, 0.2, notebook) as rt, follower(rt, door):
        for number in range(12):
            await rt.streams.chat.set("r", str(number % 2), {"text": "x" * 500_000})
        await until(lambda: rt.crowd.connections == 0, 5)
    assert not notebook.of(StreamConnectionFailed)


@both_doors
async def test_who_pings_for_ever_and_reads_nothing_is_dropped(door: str) -> None:
    """Its pongs stay with it: nothing of them is collected here."""
    async with pinging(0.2, 0.2) as rt:
        async with follower(rt, door) as peer:
            flood = frame(PING, bytes(125)) * 1000
            with trio.move_on_after(8) as limit:
                try:
                    while True:
                        await peer.stream.send_all(flood)
                except trio.BrokenResourceError:
                    pass
            assert not limit.cancelled_caught
            await until(lambda: rt.crowd.connections == 0)


@both_doors
async def test_no_compression_is_agreed_to(door: str) -> None:
    """A small message could become as large as it likes, and each client would cost 300 kB."""
    async with pinging(20, 20) as rt, connected(rt, door) as peer:
        await peer.shake(
            request(sec_websocket_extensions="permessage-deflate; client_max_window_bits")
        )
        assert peer.status == 101
        assert peer.header("sec-websocket-extensions") is None
        await peer.stream.send_all(text(join()))
        assert (await peer.event())[0] == "sync"


@both_doors
async def test_a_ping_that_crosses_our_goodbye_hurts_nobody(door: str) -> None:
    notebook = Notebook()
    async with open_streams(notebook=notebook) as rt, client(rt, door) as peer:
        await peer.stream.send_all(frame(BINARY, b"x") + frame(PING, b"are you there?") * 3)
        assert await peer.ending() == (1003, "expected text: JSON")
        await until(lambda: rt.crowd.connections == 0)
    assert not notebook.of(StreamConnectionFailed)


@pytest.mark.parametrize("door", ["streams"])
async def test_a_half_closed_client_is_gone(door: str) -> None:
    async with pinging(20, 20) as rt, follower(rt, door) as peer:
        stream = peer.stream
        assert isinstance(stream, trio.SocketStream)
        await stream.send_all(frame(8, struct.pack("!H", 1001)))
        await stream.send_eof()
        assert await peer.ending() == (1001, "")
        await until(lambda: rt.crowd.connections == 0)
