from datetime import UTC, datetime

from shop import NewOrder, Order

from motia_trio import queue

# All that this handler does is kept together with the acknowledgement of the message, or nothing of
# it: no crash leaves an item taken and no order reserved, or takes it twice. If two orders want the
# last kettle, one of them runs again and sees that there is none.
config = {
    "name": "ReserveStock",
    "description": "Takes the items out of the stock",
    "triggers": [queue("order.placed", input=NewOrder)],
    "enqueues": ["order.reserved"],
    "delivery": "transactional",
    "flows": ["orders"],
}


async def handler(placed, ctx):
    left = (await ctx.state.get("stock", placed.item) or 0) - placed.count
    status = "out of stock" if left < 0 else "reserved"
    order = Order(**placed.model_dump(), status=status, changed_at=datetime.now(UTC))
    await ctx.state.set("orders", order.id, order)
    if left >= 0:
        await ctx.state.set("stock", order.item, left)
        await ctx.enqueue("order.reserved", {"id": order.id})
