from shop import Order, Problem, find, problem

from motia_trio import http

# GET /orders/:id tells how an order is.
config = {
    "name": "ShowOrder",
    "description": "Tells how an order is",
    "triggers": [http("GET", "/orders/:id", response_schema={200: Order, 404: Problem})],
    "flows": ["orders"],
}


async def handler(req, ctx):
    order = await find(ctx, req.path_params.id)
    return {"status": 200, "body": order} if order else problem(404, "No such order")
