from shop import Problem, find, problem, with_key

from motia_trio import http

# The middleware runs first. An order that is on its way stays.
config = {
    "name": "DeleteOrder",
    "description": "Forgets an order that is shipped or out of stock",
    "triggers": [
        http(
            "DELETE",
            "/orders/:id",
            middleware=[with_key],
            response_schema={204: None, 401: Problem, 404: Problem, 409: Problem},
        )
    ],
    "flows": ["orders"],
}


async def handler(req, ctx):
    order = await find(ctx, req.path_params.id)
    if order is None:
        return problem(404, "No such order")
    if order["status"] == "reserved":
        return problem(409, "The order is on its way")
    await ctx.state.delete("orders", order["id"])
    return {"status": 204}
