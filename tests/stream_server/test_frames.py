"""What clients say once they are in: good, bad, and none of a protocol's; nobody else notices."""

from __future__ import annotations

import gc
import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

import pytest
import trio

from motia_trio import Service
from motia_trio.events import StreamClientClosed, StreamConnectionFailed
from motia_trio.streams.rooms import Subscription
from tests.stream_server.wire import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Peer,
    both_doors,
    client,
    follower,
    frame,
    join,
    open_streams,
    text,
    until,
)
from tests.support import Notebook


@asynccontextmanager
async def beside_another(
    door: str, notebook: Notebook | None = None, **settings: Any
) -> AsyncIterator[tuple[Service, Peer]]:
    """A client, and another that must get all of ten changes that are made in the end."""
    notebook = notebook or Notebook()
    async with open_streams(notebook=notebook, **settings) as rt:
        async with follower(rt) as one, follower(rt, "http") as two, client(rt, door) as peer:
            yield rt, peer
            for number in range(10):
                await rt.streams.chat.set("r", "item", {"n": number})
            for other in (one, two):
                for number in range(10):
                    kind, data = await other.event()
                    assert kind == ("update" if number else "create")
                    assert data == {"id": "item", "n": number}
        await until(lambda: rt.crowd.connections == rt.crowd.subscriptions == 0)
    assert not notebook.of(StreamConnectionFailed)


# frames that are JSON, or should be

GOOD = {"streamName": "chat", "groupId": "r", "subscriptionId": "1"}
BAD: dict[str, str] = {
    "nothing": "",
    "no JSON": "rubbish",
    "half": '{"type":"join"',
    "two": "{} {}",
    "nan": '{"type": NaN}',
    "deep": "[" * 20_000,
    "deep and whole": "[" * 10_000 + "]" * 10_000,
    "deep objects": '{"a":' * 10_000,
    "null": "null",
    "number": "1",
    "huge number": "1" * 50_000,
    "list": "[]",
    "string": '"join"',
    "no type": "{}",
    "type": '{"type":"jump","data":{}}',
    "type of type": '{"type":["join"],"data":{}}',
    "object for type": '{"type":{"a":1},"data":{}}',
    "no data": '{"type":"join"}',
    "data": '{"type":"join","data":[]}',
    "surrogate": '{"type":"join","data":{"streamName":"chat","groupId":"\\ud800","subscriptionId":"1"}}',
    "twice": '{"type":"join","type":"jump"}',
}
WRONG: dict[str, list[Any]] = {
    **{name: [None, 1, [], {}, "", "x" * 10_000] for name in GOOD},
    "id": [1, [], {}, "", "x" * 10_000],
    "since": [-1, 1.5, "1", True, 2**53, 10**400, []],
}
for _name in GOOD:
    _data = {name: value for name, value in GOOD.items() if name != _name}
    BAD[f"no {_name}"] = json.dumps({"type": "join", "data": _data})
for _name, _values in WRONG.items():
    for _value in _values:
        _text = json.dumps({"type": "join", "data": {**GOOD, _name: _value}})
        BAD[f"{_name} {_value!s:.5}"] = _text


@both_doors
async def test_a_bad_frame_is_answered_with_an_error(door: str) -> None:
    """And whoever sent it stays, and can do better."""
    async with open_streams(notebook=Notebook()) as rt, follower(rt, door) as other:
        for kind, raw in BAD.items():
            async with client(rt, door) as peer:
                await peer.stream.send_all(frame(TEXT, raw))
                heard = await peer.hear()
                assert heard["type"] == "error", (kind, heard)
                assert 5 < len(heard["message"]) < 300, (kind, heard)
                await peer.send(join("other"))
                assert await peer.event() == ("sync", []), kind
        await rt.streams.chat.set("r", "a", {})
        assert (await other.event())[0] == "create"


@both_doors
async def test_a_frame_of_an_unknown_stream_is_an_error_and_a_leave_of_nothing_is_nothing(
    door: str,
) -> None:
    async with beside_another(door) as (_, peer):
        await peer.send(join(name="nope"))
        assert (await peer.hear())["message"] == "join: no stream 'nope'"
        await peer.send({**join(), "type": "leave"})
        await peer.send(join())
        assert (await peer.event())[0] == "sync"


@both_doors
async def test_who_sends_nothing_but_rubbish_is_sent_away(door: str) -> None:
    notebook = Notebook()
    async with beside_another(door, notebook) as (_, peer):
        for _ in range(100):
            try:
                await peer.stream.send_all(frame(TEXT, "rubbish"))
            except trio.BrokenResourceError:
                break
        assert await peer.ending() == (1008, "too many bad frames")
    assert [each.code for each in notebook.of(StreamClientClosed)].count(1008) == 1


# frames that are none of ours, or of nobody


@both_doors
@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff\xfe" * 100], ids=["empty", "json", "rubbish"])
async def test_a_binary_frame_ends_the_connection_with_1003(door: str, raw: bytes) -> None:
    async with beside_another(door) as (_, peer):
        await peer.stream.send_all(frame(BINARY, raw))
        assert await peer.ending() == (1003, "expected text: JSON")


@both_doors
@pytest.mark.parametrize(
    "raw", [b"\xff\xfe", b'{"type":"\xc3("}', b"\xed\xa0\x80", b"ok \xe2\x82"],
    ids=["no start", "no end", "surrogate", "cut off"],
)  # fmt: skip
async def test_text_that_is_no_utf_8_ends_the_connection_with_1007(door: str, raw: bytes) -> None:
    async with beside_another(door) as (_, peer):
        await peer.stream.send_all(frame(TEXT, raw))
        found = await peer.ending()
        assert found is not None
        assert found[0] == 1007


@both_doors
@pytest.mark.parametrize("size", [65_537, 1_048_576, 5_000_000])
@pytest.mark.parametrize("pieces", [1, 7])
async def test_a_message_beyond_the_limit_ends_the_connection_with_1009(
    door: str, size: int, pieces: int
) -> None:
    """In one frame or in several; the client is told, though it is still sending."""
    notebook = Notebook()
    async with beside_another(door, notebook) as (_, peer):
        part = size // pieces + 1
        raw = b"".join(
            frame(0 if number else TEXT, "x" * part, fin=number == pieces - 1)
            for number in range(pieces)
        )
        found: list[Any] = []
        async with trio.open_nursery() as nursery:

            async def listen() -> None:
                found.append(await peer.ending())

            nursery.start_soon(listen)
            try:
                await peer.stream.send_all(raw)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
        assert found[0] is not None
        assert found[0][0] == 1009


@both_doors
async def test_a_message_may_be_as_long_as_the_limit(door: str) -> None:
    async with beside_another(door, stream_frame_limit=1000) as (_, peer):
        raw = json.dumps(join())
        await peer.stream.send_all(frame(TEXT, raw + " " * (1000 - len(raw))))
        assert (await peer.event())[0] == "sync"
        await peer.stream.send_all(frame(TEXT, raw + " " * (1001 - len(raw))))
        found = await peer.ending()
        assert found is not None
        assert found[0] == 1009


BROKEN: dict[str, bytes] = {
    "not masked": frame(TEXT, "{}", masked=False),
    "reserved bit": frame(TEXT, "{}", rsv=1),
    "compressed": frame(TEXT, b"\xaa\x56\x2a\xa9\x2c\x48\x05\x00", rsv=4),
    "reserved opcode": frame(3, "{}"),
    "reserved control": frame(11, b""),
    "long ping": frame(PING, b"x" * 126),
    "ping in parts": frame(PING, b"x", fin=False),
    "goes on from nothing": frame(0, b"x"),
    "text in text": frame(TEXT, "{", fin=False) + frame(TEXT, "}"),
    "short close": frame(CLOSE, b"\x03"),
    "close code": frame(CLOSE, struct.pack("!H", 1005)),
    "close reason": frame(CLOSE, struct.pack("!H", 1000) + b"\xff"),
    "length too long": b"\x81\xff" + b"\xff" * 8 + bytes(100),
    "length not least": b"\x81\xfe\x00\x05" + bytes(4) + b"hello",
    "http": b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    "zeros": bytes(10_000),
    "noise": bytes(range(256)) * 200,
}


@both_doors
@pytest.mark.parametrize("kind", BROKEN)
async def test_what_is_no_frame_ends_the_connection(
    door: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with beside_another(door) as (_, peer):
        await peer.stream.send_all(BROKEN[kind])
        found = await peer.ending()
        if door == "streams" and kind != "length too long":
            assert found is not None
        assert found is None or found[0] in {1000, 1002, 1005, 1007, 1009}, found
    assert not caplog.records


@both_doors
async def test_a_message_may_come_in_parts_with_pings_between_them(door: str) -> None:
    async with beside_another(door) as (_, peer):
        raw = json.dumps(join()).encode()
        for place, byte in enumerate(raw):
            last = place == len(raw) - 1
            await peer.stream.send_all(frame(0 if place else TEXT, bytes([byte]), fin=last))
            if place % 20 == 3:
                await peer.stream.send_all(frame(PING, b"p%d" % place))
        pongs = []
        while (found := await peer.frame()) is not None and found[0] == PONG:
            pongs.append(found[1])
        assert pongs == [b"p%d" % place for place in range(3, len(raw), 20)]
        assert found is not None
        assert json.loads(found[1])["event"]["type"] == "sync"


@both_doors
async def test_bytes_may_come_one_by_one_and_many_messages_at_once(door: str) -> None:
    async with beside_another(door) as (_, peer):
        for byte in text(join("g0", number=0)):
            await peer.stream.send_all(bytes([byte]))
        assert (await peer.hear())["groupId"] == "g0"
        await peer.stream.send_all(b"".join(text(join(f"g{n}", number=n)) for n in range(1, 300)))
        heard = {(await peer.hear())["groupId"] for _ in range(299)}
        assert heard == {f"g{n}" for n in range(1, 300)}


@both_doors
async def test_a_client_that_says_goodbye_is_answered(door: str) -> None:
    async with beside_another(door) as (rt, peer):
        await peer.send(join("mine"))
        await peer.hear()
        await peer.stream.send_all(frame(CLOSE, struct.pack("!H", 1000) + b"bye"))
        assert await peer.ending() == (1000, "bye")
        await until(lambda: rt.shared.hub.presence("chat", "mine") == 0)


@both_doors
@pytest.mark.parametrize("how", ["reset", "closed", "half-closed"])
async def test_a_client_that_is_gone_has_left(door: str, how: str) -> None:
    async with beside_another(door) as (rt, peer):
        await peer.send(join("mine"))
        await peer.hear()
        assert await rt.streams.chat.presence("mine") == 1
        stream = peer.stream
        assert isinstance(stream, trio.SocketStream)
        if how == "half-closed":
            await stream.send_eof()
        else:
            if how == "reset":
                stream.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
        await until(lambda: rt.shared.hub.presence("chat", "mine") == 0)


@both_doors
async def test_who_joins_and_leaves_for_ever_and_never_reads_takes_no_memory(door: str) -> None:
    """What was left again before it could be answered is not kept."""
    async with beside_another(door) as (rt, peer):
        big = "x" * 1_000_000
        for number in range(8):
            await rt.streams.chat.set("big", str(number), {"text": big})
        leave = {**join("small", number=2), "type": "leave"}
        await peer.send(join("big"))  # an answer that no socket holds
        pairs = (text(join("small", number=2)) + text(leave)) * 200
        for _ in range(20):
            await peer.stream.send_all(pairs)
        # what the connection has not read yet is in the sockets
        await trio.sleep(0.05)
        assert sum(type(each) is Subscription for each in gc.get_objects()) < 20
        assert (await peer.event())[0] == "sync"
