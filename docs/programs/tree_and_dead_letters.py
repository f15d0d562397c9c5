"""Look at the actors, and at what was given up."""

import trio

from motia_trio import App, open_runtime, queue, step

no_retries = {"queue": {"maxRetries": 0}}


@step(queue("order.placed", infrastructure=no_retries), name="ShipOrder")
async def ship_order(order, ctx):
    if order.item == "piano":
        raise RuntimeError("too heavy")


async def main():
    async with open_runtime(App(steps=[ship_order]), observers=[]) as rt:
        for item in ("spoon", "piano", "kettle"):
            await rt.enqueue("order.placed", {"item": item})
        await rt.quiesce()

        node = rt.tree()["ShipOrder"]
        assert (node.state, node.restarts, node.in_flight) == ("running", 0, 0)
        assert node.mailbox.capacity == 100
        assert node.mailbox.received == 3
        assert node.deliveries.dead == 1

        [letter] = rt.dead_letters.list(step="ShipOrder")
        assert letter.message.data == {"item": "piano"}
        assert letter.reason == "failed once; last: RuntimeError: too heavy"
        [failure] = letter.failures
        print(failure.error, "in", failure.where)


trio.run(main)
