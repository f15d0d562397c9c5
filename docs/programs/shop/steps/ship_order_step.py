config = {
    "name": "ShipOrder",
    "triggers": [{"type": "queue", "topic": "order.placed"}],
}


async def handler(order, ctx):
    if order["item"] == "piano":
        raise RuntimeError("too heavy")
    ctx.logger.info("shipped", {"item": order["item"]})
