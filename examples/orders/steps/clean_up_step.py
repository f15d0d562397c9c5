from datetime import UTC, datetime, timedelta

from motia_trio import cron

# Every night. The times of a schedule are UTC unless a timezone is given; the clock changes of this
# one make no night run twice, or not at all.
config = {
    "name": "CleanUp",
    "description": "Removes orders that have been done for a day",
    "triggers": [cron("30 4 * * *", timezone="Europe/Berlin")],
    "flows": ["orders"],
}


async def handler(_, ctx):
    yesterday = datetime.now(UTC) - timedelta(days=1)
    removed = 0
    for order in await ctx.state.list("orders"):
        changed_at = datetime.fromisoformat(order["changed_at"])
        if order["status"] != "reserved" and changed_at < yesterday:
            await ctx.state.delete("orders", order["id"])
            removed += 1
    ctx.logger.info("cleaned up", {"removed": removed})
