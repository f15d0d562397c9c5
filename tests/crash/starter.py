"""Starts the service, kills it, and starts it again; and a client that knows what was answered."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import trio

__all__ = ["Client", "Starter", "starter"]

PROGRAM = Path(__file__).with_name("program.py")


@attrs.define
class Starter:
    """The process of ``program.py`` that starts the service."""

    process: trio.Process
    #: where the last run served streams, if it did
    streams: tuple[str, int] | None = None
    _heard: bytes = b""

    async def start(self, run: int, port: int | None = None) -> int:
        """Begin a run, which serves streams at a port if one is given; give the process's pid."""
        assert self.process.stdin is not None
        line = f"{run}\n" if port is None else f"{run} {port}\n"
        await self.process.stdin.send_all(line.encode())
        return int(await self._hear("pid"))

    async def ready(self) -> tuple[str, int] | None:
        """Wait until it serves; give where. None: it was killed before."""
        line = await self._line()
        if line.startswith("ended"):
            return None
        assert line.startswith("ready http://"), line
        _, http, streams = line.split()
        self.streams = None if streams == "None" else _address(streams)
        return _address(http)

    async def ended(self) -> int:
        """Wait until the service's process is gone; give how it ended."""
        return int(await self._hear("ended"))

    async def _hear(self, word: str) -> str:
        line = await self._line()
        while line.startswith("ready") and word == "ended":
            line = await self._line()
        assert line.startswith(word), f"{line!r}, and not {word!r}"
        return line.split()[1]

    async def _line(self) -> str:
        assert self.process.stdout is not None
        while b"\n" not in self._heard:
            more = await self.process.stdout.receive_some()
            assert more, "the starter has ended"
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode()


def _address(url: str) -> tuple[str, int]:
    host, _, port = url.partition("://")[2].partition(":")
    return host, int(port)


@asynccontextmanager
async def starter(folder: Path, program: Path = PROGRAM) -> AsyncIterator[Starter]:
    """Have a starter for the length of a scope. When this process ends, all of it ends."""
    root = PROGRAM.parents[2]
    leash, ours = os.pipe()
    try:
        process = await trio.lowlevel.open_process(
            [sys.executable, str(program), str(folder), str(leash)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            pass_fds=[leash],
            env={**os.environ, "PYTHONPATH": str(root)},
        )
        try:
            yield Starter(process)
        finally:
            os.close(ours)  # a service that runs ends with it
            ours = -1
            with trio.CancelScope(shield=True):
                assert process.stdin is not None
                await process.stdin.aclose()
                with trio.move_on_after(10) as limit:
                    await process.wait()
                if limit.cancelled_caught:
                    process.kill()
                    await process.wait()
    finally:
        os.close(leash)
        if ours >= 0:
            os.close(ours)


class Client:
    """One keep-alive connection. Small, so that the load is the service's and not the test's."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._heard = b""
        #: whether the next request needs another connection
        self.closed = False

    @classmethod
    async def connect(cls, address: tuple[str, int]) -> Client:
        return cls(await trio.open_tcp_stream(*address))

    async def post(self, path: str, body: Any) -> int:
        """Send a request, and give the answer's status once all of the answer is here."""
        return (await self.request("POST", path, json.dumps(body).encode()))[0]

    async def request(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        head = (
            f"{method} {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        await self._stream.send_all(head.encode() + body)
        while b"\r\n\r\n" not in self._heard:
            await self._more()
        raw, _, self._heard = self._heard.partition(b"\r\n\r\n")
        lines = raw.decode("latin-1").lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:])
        length = int(headers["content-length"])
        while len(self._heard) < length:
            await self._more()
        answer, self._heard = self._heard[:length], self._heard[length:]
        self.closed = headers.get("connection") == "close"
        return int(lines[0].split()[1]), answer

    async def _more(self) -> None:
        more = await self._stream.receive_some()
        if not more:
            raise trio.BrokenResourceError("closed")
        self._heard += more

    async def aclose(self) -> None:
        await self._stream.aclose()


def kill(pid: int) -> None:
    """End a process as a power cut would, as far as the process can tell."""
    os.kill(pid, signal.SIGKILL)
