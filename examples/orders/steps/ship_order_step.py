from datetime import UTC, datetime

from carrier import collect

from motia_trio import queue

# The carrier is outside of the store, so nothing can take its van back: this handler may run again
# after it was called. That is why the call says which order it is for, and is not transactional.
# What it raises is tried again, here five times, each 0.6 seconds later; then it is a dead letter.
config = {
    "name": "ShipOrder",
    "description": "Has the parcel collected",
    "triggers": [queue("order.reserved")],
    "infrastructure": {
        "handler": {"timeout": 10},
        "queue": {"maxRetries": 5, "backoffType": "fixed", "backoffDelayMs": 600},
    },
    "flows": ["orders"],
}


async def handler(reserved, ctx):
    parcel = await collect(reserved.id)
    await ctx.state.update(
        "orders",
        reserved.id,
        {
            "type": "merge",
            "value": {"status": "shipped", "changed_at": datetime.now(UTC), "parcel": parcel},
        },
    )
    ctx.logger.info("shipped", {"order": reserved.id, "parcel": parcel})
