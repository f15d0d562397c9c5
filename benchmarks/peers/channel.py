"""The way back from a peer's task to the publisher: a named pipe of message numbers.

It is the cheapest there is: a write of four bytes needs no lock between processes, and one read
takes all that wait. Both ends stay open for reading and writing, so neither an early open nor a
late write waits for the other end or fails.
"""

from __future__ import annotations

import os
import select
import struct
from functools import cache
from pathlib import Path

TEXT = "x" * 1000  # with its number, a message is 1 kB before the peer adds its own

# where the pipe, Redis's socket and huey's file are; each of the processes is told
FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))
PIPE = FOLDER / "done"
REDIS = FOLDER / "redis.sock"


@cache
def _write_end() -> int:
    return os.open(PIPE, os.O_RDWR)


def done(number: int) -> None:
    """Tell the publisher that this message was handled; the peer acknowledges it after that."""
    os.write(_write_end(), struct.pack("=I", number))


class ReadEnd:
    """The publisher's end of the pipe."""

    def __init__(self) -> None:
        self.fd = os.open(PIPE, os.O_RDWR | os.O_NONBLOCK)

    def read(self) -> tuple[int, ...]:
        """The numbers that wait, at once; perhaps none."""
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return ()
        return struct.unpack(f"={len(data) // 4}I", data)

    def wait(self, seconds: float) -> None:
        """Wait until there is something to read, no longer than so many seconds."""
        select.select([self.fd], [], [], max(0.0, seconds))
