# All that this handler does is kept together with the acknowledgement of the message, or nothing of
# it: no crash leaves an item taken and no order reserved, or takes it twice. If two orders want the
# last kettle, one of them runs again and sees that there is none.
config = {
    "name": "ReserveStock",
    "description": "Takes the item out of the stock",
    "triggers": [{"type": "queue", "topic": "order.placed"}],
    "enqueues": ["order.reserved"],
    "delivery": "transactional",
    "flows": ["orders"],
}


async def handler(order, ctx):
    left = await ctx.state.get("stock", order["item"]) or 0
    if left < 1:
        await ctx.state.set("orders", order["id"], {**order, "status": "out of stock"})
        return
    await ctx.state.set("stock", order["item"], left - 1)
    await ctx.state.set("orders", order["id"], {**order, "status": "reserved"})
    await ctx.enqueue({"topic": "order.reserved", "data": order})
