"""Those who do not read as fast as there is news: merged, then closed; the others get it all."""

from __future__ import annotations

from typing import Any

import trio

from motia_trio.events import StreamClientClosed, StreamConnectionFailed
from tests.stream_server.wire import Peer, both_doors, client, follower, join, open_streams, until
from tests.support import Notebook

PIECE = "x" * 20_000


@both_doors
async def test_who_does_not_read_is_closed_as_lagged_and_the_others_have_all(door: str) -> None:
    """Different items, which cannot be merged: 10 MB, and there is room for 4."""
    notebook = Notebook()
    number = 500
    async with open_streams(notebook=notebook, client_timeout=2) as rt:
        async with follower(rt, door) as deaf, follower(rt, door) as one, follower(rt) as two:
            heard: dict[str, list[Any]] = {"one": [], "two": []}

            async def read(name: str, peer: Peer) -> None:
                while len(heard[name]) < number:
                    kind, data = await peer.event()
                    heard[name].append((kind, data["id"]))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, "one", one)
                nursery.start_soon(read, "two", two)
                for each in range(number):
                    await rt.streams.chat.set("r", f"i{each}", {"text": PIECE})
                    if each % 20 == 19:
                        await trio.sleep(0.01)  # a pace at which others can read
            assert heard["one"] == heard["two"] == [("create", f"i{n}") for n in range(number)]
            await until(lambda: rt.crowd.connections == 2)
            # what was in its socket it can read, and no message out of its turn
            got = 0
            while (found := await deaf.frame()) is not None and found[0] == 1:
                assert f'"id":"i{got}"'.encode() in found[1]
                got += 1
            assert got < number
    codes = [each.code for each in notebook.of(StreamClientClosed)]
    assert codes[0] == 4008
    assert notebook.of(StreamClientClosed)[0].lagged
    assert not notebook.of(StreamConnectionFailed)


@both_doors
async def test_who_reads_late_is_told_that_it_lagged(door: str) -> None:
    async with open_streams(notebook=Notebook()) as rt, follower(rt, door) as late:
        for each in range(600):
            await rt.streams.chat.set("r", f"i{each}", {"text": PIECE})
        found = await late.ending()
        # at the port of streams it may have been given up by now; there is no room for words
        assert found is None or found == (4008, "lagged")


@both_doors
async def test_updates_of_the_same_items_are_merged_for_who_is_slow(door: str) -> None:
    """20 MB of updates; it lacks none of the last, and was never closed."""
    async with open_streams(notebook=Notebook()) as rt, follower(rt, door) as slow:
        for each in range(1000):
            await rt.streams.chat.set("r", f"i{each % 10}", {"text": PIECE, "n": each})
        state: dict[str, int] = {}
        heard = 0
        while state.get("i9") != 999:
            kind, data = await slow.event()
            assert kind == ("update" if data["id"] in state else "create")
            assert data["n"] > state.get(data["id"], -1)
            state[data["id"]] = data["n"]
            heard += 1
        assert state == {f"i{n}": 990 + n for n in range(10)}
        assert heard < 1000


@both_doors
async def test_an_answer_larger_than_every_bound_is_sent_whole(door: str) -> None:
    """A group of 12 MB; what is changed meanwhile comes behind it."""
    async with open_streams(notebook=Notebook()) as rt:
        for each in range(120):
            await rt.streams.chat.set("r", f"i{each:03}", {"text": "x" * 100_000})
        async with client(rt, door) as peer:
            await peer.send(join())
            await trio.sleep(0.05)
            await rt.streams.chat.set("r", "later", {"n": 1})
            kind, data = await peer.event()
            assert kind == "sync"
            assert len(data) in {120, 121}
            if len(data) == 120:
                assert await peer.event() == ("create", {"n": 1, "id": "later"})
