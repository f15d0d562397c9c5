"""A store in a file: what one runtime was asked to do, another does later."""

import tempfile
from pathlib import Path

import trio

from motia_trio import App, open_runtime, queue, step
from motia_trio.errors import StoreLocked

shipped = []


@step(queue("order.placed"), name="ShipOrder")
async def ship_order(order, ctx):
    shipped.append(order.item)
    await ctx.state.update("totals", "shipped", {"type": "increment"})


async def main(folder):
    app = App([ship_order], root=folder, store="sqlite:///orders.db")

    # with idle=True no step runs: what is enqueued waits
    async with open_runtime(app, idle=True) as rt:
        await rt.enqueue("order.placed", {"item": "kettle"})
    assert shipped == []

    async with open_runtime(app) as rt:
        await rt.quiesce()
        assert shipped == ["kettle"]
        assert await rt.state.get("totals", "shipped") == 1

        try:
            async with open_runtime(app):
                pass
        except StoreLocked as error:
            print(error)  # one runtime at a time has the file open


with tempfile.TemporaryDirectory() as folder:
    trio.run(main, folder)
    assert Path(folder, "orders.db").exists()
