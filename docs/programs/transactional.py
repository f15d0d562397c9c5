"""An order takes from the stock and has itself shipped; the process dies in between.

Once with `delivery="immediate"`, the default, and once with `delivery="transactional"`.
"""

import os
import subprocess
import sys
import tempfile
import time

import trio

from motia_trio import App, open_runtime, queue, step


def make_app(delivery, folder, *, dies):
    @step(queue("order.placed"), name="Reserve", enqueues=["order.reserved"], delivery=delivery)
    async def reserve(order, ctx):
        stock = await ctx.state.update("stock", order.item, {"type": "decrement"})
        await ctx.enqueue("order.reserved", order)
        # the handler sees what it has done, whoever else does or does not
        assert await ctx.state.get("stock", order.item) == stock["new_value"]
        if dies:
            os._exit(3)  # as if killed: no handler, no `finally` and no flush has its turn
        await ctx.state.set("reserved", str(order.id), {"item": order.item})

    @step(queue("order.reserved"), name="Ship", delivery=delivery)
    async def ship(order, ctx):
        await ctx.state.update("shipped", str(order.id), {"type": "increment"})

    return App([reserve, ship], root=folder, store="sqlite:///store.db")


async def place(delivery, folder):
    """The process that dies with the order in hand."""
    async with open_runtime(make_app(delivery, folder, dies=True), observers=()) as rt:
        await rt.state.set("stock", "kettle", 10)
        await rt.enqueue("order.placed", {"id": 17, "item": "kettle"})
        await trio.sleep_forever()


async def look(delivery, folder):
    """What the dead process has left: the stock, and what waits for each step."""
    app = make_app(delivery, folder, dies=False)
    async with open_runtime(app, idle=True, observers=()) as rt:  # no step runs
        counts = rt.store.counts(time.time())
        waiting = [counts[name].waiting for name in ("Reserve", "Ship") if name in counts]
        return await rt.state.get("stock", "kettle"), waiting


async def finish(delivery, folder):
    """The next process: the stock, and how often the order was shipped, when all is done."""
    app = make_app(delivery, folder, dies=False)
    async with open_runtime(app, observers=()) as rt:
        await rt.quiesce()
        assert await rt.state.get("reserved", "17") == {"item": "kettle"}
        return await rt.state.get("stock", "kettle"), await rt.state.get("shipped", "17")


if len(sys.argv) > 1:
    trio.run(place, *sys.argv[1:])

for delivery in ("immediate", "transactional"):
    with tempfile.TemporaryDirectory() as folder:
        died = subprocess.run([sys.executable, __file__, delivery, folder], check=False)  # noqa: S603
        assert died.returncode == 3
        left = trio.run(look, delivery, folder)
        ended = trio.run(finish, delivery, folder)
        print(f"{delivery}: after the crash {left}, in the end {ended}")
    if delivery == "immediate":
        assert left == (9, [1, 1])  # half of the work is there, and the order comes again …
        assert ended == (8, 2)  # … so one kettle too many is gone, and one too many was sent
    else:
        assert left == (10, [1])  # nothing of it is there, and the order comes again …
        assert ended == (9, 1)  # … which is the first time
