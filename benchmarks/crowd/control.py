"""How a server is told to publish, and what it says of itself: lines of its standard streams.

``publish FIRST COUNT PAUSE`` has it publish so many changes, one each so many seconds or, without a
pause, one after the other, and is answered when all were handed over. ``look`` is answered with
what the process took until now. Answers are lines of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

import trio

__all__ = ["allow_files", "obey_on_asyncio", "obey_on_trio", "ready"]

Publish = Callable[[int], Awaitable[Any]]  # takes the number of a change


def allow_files() -> None:
    """Let this process have as many sockets as the machine lets it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def ready(port: int) -> None:
    """Say where it listens."""
    print(port, flush=True)


async def obey_on_trio(publish: Publish) -> None:
    """Do what the standard input says until it ends."""
    async for line in trio.wrap_file(sys.stdin):
        await _obey(line.split(), publish, trio.sleep)


async def obey_on_asyncio(publish: Publish) -> None:
    """Do what the standard input says until it ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        await _obey(line.split(), publish, asyncio.sleep)


async def _obey(
    words: list[str], publish: Publish, sleep: Callable[[float], Awaitable[None]]
) -> None:
    if words[0] == "look":
        answer = _look()
    else:
        first, count, pause = int(words[1]), int(words[2]), float(words[3])
        began = time.perf_counter()
        for index in range(count):
            # without a pause, too: a publisher that never lets others run is no server
            await sleep(max(0, began + index * pause - time.perf_counter()))
            await publish(first + index)
        answer = {"seconds": time.perf_counter() - began}
    print(json.dumps(answer), flush=True)


def _look() -> dict[str, float]:
    """Seconds of a core that all its threads had, and bytes of memory that are resident."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    with open("/proc/self/statm") as file:  # noqa: PTH123 - 50 bytes, no disk
        pages = int(file.read().split()[1])
    return {"cpu": used.ru_utime + used.ru_stime, "memory": pages * os.sysconf("SC_PAGE_SIZE")}
