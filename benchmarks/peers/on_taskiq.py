"""taskiq on a Redis stream, the broker of taskiq-redis that acknowledges."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers.channel import REDIS, done
from benchmarks.peers.concurrent import measure
from taskiq_redis import RedisStreamBroker

if TYPE_CHECKING:
    from benchmarks.peers.load import Figures, Load

broker = RedisStreamBroker(f"unix://{REDIS}")


@broker.task
async def cycle(number: int, text: str) -> None:
    """Do nothing."""
    done(number)


async def publish(load: Load) -> Figures:
    """Measure."""
    await broker.startup()
    return await measure(load, cycle.kiq)
