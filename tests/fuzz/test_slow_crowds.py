"""Crowds of slow clients beside good ones: the good are served as ever, the slow are let go.

The service is a process of its own, as it is for its clients. ``FUZZ_CROWD=2500`` makes the crowds
larger.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import trio

from tests.http_server.wire import read_one
from tests.support import Command, command, project

CROWD = int(os.environ.get("FUZZ_CROWD", "1000"))
# the clients share one process, which a larger crowd slows down as well
SIZE = max(1, CROWD / 1000)
TIMEOUT = 1.5 * SIZE
P99 = 0.5 * SIZE
MB = 1_000_000

HELLO = """
from motia_trio import http, step

@step(http("GET", "/"), name="Hello")
async def hello(req):
    return {"status": 200, "body": "hi"}
"""
BIG = """
from motia_trio import http, step

@step(http("GET", "/big"), name="Big")
async def big(req):
    return {"status": 200, "body": DATA}

DATA = bytes(8_000_000)
"""

PLAIN = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
DRIBBLED = b"GET / HTTP/1.1\r\nx: " + b"y" * 1000


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Command]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CROWD + 1000
    if soft < wanted <= hard or hard == resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    elif soft < wanted:
        pytest.skip(f"{hard} files may be open here, and {wanted} are needed")
    project(tmp_path, {"steps/hello_step.py": HELLO, "steps/big_step.py": BIG})
    options = ["--store", "memory:", "--client-timeout", str(TIMEOUT), "--log-level", "warning"]
    with command(tmp_path, *options, "--mailbox", str(2 * CROWD)) as running:
        yield running
        code, _, err = running.stop()
    assert code == 0
    assert err == ""


async def silent(stream: trio.SocketStream) -> None:
    """One that connects, and that is all."""


async def dribbling(stream: trio.SocketStream) -> None:
    """One that sends a byte a second."""
    for byte in DRIBBLED:
        await stream.send_all(bytes([byte]))
        await trio.sleep(1)


async def deaf(stream: trio.SocketStream) -> None:
    """One that asks for much, and reads nothing."""
    await stream.send_all(b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
    await trio.sleep(TIMEOUT + 1)


@pytest.mark.parametrize("kind", [silent, dribbling, deaf], ids=lambda kind: kind.__name__)
async def test_a_thousand_of_a_kind(
    kind: Callable[[trio.SocketStream], object], service: Command
) -> None:
    """All are let go in time; meanwhile each good request takes as long as it should."""
    url = urlsplit(service.url)
    process = psutil.Process(service.process.pid)
    took: list[float] = []
    gone: list[float] = []
    files, memory = process.num_fds(), process.memory_info().rss

    async def dial() -> trio.SocketStream:
        assert url.hostname is not None
        assert url.port is not None
        return await trio.open_tcp_stream(url.hostname, url.port)

    async def one() -> None:
        async with await dial() as stream:
            began = trio.current_time()
            async with trio.open_nursery() as nursery:

                async def act() -> None:
                    try:
                        await kind(stream)  # type: ignore[misc]
                    except trio.BrokenResourceError:
                        pass

                if kind is deaf:
                    await act()
                else:
                    nursery.start_soon(act)
                try:
                    while await stream.receive_some(65536):
                        pass
                except trio.BrokenResourceError:
                    pass
                gone.append(trio.current_time() - began)
                nursery.cancel_scope.cancel()

    async def good() -> None:
        async with await dial() as stream:
            while True:
                began = trio.current_time()
                await stream.send_all(PLAIN)
                assert (await read_one(stream)).startswith(b"HTTP/1.1 200")
                took.append(trio.current_time() - began)
                await trio.sleep(0.02)

    with trio.fail_after(TIMEOUT + 30 * SIZE):
        async with trio.open_nursery() as others:
            for _ in range(4):
                others.start_soon(good)
            await trio.sleep(0.2)
            async with trio.open_nursery() as crowd:
                for number in range(CROWD):
                    crowd.start_soon(one)
                    if number % 50 == 49:
                        await trio.sleep(0.01)
            assert len(gone) == CROWD
            grown = process.memory_info().rss - memory
            others.cancel_scope.cancel()
        while process.num_fds() > files:
            await trio.sleep(0.05)
    took.sort()
    assert len(took) > 100
    p99 = took[int(len(took) * 0.99)]
    assert p99 < P99, f"p99 of the good ones: {p99:.2f} s"
    assert min(gone) > TIMEOUT * 0.6
    assert grown < CROWD * 200_000
