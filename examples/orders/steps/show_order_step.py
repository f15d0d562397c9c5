# GET /orders/:id tells how an order is.
config = {
    "name": "ShowOrder",
    "description": "Tells how an order is",
    "triggers": [{"type": "http", "method": "GET", "path": "/orders/:id"}],
    "flows": ["orders"],
}


async def handler(req, ctx):
    order = await ctx.state.get("orders", req.path_params["id"])
    if order is None:
        return {"status": 404, "body": {"error": "No such order"}}
    return {"status": 200, "body": order}
