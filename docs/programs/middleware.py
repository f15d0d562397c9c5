"""Middleware, a schema and a condition around one handler, in the order in which they have it."""

import httpx
import trio
from pydantic import BaseModel

from motia_trio import App, http, open_runtime, step


class Order(BaseModel):
    item: str
    count: int = 1


async def with_errors(req, ctx, following):
    try:
        return await following()
    except KeyError as error:
        return {"status": 404, "body": {"error": f"no such item: {error.args[0]}"}}


def with_key(req, ctx, following):  # in a thread: it may block, as a handler that is a def may
    if req.headers.get("x-key") != "open sesame":
        return {"status": 401, "body": {"error": "Unauthorized"}}
    ctx.customer = "ali"
    return following()


async def is_open(req, ctx):
    return await ctx.state.get("shop", "open")


STOCK = {"kettle": 3}


@step(
    http(
        "POST",
        "/orders",
        middleware=[with_errors, with_key],
        body_schema=Order,
        condition=is_open,
    ),
)
async def place_order(req, ctx):
    order = req.body  # an Order: the schema is a class
    left = STOCK[order.item] - order.count
    return {"status": 201, "body": {"customer": ctx.customer, "left": left}}


async def main():
    async with open_runtime(App([place_order]), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:

            async def order(body, key="open sesame"):
                answer = await client.post("/orders", json=body, headers={"x-key": key})
                return answer.status_code, answer.json()

            assert await order({"item": "kettle"}) == (
                422,
                {"error": "Request condition not met", "skipped": True},
            )
            await rt.state.set("shop", "open", value=True)
            assert (await order({}, key="?"))[0] == 401  # before anybody looked at the body
            assert await order({"count": "many"}) == (
                400,
                {
                    "error": "Invalid request body",
                    "details": [
                        {"path": "item", "message": "is required"},
                        {
                            "path": "count",
                            "message": "should be a valid integer, "
                            "unable to parse string as an integer",
                        },
                    ],
                },
            )
            assert await order({"item": "kettle", "count": 2}) == (
                201,
                {"customer": "ali", "left": 1},
            )
            assert await order({"item": "pan"}) == (404, {"error": "no such item: pan"})


trio.run(main)
