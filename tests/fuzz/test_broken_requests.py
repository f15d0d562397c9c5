"""Broken requests over real sockets: each is answered or closed, and the service is well.

``FUZZ_MUTATIONS=20000`` makes more of the random ones.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from typing import Any

import pytest
import trio
import trio.testing

from motia_trio.events import RequestAnswered
from tests.fuzz.broken import (
    BIG,
    CLIENT_TIMEOUT,
    PLAIN,
    REQUEST_TIMEOUT,
    SLOW,
    Target,
    answers_in,
    attacked,
    final,
    objects,
    send_in_pieces,
    unhindered,
)
from tests.fuzz.broken_cases import (
    ABC,
    BODIES,
    CLOSED,
    END,
    GROUPS,
    KEPT,
    KEY,
    MULTIPART,
    NAMED,
    NEXT,
    SMUGGLING,
    VALID,
    Case,
    chunked,
    framed,
    get,
    mutated,
    part,
    post,
    upgrade,
)
from tests.http_server.wire import connect, read_to_end, status_of, tell

MUTATIONS = int(os.environ.get("FUZZ_MUTATIONS", "2000"))
CASES = [*SMUGGLING, *KEPT, *CLOSED, *BODIES]
Log = pytest.LogCaptureFixture


def wrong(
    found: dict[str, tuple[int, ...]], expected: dict[str, tuple[int, ...]]
) -> dict[str, Any]:
    """What differs: by name, what came and what had to come."""
    return {
        name: (found[name], expected[name]) for name in expected if found[name] != expected[name]
    }


@pytest.mark.parametrize("group", GROUPS)
async def test_each_has_its_answer(group: str, caplog: Log) -> None:
    """And nothing else; the loop is not held, nothing is left over, and the next one is served."""
    found = {}
    async with attacked(caplog) as target:
        for case in GROUPS[group]:
            async with unhindered(0.5, case.name):
                answer = await tell(target.rt, case.raw)
            assert all(each.whole for each in answers_in(answer)), case.name
            found[case.name] = final(answer)
            await target.well()
            await target.settled(case.name)
    assert wrong(found, {case.name: case.answers for case in GROUPS[group]}) == {}


@pytest.mark.parametrize("more", [b"", b"expect: 100-continue\r\n"], ids=["sends", "asks first"])
async def test_a_body_that_is_declared_too_large_is_not_waited_for(
    more: bytes, caplog: Log
) -> None:
    async with attacked(caplog) as target:
        raw = framed(more + b"content-length: 99999999999", b"" if more else b"abc")
        assert final(await tell(target.rt, raw, eof=False)) == (413,)


async def test_what_follows_on_a_connection_that_ends_is_not_read_as_a_request(caplog: Log) -> None:
    found = {}
    async with attacked(caplog) as target:
        for case in [*SMUGGLING, *CLOSED]:
            found[case.name] = final(await tell(target.rt, case.raw + NEXT))
            assert "/x/next" not in target.paths, case.name
    assert wrong(found, {case.name: case.answers for case in [*SMUGGLING, *CLOSED]}) == {}


async def test_what_follows_an_odd_request_is_answered(caplog: Log) -> None:
    found = {}
    async with attacked(caplog) as target:
        for case in KEPT:
            answer = await tell(target.rt, case.raw + NEXT)
            assert b'"id":"next"' in answers_in(answer)[-1].body, case.name
            found[case.name] = final(answer)
    assert wrong(found, {case.name: (*case.answers, 200) for case in KEPT}) == {}


async def test_each_is_closed_in_time_if_its_client_does_nothing_more(caplog: Log) -> None:
    """Those that wait for more, and those that may send another: all at once, and twice.

    The second time leaves no more behind than the first one did.
    """

    async def one(target: Target, case: Case) -> None:
        async with await connect(target.rt) as stream:
            try:
                await stream.send_all(case.raw)
            except trio.BrokenResourceError:
                pass
            await read_to_end(stream, CLIENT_TIMEOUT + REQUEST_TIMEOUT + 4)

    async with attacked(caplog) as target:
        lived = []
        for _ in range(3):
            async with trio.open_nursery() as nursery:
                for case in CASES:
                    nursery.start_soon(one, target, case)
            await target.well()
            target.notebook.events.clear()
            await trio.sleep(0.1)
            lived.append(objects())
        assert lived[2] - lived[1] < 500, lived


async def test_byte_by_byte_the_answer_is_the_same(caplog: Log) -> None:
    """However it comes: a head that is too large by its size in one piece is so in many."""
    small = [case for case in CASES if len(case.raw) < 400]
    assert len(small) > 80
    found: dict[str, Any] = {}

    async def one(target: Target, case: Case) -> None:
        async with await connect(target.rt) as stream:
            try:
                for byte in case.raw:
                    await stream.send_all(bytes([byte]))
                    await trio.lowlevel.checkpoint()
                await stream.send_eof()
            except trio.BrokenResourceError:
                pass
            found[case.name] = final(await read_to_end(stream))

    async with attacked(caplog, client_timeout=5) as target:
        async with trio.open_nursery() as nursery:
            for case in small:
                nursery.start_soon(one, target, case)
    silent = [name for name, answers in found.items() if not answers]
    asked = {case.name: case.answers for case in small if case.name not in silent}
    for name in ("websocket: frames ahead", "websocket: a body"):
        assert found.pop(name, (403,)) == (403,)  # whose frames come behind its answer, so
        asked.pop(name, None)
    assert wrong(found, asked) == {}
    # what is refused before it is all there may be reset by what still comes
    assert len(silent) < 10


@pytest.mark.parametrize("raw", VALID[1:8:3], ids=["JSON", "form", "chunks"])
async def test_cut_in_two_at_any_place_it_is_the_same_request(raw: bytes, caplog: Log) -> None:
    async with attacked(caplog) as target:
        for place in range(1, len(raw)):
            answer = await send_in_pieces(target, raw[:place], raw[place:])
            assert final(answer) == (200,), place


async def test_cut_off_at_any_place_it_is_not_a_request(caplog: Log) -> None:
    """Half-closed there: an error or nothing; dropped there: nothing. The handler never runs."""
    raw = VALID[1]
    async with attacked(caplog) as target:
        for place in range(len(raw)):
            answer = await tell(target.rt, raw[:place])
            assert final(answer) in {(400,), ()}, place
            async with await connect(target.rt) as stream:
                await stream.send_all(raw[:place])
                await trio.aclose_forcefully(stream)
        for event in target.notebook.of(RequestAnswered):
            assert event.path != "/orders" or event.status == 400


async def test_ten_in_a_row_are_answered_in_order(caplog: Log) -> None:
    """The slow one among them holds up those behind it, and no others."""
    row = [get(b"/x/%d" % number) for number in range(10)]
    row[3] = SLOW
    async with attacked(caplog) as target:
        answers = answers_in(await tell(target.rt, b"".join(row)))
    assert [answer.status for answer in answers] == [200] * 10
    assert answers[3].body == b"late"
    ids = [b'"id":"%d"' % number for number in range(10) if number != 3]
    bodies = [answer.body for answer in answers if answer.body != b"late"]
    assert all(name in body for name, body in zip(ids, bodies, strict=True))


@pytest.mark.parametrize(
    "broken",
    [b"GARBAGE\r\n\r\n", SMUGGLING[0].raw, framed(b"content-length: x", b""), chunked(b"zz\r\n")],
    ids=["rubbish", "both lengths", "bad length", "bad chunk"],
)
async def test_a_broken_one_in_the_middle_ends_the_row(broken: bytes, caplog: Log) -> None:
    """Those before it have their answers, those behind it are not read."""
    async with attacked(caplog) as target:
        answer = await tell(target.rt, PLAIN * 4 + broken + NEXT * 5)
        assert final(answer) == (200, 200, 200, 200, 400)
        assert "/x/next" not in target.paths


async def test_five_thousand_in_a_row_do_not_hold_up_others(caplog: Log) -> None:
    async with attacked(caplog) as target:
        async with unhindered(0.5), trio.open_nursery() as nursery:
            nursery.start_soon(tell, target.rt, PLAIN * 5000)
            nursery.start_soon(tell, target.rt, get(b"/nope") * 5000)
            for _ in range(10):
                await target.well()
                await trio.sleep(0.02)


@pytest.mark.parametrize(
    ("raw", "body"),
    [(SLOW, b"late"), (post(b"1"), b'"int"'), (chunked(ABC, b"/reader"), b'{"size":3}')],
    ids=["slow", "a body", "a reader"],
)
async def test_half_closed_behind_its_request_a_client_is_answered(
    raw: bytes, body: bytes, caplog: Log
) -> None:
    async with attacked(caplog) as target:
        (answer,) = answers_in(await tell(target.rt, raw))
        assert answer.status == 200
        assert body in answer.body


async def reset(stream: trio.SocketStream) -> None:
    """Close a connection as a client that crashes does."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await stream.aclose()


@pytest.mark.parametrize(
    "raw",
    [
        post(b"x" * 1000)[:-500],
        post(b"x" * 1000, path=b"/reader")[:-500],
        post(part(NAMED + b'; filename="f"', b"x" * 150_000) + END, kind=MULTIPART)[:-500],
        chunked(b"3\r\nabc\r\n", b"/reader"),
        SLOW,
        BIG,
        BIG * 3,
        get(b"/endless"),
        get(b"/events"),
        upgrade(*KEY),
    ],
    ids=[
        "body",
        "reader",
        "file",
        "chunks",
        "slow",
        "big",
        "bigs",
        "endless",
        "events",
        "websocket",
    ],
)
async def test_clients_that_reset_leave_nothing_behind(raw: bytes, caplog: Log) -> None:
    """At once, after a moment, and in the middle of an answer: in crowds."""

    async def one(target: Target, seconds: float, some: int) -> None:
        stream = await connect(target.rt)
        try:
            await stream.send_all(raw)
            await trio.sleep(seconds)
            if some:
                with trio.move_on_after(0.2):
                    await stream.receive_some(some)
        except trio.BrokenResourceError:
            pass
        await reset(stream)

    async with attacked(caplog) as target:
        for some in (0, 10_000):
            async with trio.open_nursery() as nursery:
                for number in range(10):
                    nursery.start_soon(one, target, number / 200, some)
            await target.well()


async def test_a_client_that_never_reads_is_let_go(caplog: Log) -> None:
    """Whatever it asked for, and however often."""
    nothing = b"OPTIONS * HTTP/1.1\r\nhost: x\r\n\r\n"
    rows = [BIG, BIG * 5, get(b"/endless"), PLAIN * 2000 + BIG, nothing * 2000 + BIG]
    async with attacked(caplog) as target:
        streams = []
        for raw in rows:
            stream = await connect(target.rt)
            with trio.move_on_after(1):
                await stream.send_all(raw)
            streams.append(stream)
        await target.well()
        await trio.sleep(CLIENT_TIMEOUT + 1)
        for stream in streams:
            await read_to_end(stream)
            await stream.aclose()


async def test_websocket_frames_before_there_is_a_websocket_close_the_connection(
    caplog: Log,
) -> None:
    async with attacked(caplog) as target:
        for pause in (0.0, 0.001, 0.05):
            async with await connect(target.rt) as stream:
                await stream.send_all(upgrade(*KEY))
                await trio.sleep(pause)
                with trio.move_on_after(0):
                    await stream.send_all(b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff")
                assert final(await read_to_end(stream)) in {(403,), ()}


async def test_headers_come_back_as_what_they_are(caplog: Log) -> None:
    """No header of a request becomes two of an answer."""
    async with attacked(caplog) as target:
        for value in (b"\xff\xfe", b'"', b"a\tb", b"%0d%0aset-cookie: a=b", b"\xc4\x8d\xc4\x8a"):
            (answer,) = answers_in(await tell(target.rt, get(b"/echo", b"x-echo: " + value)))
            assert answer.headers[b"x-echo"] == value
            assert b"set-cookie" not in answer.headers


async def test_random_changes_of_valid_requests_do_no_harm(caplog: Log) -> None:
    """Thousands of them. Each has answers that can be read as such, and none of a failure."""
    chance = random.Random(4)
    bad: list[tuple[bytes, bytes]] = []
    count = 0

    async def one(target: Target, raw: bytes) -> None:
        nonlocal count
        answer = await tell(target.rt, raw)
        head = b"HEAD " in raw
        try:
            statuses = [status_of(answer)] if head and answer else list(final(answer))
        except AssertionError:
            statuses = [999]
        count += bool(statuses)
        if any(status >= 500 and status not in {501, 505} for status in statuses):
            bad.append((raw, answer))

    async with attacked(caplog) as target:
        for _ in range(MUTATIONS // 50):
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(one, target, mutated(chance))
            target.notebook.events.clear()
    assert bad == [], bad[:3]
    assert count > MUTATIONS * 0.8
