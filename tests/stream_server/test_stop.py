"""The end of the service: what waits is sent, then 1001; and nobody can hold it up."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio

from motia_trio import App, Service, http, open_runtime, step
from motia_trio.events import StreamClientClosed, StreamConnectionFailed
from motia_trio.stream_server import asgi, connections
from tests.stream_server.wire import (
    CLOSE,
    TEXT,
    Peer,
    address,
    both_doors,
    client,
    connected,
    follower,
    join,
    open_streams,
    request,
)
from tests.support import Notebook

BIG = "x" * 200_000


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients have little time to say goodbye, so that the tests have little to wait."""
    for place in (asgi, connections):
        monkeypatch.setattr(place, "CLOSE_WITHIN", 0.4)


@both_doors
async def test_what_waits_is_sent_and_then_1001(door: str) -> None:
    """To one whose socket holds none of it yet, and who begins to read when the stop began."""
    notebook = Notebook()
    heard: list[Any] = []
    async with trio.open_nursery() as nursery:
        async with open_streams(notebook=notebook) as rt:
            stream = await trio.open_tcp_stream(*address(rt, door))

            async def read() -> None:
                async with stream:
                    peer = await Peer(stream).shake(request())
                    await peer.send(join())
                    assert (await peer.event())[0] == "sync"
                    joined.set()
                    await stopping.wait()
                    while True:
                        found = await peer.frame()
                        assert found is not None
                        heard.append(found[1][-60:] if found[0] == TEXT else found[1])
                        if found[0] == CLOSE:
                            break

            joined, stopping = trio.Event(), trio.Event()
            nursery.start_soon(read)
            await joined.wait()
            for number in range(20):  # 4 MB
                await rt.streams.chat.set("r", f"i{number}", {"text": BIG, "n": number})
            nursery.start_soon(_later, stopping)
    assert len(heard) == 21
    assert [f'"n":{number}}}' in str(raw) for number, raw in enumerate(heard[:20])] == [True] * 20
    assert int.from_bytes(heard[-1][:2]) == 1001
    assert [each.code for each in notebook.of(StreamClientClosed)] == [1001]
    assert not notebook.of(StreamConnectionFailed)


async def _later(event: trio.Event) -> None:
    await trio.sleep(0.2)
    event.set()


@both_doors
async def test_who_never_reads_holds_a_stop_up_no_longer_than_its_bound(door: str) -> None:
    """The others have all of it meanwhile; this one is dropped."""
    notebook = Notebook()
    began = 0.0
    async with open_streams(notebook=notebook, shutdown_timeout=0.5, client_timeout=0.5) as rt:
        # left open, to show that the service does not wait for it
        deaf = [await _joined(rt, door) for _ in range(5)]
        others = [await _joined(rt, door) for _ in range(3)]
        for number in range(15):  # of which a socket holds 2 or 3 MB
            await rt.streams.chat.set("r", f"i{number}", {"text": BIG})
        async with trio.open_nursery() as nursery:

            async def read(peer: Any) -> None:
                for _ in range(15):
                    assert (await peer.event())[0] == "create"

            for other in others:
                nursery.start_soon(read, other)
        began = trio.current_time()
    took = trio.current_time() - began
    assert took < 3, f"the stop took {took:.1f} s"
    endings = [await other.ending() for other in others]
    assert [ending and ending[0] for ending in endings] == [1001] * 3
    for peer in [*deaf, *others]:
        await trio.aclose_forcefully(peer.stream)
    assert not notebook.of(StreamConnectionFailed)


async def _joined(rt: Service, door: str) -> Peer:
    peer = Peer(await trio.open_tcp_stream(*address(rt, door)))
    await peer.shake(request())
    await peer.send(join())
    assert (await peer.event())[0] == "sync"
    return peer


@both_doors
async def test_who_is_idle_in_its_handshake_or_being_asked_about_does_not_hold_a_stop_up(
    door: str,
) -> None:
    async def authenticate(handshake: Any) -> None:
        if handshake.token == "slow":
            reached.set()
            await trio.sleep_forever()

    reached = trio.Event()
    notebook = Notebook()
    app = App(streams=[{"name": "chat"}], authenticate=authenticate)
    async with trio.open_nursery() as nursery:
        async with open_streams(app=app, notebook=notebook, shutdown_timeout=0.3) as rt:
            silent = await trio.open_tcp_stream(*address(rt, door))
            half = await trio.open_tcp_stream(*address(rt, door))
            await half.send_all(request()[:40])
            asked = await trio.open_tcp_stream(*address(rt, door))
            await asked.send_all(request("/?authToken=slow"))
            await reached.wait()
            began = trio.current_time()
        assert trio.current_time() - began < 4
        nursery.cancel_scope.cancel()
    for stream in (silent, half, asked):
        await trio.aclose_forcefully(stream)
    assert not notebook.of(StreamConnectionFailed)


@both_doors
async def test_a_close_that_is_not_answered_does_not_hold_a_stop_up(door: str) -> None:
    async with open_streams(notebook=Notebook()) as rt:
        peer = await _joined(rt, door)
        began = trio.current_time()
    assert trio.current_time() - began < 3
    found = await peer.frame()
    assert found is not None
    assert int.from_bytes(found[1][:2]) == 1001
    await trio.aclose_forcefully(peer.stream)


async def test_nobody_is_let_in_once_the_stop_has_begun() -> None:
    """While a request is still being answered."""
    begun, release = trio.Event(), trio.Event()

    @step(http("GET", "/slow"), name="Slow")
    async def slow(req: Any, ctx: Any) -> Any:
        begun.set()
        await release.wait()
        await ctx.streams.chat.set("r", "last", {"n": 1})
        return {"status": 200, "body": "done"}

    app = App([slow], streams=[{"name": "chat"}])
    heard: list[Any] = []
    async with trio.open_nursery() as nursery:
        async with open_runtime(app, http="127.0.0.1:0", streams="127.0.0.1:0", observers=()) as rt:
            http_address, where = address(rt, "http"), address(rt)

            async def ask() -> None:
                async with await trio.open_tcp_stream(*http_address) as stream:
                    await stream.send_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
                    assert (await stream.receive_some()).startswith(b"HTTP/1.1 200")

            async def follow() -> None:
                async with follower(rt) as peer:
                    joined.set()
                    heard.append(await peer.event())
                    heard.append(await peer.ending())

            async def come_late() -> None:
                await trio.sleep(0.1)
                with suppress(OSError):
                    async with await trio.open_tcp_stream(*http_address):
                        heard.append("let in")
                release.set()

            joined = trio.Event()
            nursery.start_soon(follow)
            await joined.wait()
            nursery.start_soon(ask)
            await begun.wait()
            nursery.start_soon(come_late)
    # what the last request did was told before the end
    assert heard == [("create", {"n": 1, "id": "last"}), (1001, "the service is stopping")]
    with pytest.raises(OSError, match="all attempts"):
        await trio.open_tcp_stream(*where)


@both_doors
async def test_an_error_in_the_scope_ends_all_at_once(door: str) -> None:
    notebook = Notebook()
    with pytest.raises(ValueError, match="mine"):
        async with open_streams(notebook=notebook) as rt:
            peer = await _joined(rt, door)
            silent = await trio.open_tcp_stream(*address(rt, door))
            began = trio.current_time()
            raise ValueError("mine")
    assert trio.current_time() - began < 1
    await peer.ending()
    for stream in (peer.stream, silent):
        await trio.aclose_forcefully(stream)
    assert not notebook.of(StreamConnectionFailed)


@both_doors
async def test_hooks_of_those_who_were_there_run_once_in_the_end(door: str) -> None:
    left: list[str] = []

    async def on_leave(subscription: Any, ctx: Any) -> None:
        await trio.sleep(0.01)
        left.append(subscription.group_id)

    app = App(streams=[{"name": "chat", "onLeave": on_leave}])
    peers = []
    async with open_streams(app=app, notebook=Notebook()) as rt:
        for group in ("a", "b", "c"):
            peers.append(await _joined(rt, door))
            await peers[-1].send(join(group, number=group))
            assert (await peers[-1].event())[0] == "sync"
        await trio.aclose_forcefully(peers[0].stream)
        async with client(rt, door):
            pass
        async with connected(rt, door):
            pass
    for peer in peers:
        await trio.aclose_forcefully(peer.stream)
    assert sorted(left) == ["a", "b", "c", "r", "r", "r"]
