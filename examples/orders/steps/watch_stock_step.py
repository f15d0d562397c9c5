from shop import LOW

from motia_trio import state


# The condition sees every change of the stock, and the handler those that meet it.
async def is_low(change):
    return change.new_value is not None and change.new_value < LOW


# The change and the message that tells of it are one commit. It does not matter who made the
# change: a step, a program, or somebody with `motia-trio state set`.
config = {
    "name": "WatchStock",
    "description": "Sees when there is too little of an item",
    "triggers": [state(group_id="stock", condition=is_low)],
    "enqueues": ["stock.low"],
    "flows": ["stock"],
}


async def handler(change, ctx):
    item = change.item_id
    ctx.logger.warning("stock is low", {"item": item, "left": change.new_value})
    await ctx.enqueue("stock.low", {"item": item}, delay=2)  # seconds: the supplier needs them
