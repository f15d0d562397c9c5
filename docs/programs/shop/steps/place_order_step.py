config = {
    "name": "PlaceOrder",
    "triggers": [{"type": "http", "method": "POST", "path": "/orders"}],
    "enqueues": ["order.placed"],
}


async def handler(req, ctx):
    item = req.body["item"]
    await ctx.enqueue({"topic": "order.placed", "data": {"item": item}})
    ctx.logger.info("order placed", {"item": item})
    return {"status": 201, "body": {"placed": item}}
