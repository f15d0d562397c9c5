"""An app's routes as an OpenAPI document, its topics as an AsyncAPI document."""

from pydantic import BaseModel

from motia_trio import App, http, queue, step
from motia_trio.asyncapi import asyncapi_document
from motia_trio.openapi import openapi_document


class Order(BaseModel):
    item: str
    count: int = 1


class Refusal(BaseModel):
    error: str


@step(
    http(
        "POST", "/shops/:shop/orders", body_schema=Order, response_schema={202: None, 409: Refusal}
    ),
    name="PlaceOrder",
    description="Takes an order",
    enqueues=["order.placed"],
    flows=["orders"],
)
async def place(req, ctx):
    await ctx.enqueue("order.placed", req.body)
    return {"status": 202}


@step(queue("order.placed", input=Order), name="ShipOrder", flows=["orders"])
async def ship(order, ctx):
    ctx.logger.info("shipping", {"item": order.item})


app = App([place, ship])

document = openapi_document(app, title="Shop", version="1.2.0")
operation = document["paths"]["/shops/{shop}/orders"]["post"]
assert operation["operationId"] == "PlaceOrder"
assert operation["tags"] == ["orders"]
assert list(operation["responses"]) == [
    "202",
    "400",
    "408",
    "409",
    "413",
    "415",
    "500",
    "503",
    "504",
]
assert list(document["components"]["schemas"]) == ["Order", "Refusal"]

document = asyncapi_document(app, title="Shop", version="1.2.0")
assert document["channels"]["order.placed"]["address"] == "order.placed"
assert list(document["operations"]) == [
    "PlaceOrder_send_order.placed",
    "ShipOrder_receive_order.placed",
]
