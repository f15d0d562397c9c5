"""The same, as a task of a nursery that the program has anyway."""

import trio

from motia_trio import App, queue, serve, step

seen = []


@step(queue("measured"), name="Keep")
async def keep(reading, ctx):
    seen.append(reading.celsius)


async def main():
    async with trio.open_nursery() as nursery:
        rt = await nursery.start(serve, App(steps=[keep], port=0))
        print("serving", rt.http_url)
        await rt.enqueue("measured", {"celsius": 21.5})
        await rt.quiesce()
        nursery.cancel_scope.cancel()
    assert seen == [21.5]


trio.run(main)
