"""FastAPI with taskiq, all of it on the event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.web.on_fastapi import Priced
from benchmarks.web.orders import Order  # noqa: TC001 - FastAPI reads it
from benchmarks.web.taskiq_tasks import broker, handle, tell_total
from fastapi import FastAPI
from pydantic import BaseModel

# Seconds between two looks at whether the result is there. Of 0.2, which is taskiq's default, 0.02,
# 0.01, 0.005, 0.002 and 0.001 this one brought most over 16 and 64 connections; over one, 0.001
# brings about twice as much.
INTERVAL = 0.01


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
