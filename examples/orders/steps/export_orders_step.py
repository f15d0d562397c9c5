import csv
import io

from motia_trio import http

FIELDS = ["id", "item", "count", "status", "changed_at", "parcel"]

# A body that is an async generator is sent piece by piece, as the client takes it: a million orders
# need no more memory than one.
config = {
    "name": "ExportOrders",
    "description": "Exports all orders as CSV",
    "triggers": [http("GET", "/orders.csv", response_schema={200: str})],
    "flows": ["orders"],
}


async def lines(ctx):
    yield ",".join(FIELDS) + "\r\n"
    for order_id in await ctx.state.keys("orders"):
        order = await ctx.state.get("orders", order_id)
        if order is None:  # deleted meanwhile
            continue
        line = io.StringIO()
        csv.DictWriter(line, FIELDS).writerow(order)
        yield line.getvalue()


async def handler(req, ctx):
    return {"status": 200, "body": lines(ctx), "headers": {"content-type": "text/csv"}}
