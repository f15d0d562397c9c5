"""streaQ on Redis."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from benchmarks.peers.channel import REDIS, done
from benchmarks.peers.concurrent import measure
from streaq import Worker

if TYPE_CHECKING:
    from benchmarks.peers.load import Figures, Load

worker = Worker(
    redis_url=f"unix://{REDIS}",
    concurrency=32,  # as in its own benchmark
    anyio_kwargs={"use_uvloop": find_spec("uvloop") is not None},
)


@worker.task(ttl=0, silent=True)  # no result, no line in the log
async def cycle(number: int, text: str) -> None:
    """Do nothing."""
    done(number)


async def publish(load: Load) -> Figures:
    """Measure."""

    async def send(number: int, text: str) -> None:
        await cycle.enqueue(number, text)

    async def send_many(numbers: Sequence[int], text: str) -> None:
        await worker.enqueue_many([cycle.enqueue(number, text) for number in numbers])

    async with worker:
        return await measure(load, send, send_many)
