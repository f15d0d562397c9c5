from carrier import collect

# The carrier is outside of the store, so nothing can take its van back: this handler may run again
# after it was called. That is why the call says which order it is for, and is not transactional.
config = {
    "name": "ShipOrder",
    "description": "Has the parcel collected",
    "triggers": [{"type": "queue", "topic": "order.reserved"}],
    "infrastructure": {"handler": {"timeout": 10}, "queue": {"maxRetries": 5}},
    "flows": ["orders"],
}


async def handler(order, ctx):
    parcel = await collect(order["id"])
    await ctx.state.update(
        "orders",
        order["id"],
        [
            {"type": "set", "path": "status", "value": "shipped"},
            {"type": "set", "path": "parcel", "value": parcel},
        ],
    )
    ctx.logger.info("shipped", {"order": order["id"], "parcel": parcel})
