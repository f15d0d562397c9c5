"""The work as taskiq's tasks, on the broker of `benchmarks.peers.on_taskiq`.

Its broker keeps every task's result or none, so it keeps them only where they are asked for.
"""

from __future__ import annotations

import os
from typing import Any

from benchmarks.peers.channel import REDIS, done
from benchmarks.peers.on_taskiq import broker
from benchmarks.web.orders import total
from taskiq_redis import RedisAsyncResultBackend

if os.environ.get("BENCH_EXCHANGE") == "ask":
    broker.with_result_backend(RedisAsyncResultBackend(f"unix://{REDIS}", keep_results=False))


@broker.task
async def handle(order: dict[str, Any]) -> None:
    """Do the work, and tell the clients' process."""
    assert total(order) > 0
    done(order["number"])


@broker.task
async def tell_total(order: dict[str, Any]) -> dict[str, Any]:
    """Do the work, and give the result."""
    return {"number": order["number"], "total": total(order)}
