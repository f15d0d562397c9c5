"""FastAPI without a queue, on uvicorn with uvloop and httptools.

    python -m benchmarks.web.on_fastapi MODULE:APP

Serves an app, this file's or another's, with one process, as ours is one, and prints its port.
Answers have a declared type, which is FastAPI's fastest way to JSON.
"""

from __future__ import annotations

import importlib
import socket
import sys
from typing import Annotated, Any

import uvicorn
from benchmarks.web.orders import Order  # noqa: TC001 - FastAPI reads it
from fastapi import Depends, FastAPI, Request, Response
from pydantic import BaseModel


class Message(BaseModel):
    """An answer."""

    message: str


class Found(BaseModel):
    """An answer."""

    customer: str
    number: int


class Priced(BaseModel):
    """An answer."""

    number: int
    total: float


plain = FastAPI()


@plain.get("/hello")
async def hello() -> Message:
    """Answer."""
    return Message(message="Hello world!")


@plain.get("/customers/{customer}/orders/{number}")
async def look_up(customer: str, number: int) -> Found:
    """Answer with what the path says."""
    return Found(customer=customer, number=number)


@plain.post("/orders")
async def price(order: Order) -> Priced:
    """Answer with the total of a body that pydantic checked."""
    return Priced(number=order.number, total=order.total())


async def stamp(response: Response) -> None:
    """Add a header, as a dependency does it."""
    response.headers["x-stamp"] = "checked"


@plain.get("/depending")
async def depending(_stamp: Annotated[None, Depends(stamp)]) -> Message:
    """Answer with a dependency."""
    return Message(message="Hello world!")


stamping = FastAPI()  # of its own, because a middleware is around all routes of an app


@stamping.middleware("http")
async def add_stamp(request: Request, following: Any) -> Response:
    """Add a header, as a middleware does it."""
    response: Response = await following(request)
    response.headers["x-stamp"] = "checked"
    return response


@stamping.get("/stamped")
async def stamped() -> Message:
    """Answer behind a middleware."""
    return Message(message="Hello world!")


def main() -> None:
    """Serve for ever."""
    module, _, name = sys.argv[1].partition(":")
    app = getattr(importlib.import_module(module), name)
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)
    settings = uvicorn.Config(
        app, loop="uvloop", http="httptools", access_log=False, log_level="warning"
    )
    uvicorn.Server(settings).run([listening])


if __name__ == "__main__":
    main()
