"""A request that waits for what a background step returns, with the time that it has left."""

import contextlib

import httpx
import trio

from motia_trio import App, AskInvalid, TimedOut, http, open_runtime, queue, step

attempts = []


@step(http("GET", "/quotes/:item"), enqueues=["quote.wanted"])
async def get_quote(req, ctx):
    quote = await ctx.ask("quote.wanted", {"item": req.path_params.item}, timeout=10)
    return {"status": 200, "body": quote}


@step(queue("quote.wanted", config={"backoffDelayMs": 50}))
async def make_quote(wanted, ctx):
    attempts.append(ctx.time_left())  # of the request, through the queue
    if len(attempts) == 1:
        raise ConnectionError("the price list does not answer")  # tried again, as any message
    return {"item": wanted.item, "price": 12.5}


@step(queue("report.wanted"))
async def make_report(wanted):
    await trio.sleep(0.2)
    return "long"


async def main():
    async with open_runtime(App([get_quote, make_quote, make_report]), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
            answer = await client.get("/quotes/kettle")
        assert answer.json() == {"item": "kettle", "price": 12.5}
        assert len(attempts) == 2
        assert all(left <= 10 for left in attempts)

        assert await rt.ask("report.wanted") == "long"  # a program asks, too

        with contextlib.suppress(TimedOut):
            await rt.ask("report.wanted", timeout=0.05)
        # the report is made all the same; its answer is dropped, and counted
        await rt.quiesce()
        assert rt.tree().dropped_answers == 1

        try:
            await rt.ask("nobody.listens")
        except AskInvalid as error:
            print(error)


trio.run(main)
