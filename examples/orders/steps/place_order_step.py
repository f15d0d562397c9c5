from pydantic import BaseModel
from shop import NewOrder, OrderId

from motia_trio import http


class Taken(BaseModel):
    id: OrderId


# POST /orders takes an order. The body is checked before the handler is called, and is a NewOrder
# then. When the answer goes out, the message is on disk. Its key makes it one order however often
# it is posted in a day: somebody whose line broke may ask again.
config = {
    "name": "PlaceOrder",
    "description": "Takes an order",
    "triggers": [http("POST", "/orders", body_schema=NewOrder, response_schema={202: Taken})],
    "enqueues": ["order.placed"],
    "flows": ["orders"],
}


async def handler(req, ctx):
    order = req.body
    await ctx.enqueue("order.placed", order, key=order.id)
    return {
        "status": 202,
        "body": {"id": order.id},
        "headers": {"location": f"/orders/{order.id}"},
    }
