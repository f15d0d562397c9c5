from datetime import UTC, datetime

from carrier import collect

from motia_trio import queue

# The carrier is outside of the store, so nothing can take its van back: this handler may run again
# after it was called. That is why the call says which order it is for, and is not transactional.
# When it raises, the message is tried again: here up to five times, about 0.4 seconds later each.
# After that it is a dead letter.
config = {
    "name": "ShipOrder",
    "description": "Has the parcel collected",
    "triggers": [queue("order.reserved")],
    "infrastructure": {
        "handler": {"timeout": 10},
        "queue": {"maxRetries": 5, "backoffType": "fixed", "backoffDelayMs": 400},
    },
    "flows": ["orders"],
}


async def handler(reserved, ctx):
    order = await ctx.state.get("orders", reserved.id)
    if order is None:
        return  # a second attempt, after a crash, and it has been deleted since
    parcel = await collect(order["id"])
    shipped = {"status": "shipped", "changed_at": datetime.now(UTC), "parcel": parcel}
    await ctx.state.set("orders", order["id"], {**order, **shipped})
    ctx.logger.info("shipped", {"order": order["id"], "parcel": parcel})
