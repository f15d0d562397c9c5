from shop import FULL, LOW

from motia_trio import queue

# Several changes may have asked for one item by now. It is looked at again, so only the first fills
# it up; transactional, so that an order in between is not lost.
config = {
    "name": "Restock",
    "description": "Fills the stock up",
    "triggers": [queue("stock.low")],
    "delivery": "transactional",
    "flows": ["stock"],
}


async def handler(wanted, ctx):
    left = await ctx.state.get("stock", wanted.item) or 0
    if left < LOW:
        await ctx.state.set("stock", wanted.item, FULL)
        ctx.logger.info("restocked", {"item": wanted.item, "from": left, "to": FULL})
