"""FastAPI with Celery: endpoints are plain functions, which FastAPI runs in threads.

Celery's calls block, so this is what FastAPI's documentation says to do with them; as coroutines
they brought no more.
"""

from __future__ import annotations

from benchmarks.web.celery_tasks import handle, tell_total
from benchmarks.web.on_fastapi import Priced
from benchmarks.web.orders import Order  # noqa: TC001 - FastAPI reads it
from fastapi import FastAPI
from pydantic import BaseModel


class Accepted(BaseModel):
    """An answer."""

    accepted: int


app = FastAPI()


@app.post("/enqueued", status_code=202)
def accept(order: Order) -> Accepted:
    """Answer when Redis has the order."""
    handle.delay(order.model_dump())
    return Accepted(accepted=order.number)


@app.post("/asked")
def ask(order: Order) -> Priced:
    """Answer when the work is done and its result is there."""
    return Priced(**tell_total.delay(order.model_dump()).get(timeout=30))
