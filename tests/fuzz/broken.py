"""What the tests of broken requests attack, how they read what comes back, and what has to hold."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psutil
import trio
import trio.testing
from attrs import frozen

from motia_trio import MotiaHttpArgs, Service, http, step
from motia_trio.events import ActorCrashed, AskFailed, RequestAnswered
from tests.http_server.wire import connect, read_to_end, served, status_of, tell
from tests.support import Notebook

if TYPE_CHECKING:
    import pytest

CLIENT_TIMEOUT = 0.3
REQUEST_TIMEOUT = 0.6
LIMIT = 200_000
SETTINGS = {
    "client_timeout": CLIENT_TIMEOUT,
    "request_timeout": REQUEST_TIMEOUT,
    "body_limit": LIMIT,
}

PLAIN = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n"
BIG = b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n"


# ------------------------------------------------------------------------------------- the service


@step(http("GET", "/"), http("POST", "/"), http("PUT", "/"), http("GET", "/x/:id"), name="Hello")
async def hello(req: Any) -> Any:
    params = {"id": req.path_params.get("id"), "query": sorted(req.query_params)}
    return {"status": 200, "body": {"got": type(req.body).__name__, **params}}


ORDER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


@step(http("POST", "/orders", body_schema=ORDER), name="Order")
async def order(req: Any) -> Any:
    return {"status": 200, "body": {"n": req.body.n}}


@step(http("POST", "/form"), name="Form")
async def form(req: Any) -> Any:
    return {"status": 200, "body": {"names": sorted(req.body or ())}}


@step(http("POST", "/reader"), name="Reader")
async def reader(args: MotiaHttpArgs) -> Any:
    size = 0
    async for piece in args.request.request_body.stream:
        size += len(piece)
    return {"status": 200, "body": {"size": size}}


@step(http("GET", "/events"), name="Events")
async def events(req: Any) -> Any:
    async def three() -> AsyncIterator[Any]:
        for number in range(3):
            await trio.sleep(0.01)
            yield {"data": number}

    return {"status": 200, "body": three(), "headers": {"content-type": "text/event-stream"}}


@step(http("GET", "/endless"), name="Endless")
async def endless(req: Any) -> Any:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield bytes(20_000)

    return {"status": 200, "body": pieces()}


@step(http("GET", "/echo"), name="Echo")
async def echo(req: Any) -> Any:
    given = req.headers.get("x-echo", "")
    sent = re.sub(r"[\x00-\x08\x0a-\x1f\x7f]", "", given)  # which may come and may not be sent
    return {"status": 200, "body": "", "headers": {"x-echo": sent}}


@step(http("GET", "/slow", config={"timeout": 10}), name="Slow")  # however busy the machine is
async def slow(req: Any) -> Any:
    await trio.sleep(0.2)
    return {"status": 200, "body": "late"}


@step(http("GET", "/big"), name="Big")
async def big(req: Any) -> Any:
    return {"status": 200, "body": bytes(8_000_000)}


STEPS = (hello, order, form, reader, events, endless, echo, slow, big)


@frozen
class Target:
    """The service under attack. ``before``: files and tasks that were there before it."""

    rt: Service
    notebook: Notebook
    before: tuple[int, int]

    async def well(self) -> None:
        """A request of good will is answered at once."""
        with trio.fail_after(2):
            assert status_of(await tell(self.rt, PLAIN)) == 200

    async def settled(self, what: str, seconds: float = 5) -> None:
        """Wait until no more is open than there was, and nothing is at work."""
        with trio.move_on_after(seconds) as waiting:
            while self.rt.tree().in_flight or any(
                now > then for now, then in zip(_open(), self.before, strict=True)
            ):
                await trio.sleep(0.01)
        assert not waiting.cancelled_caught, (
            f"{what}: {self.rt.tree().in_flight} in flight; files and tasks: {_open()}, "
            f"before: {self.before}"
        )

    @property
    def paths(self) -> list[str]:
        """What was asked for, as observers were told."""
        return [event.path for event in self.notebook.of(RequestAnswered)]


def _open() -> tuple[int, int]:
    """Files and sockets that are open, and tasks of connections and their requests."""
    return psutil.Process().num_fds(), _tasks_in(trio.lowlevel.current_root_task())


def _tasks_in(task: trio.lowlevel.Task | None) -> int:
    """How many of the edge's tasks live below one."""
    assert task is not None
    below = [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    own = "http_server" in task.name or "hypercorn" in task.name
    return own + sum(map(_tasks_in, below))


@asynccontextmanager
async def attacked(caplog: pytest.LogCaptureFixture, **settings: Any) -> AsyncIterator[Target]:
    """A service to attack. What holds after any attack is checked when it is left.

    It answers, also where it was attacked; no task, socket or file is left over, and no handler
    runs; nothing was logged that anybody should read, and no handler failed.
    """
    notebook = Notebook()
    async with served(*STEPS, notebook=notebook, **{**SETTINGS, **settings}) as (rt, _):
        await tell(rt, PLAIN)
        await trio.testing.wait_all_tasks_blocked(0.005)
        target = Target(rt, notebook, _open())
        yield target
        await target.well()
        await target.settled("at the end")
    failed = [f"{event.step}: {event.error}" for event in notebook.of(AskFailed)]
    assert not failed, failed
    assert notebook.of(ActorCrashed) == []
    told = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not told, [f"{record.getMessage()} {record.exc_text or ''}" for record in told]


def objects() -> int:
    """How many objects live. It is what a leak makes more."""
    gc.collect()
    return len(gc.get_objects())


@asynccontextmanager
async def unhindered(seconds: float, what: str = "") -> AsyncIterator[None]:
    """Nothing in here may hold the loop for longer: others wait for that long."""
    longest = 0.0

    async def look() -> None:
        nonlocal longest
        while True:
            before = trio.current_time()
            await trio.sleep(0.001)
            longest = max(longest, trio.current_time() - before)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(look)
        yield
        nursery.cancel_scope.cancel()
    assert longest < seconds, f"{what}: the loop was held for {longest:.2f} s"


# --------------------------------------------------------------------------------------- what comes


@frozen
class Answer:
    """One answer as it stands on the wire. ``whole``: its body came to its end."""

    status: int
    headers: dict[bytes, bytes]
    body: bytes
    whole: bool


def answers_in(raw: bytes) -> list[Answer]:
    """Read all the answers in these bytes. They are nothing else, or the test fails."""
    answers: list[Answer] = []
    while raw:
        head, gap, rest = raw.partition(b"\r\n\r\n")
        line, *fields = head.split(b"\r\n")
        found = re.fullmatch(rb"HTTP/1\.1 (\d{3}) .*", line)
        assert found, f"not an answer: {raw[:80]!r}"
        assert gap, f"a head without an end: {raw[:80]!r}"
        headers = {}
        for field in fields:
            name, colon, value = field.partition(b": ")
            assert re.fullmatch(rb"[A-Za-z0-9-]+", name), f"not a header: {field!r}"
            assert colon
            headers[name.lower()] = value
        status = int(found[1])
        if status < 200 or status == 204:
            answers.append(Answer(status, headers, b"", whole=True))
            raw = rest
            continue
        if headers.get(b"transfer-encoding") == b"chunked":
            body, whole, raw = _dechunked(rest)
        elif b"content-length" in headers:
            length = int(headers[b"content-length"])
            body, raw, whole = rest[:length], rest[length:], len(rest) >= length
        else:
            body, raw, whole = rest, b"", True  # to the end of the connection
        answers.append(Answer(status, headers, body, whole))
    return answers


def _dechunked(raw: bytes) -> tuple[bytes, bool, bytes]:
    """The body in chunks that these bytes begin with, whether it is whole, and what follows it."""
    body = b""
    while True:
        line, gap, raw = raw.partition(b"\r\n")
        if not gap or not (size := int(line, 16)):
            return body, bool(gap) and raw.startswith(b"\r\n"), raw[2:]
        body += raw[:size]
        if len(raw) < size + 2:
            return body, False, b""
        assert raw[size : size + 2] == b"\r\n"
        raw = raw[size + 2 :]


def final(raw: bytes) -> tuple[int, ...]:
    """The statuses of the answers in these bytes, without those that announce others."""
    return tuple(answer.status for answer in answers_in(raw) if answer.status >= 200)


async def send_in_pieces(target: Target, *pieces: bytes, eof: bool = True) -> bytes:
    """Send pieces, of which the service reads each before the next is sent."""
    async with await connect(target.rt) as stream:
        try:
            for piece in pieces:
                await stream.send_all(piece)
                await trio.testing.wait_all_tasks_blocked(0.0005)
            if eof:
                await stream.send_eof()
        except trio.BrokenResourceError:
            pass
        return await read_to_end(stream)
