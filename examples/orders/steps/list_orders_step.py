from typing import Annotated

from pydantic import BaseModel, Field
from shop import Order, Status

from motia_trio import http


# A query is text. With a type for it, "2" becomes the number 2, and "two" is answered 400.
class Search(BaseModel):
    status: Status | None = None
    limit: Annotated[int, Field(ge=1, le=100)] = 20


config = {
    "name": "ListOrders",
    "description": "Lists orders, by their ids",
    "triggers": [http("GET", "/orders", query_params=Search, response_schema={200: list[Order]})],
    "flows": ["orders"],
}


async def handler(req, ctx):
    search = Search(**req.query_params)
    orders = await ctx.state.list("orders")
    if search.status:
        orders = [order for order in orders if order["status"] == search.status]
    return {"status": 200, "body": orders[: search.limit]}
