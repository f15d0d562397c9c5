"""A day of retries and delays in milliseconds, and a request without a socket."""

import httpx
import trio
import trio.testing

from motia_trio import App, http, open_runtime, queue, step

attempts = []


@step(http("POST", "/orders"), enqueues=["order.placed"])
async def place_order(req, ctx):
    await ctx.enqueue("order.placed", req.body, delay=86_400)
    return {"status": 202, "body": {}}


@step(queue("order.placed"))
async def ship_order(order, ctx):
    attempts.append(trio.current_time())
    if len(attempts) < 3:
        raise ConnectionError("the warehouse does not answer")


async def test_an_order_is_shipped_a_day_later_at_the_third_attempt():
    async with open_runtime(App([place_order, ship_order]), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/orders", json={"item": "kettle"})
        assert answer.status_code == 202
        assert attempts == []

        await trio.sleep(86_400 + 60)  # no time passes: the clock jumps
        await rt.quiesce()
        assert len(attempts) == 3
        assert rt.dead_letters.list() == []


# a plain program does this; for pytest see below
if __name__ == "__main__":
    trio.run(
        test_an_order_is_shipped_a_day_later_at_the_third_attempt,
        clock=trio.testing.MockClock(autojump_threshold=0),
    )
