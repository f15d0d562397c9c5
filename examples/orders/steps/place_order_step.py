# POST /orders takes an order. When the answer goes out, the message is on disk. Its key makes it
# one order however often it is posted: somebody whose line broke may ask again.
config = {
    "name": "PlaceOrder",
    "description": "Takes an order",
    "triggers": [{"type": "http", "method": "POST", "path": "/orders"}],
    "enqueues": ["order.placed"],
    "flows": ["orders"],
}


async def handler(req, ctx):
    order = {"id": req.body["id"], "item": req.body["item"]}
    await ctx.enqueue({"topic": "order.placed", "data": order, "key": order["id"]})
    return {"status": 202, "body": {"id": order["id"]}}
