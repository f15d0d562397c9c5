"""Two steps as objects, served over HTTP for the length of a scope."""

import json
import urllib.request

import trio

from motia_trio import App, http, open_runtime, queue, step

shipped = []


@step(http("POST", "/orders"), enqueues=["order.placed"])
async def place_order(req, ctx):
    await ctx.enqueue("order.placed", {"item": req.body["item"]})
    return {"status": 201, "body": {"placed": req.body["item"]}}


@step(queue("order.placed"))
async def ship_order(order, ctx):
    shipped.append((order.item, ctx.trace_id))


def post(url, data):
    request = urllib.request.Request(
        url, json.dumps(data).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return response.status, json.load(response), response.headers["x-trace-id"]


async def main():
    app = App(steps=[place_order, ship_order])
    async with open_runtime(app, http="127.0.0.1:0") as rt:
        url = f"{rt.http_url}/orders"
        status, body, trace_id = await trio.to_thread.run_sync(post, url, {"item": "kettle"})
        await rt.quiesce()
    assert (status, body) == (201, {"placed": "kettle"})
    assert shipped == [("kettle", trace_id)]


trio.run(main)
