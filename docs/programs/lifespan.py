"""A step with a life: something that is opened when its actor starts and closed when it stops."""

from contextlib import asynccontextmanager

import trio

from motia_trio import App, open_runtime, queue, step

events = []


class Database:
    async def insert(self, row):
        events.append(f"insert {row['item']}")


@asynccontextmanager
async def database(ctx):
    events.append("open")
    yield Database()
    events.append("close")


@step(queue("order.placed"), lifespan=database)
async def record_order(order, ctx):
    await ctx.resources.insert(order)


async def main():
    async with open_runtime(App(steps=[record_order])) as rt:
        await rt.enqueue("order.placed", {"item": "kettle"})
        await rt.quiesce()
    assert events == ["open", "insert kettle", "close"]


trio.run(main)
