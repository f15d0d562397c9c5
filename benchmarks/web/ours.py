"""Our side: the steps, served as `motia-trio run` serves them, with a durable store.

    python -m benchmarks.web.ours

It prints its port. Each line on its standard input, ``EXCHANGE TASKS SECONDS FIRST``, has the same
app driven without a socket (`direct`), and the answer is a line of JSON.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import trio
from benchmarks.peers.channel import FOLDER, done
from benchmarks.web.direct import drive
from benchmarks.web.orders import Order, total

from motia_trio import App, http, open_runtime, queue, step
from motia_trio.cli.run import SWITCH_INTERVAL

MESSAGE = {"message": "Hello world!"}


@step(http("GET", "/hello"), name="Hello")
async def hello(req: Any, ctx: Any) -> Any:
    """Answer."""
    return {"status": 200, "body": MESSAGE}


@step(http("GET", "/customers/:customer/orders/:number"), name="Look up")
async def look_up(req: Any, ctx: Any) -> Any:
    """Answer with what the path says."""
    params = req.path_params
    return {
        "status": 200,
        "body": {"customer": params["customer"], "number": int(params["number"])},
    }


@step(http("POST", "/orders", body_schema=Order), name="Price")
async def price(req: Any, ctx: Any) -> Any:
    """Answer with the total of a body that pydantic checked."""
    order: Order = req.body
    return {"status": 200, "body": {"number": order.number, "total": order.total()}}


@step(http("POST", "/orders/by-schema", body_schema=Order.model_json_schema()), name="Price JSON")
async def price_by_schema(req: Any, ctx: Any) -> Any:
    """The same with a body that a JSON Schema checked."""
    order = req.body
    return {"status": 200, "body": {"number": order["number"], "total": total(order)}}


async def stamp(req: Any, ctx: Any, following: Any) -> Any:
    """Add a header."""
    answer = await following()
    answer["headers"] = {"x-stamp": "checked"}
    return answer


@step(http("GET", "/stamped", middleware=[stamp]), name="Stamped")
async def stamped(req: Any, ctx: Any) -> Any:
    """Answer behind a middleware."""
    return {"status": 200, "body": MESSAGE}


@step(http("POST", "/enqueued", body_schema=Order), name="Accept", enqueues=["order"])
async def accept(req: Any, ctx: Any) -> Any:
    """Answer when the order is durable."""
    order: Order = req.body
    await ctx.enqueue("order", order.model_dump())
    return {"status": 202, "body": {"accepted": order.number}}


@step(queue("order", config={"concurrency": 100}), name="Handle")
async def handle(order: Any, ctx: Any) -> None:
    """Do the work, and tell the clients' process."""
    assert total(order) > 0
    done(order["number"])


@step(http("POST", "/asked", body_schema=Order), name="Ask", enqueues=["total"])
async def ask(req: Any, ctx: Any) -> Any:
    """Answer when the work is done and its result is there."""
    order: Order = req.body
    return {"status": 200, "body": await ctx.ask("total", order.model_dump())}


@step(queue("total", config={"concurrency": 100}), name="Total")
async def tell_total(order: Any, ctx: Any) -> Any:
    """Do the work, and answer."""
    return {"number": order["number"], "total": total(order)}


STEPS = [hello, look_up, price, price_by_schema, stamped, accept, handle, ask, tell_total]


async def main() -> None:
    """Serve, and do what the standard input says, for ever."""
    app = App(STEPS, store=f"sqlite:///{FOLDER}/store.db", synchronous="full")
    async with open_runtime(app, http="127.0.0.1:0") as runtime:
        assert runtime.http_url is not None
        print(runtime.http_url.rpartition(":")[2], flush=True)
        asgi = runtime.asgi
        async for line in trio.wrap_file(sys.stdin):
            name, tasks, seconds, first = line.split()
            figures = await drive(asgi, name, int(tasks), float(seconds), int(first))
            print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_INTERVAL)  # as the command does
    logging.basicConfig(level=logging.WARNING)
    trio.run(main)
