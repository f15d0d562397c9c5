"""FastAPI with taskiq, all of it on the event loop."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.web.on_fastapi import Priced
from benchmarks.web.orders import Order
from benchmarks.web.taskiq_tasks import broker, handle, tell_total
from fastapi import FastAPI
from pydantic import BaseModel

# seconds between two looks at whether the result is there; taskiq's default is 0.2
INTERVAL = float(os.environ.get("BENCH_INTERVAL", "0.005"))


class Accepted(BaseModel):
    """An answer."""

    accepted: int


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Connect."""
    await broker.startup()
    yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@app.post("/enqueued", status_code=202)
async def accept(order: Order) -> Accepted:
    """Answer when Redis has the order."""
    await handle.kiq(order.model_dump())
    return Accepted(accepted=order.number)


@app.post("/asked")
async def ask(order: Order) -> Priced:
    """Answer when the work is done and its result is there."""
    task = await tell_total.kiq(order.model_dump())
    result = await task.wait_result(check_interval=INTERVAL, timeout=30)
    return Priced(**result.return_value)
