"""One step that is started by a request, a message, a schedule and a change of the state."""

import httpx
import trio

from motia_trio import App, cron, http, multi_trigger_step, open_runtime, queue, state, step

seen = []


def is_low(change):
    return change.new_value is not None and change.new_value < 3


@step(
    http("POST", "/restock"),
    queue("stock.counted"),
    cron("0 6 * * *", timezone="Europe/Berlin"),
    state(group_id="stock", condition=is_low),
)
async def restock(input, ctx):
    async def from_request(req):
        seen.append(("request", req.body.item))
        return {"status": 202, "body": {}}

    return await ctx.match(
        {
            "http": from_request,
            "state": lambda change: seen.append(("low", change.item_id)),
            "cron": lambda: seen.append(("morning", ctx.trigger.expression)),
            "default": lambda input: seen.append((ctx.trigger.type, input)),
        }
    )


async def count(message, ctx):
    seen.append(("count", ctx.get_data()))


def sweep(ctx):  # a def, so it runs in a thread
    seen.append(("sweep", ctx.is_cron()))


cleaning = (
    multi_trigger_step({"name": "Cleaning", "triggers": [queue("count"), cron("@hourly")]})
    .on_queue(count)
    .on_cron(sweep)
    .handlers()
)


async def main():
    async with open_runtime(App([restock, cleaning]), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            assert (await client.post("/restock", json={"item": "pan"})).status_code == 202
        await rt.enqueue("stock.counted", {"pans": 7})
        await rt.state.set("stock", "pans", 7)
        await rt.state.set("stock", "kettles", 1)
        await rt.run_cron("restock")  # now, whatever the schedule says
        await rt.quiesce()
        assert sorted(seen, key=str) == [
            ("low", "kettles"),
            ("morning", "0 6 * * *"),
            ("queue", {"pans": 7}),
            ("request", "pan"),
        ]
        seen.clear()
        await rt.enqueue("count", 5)
        await rt.run_cron("Cleaning")
        await rt.quiesce()
        assert sorted(seen) == [("count", 5), ("sweep", True)]


trio.run(main)
