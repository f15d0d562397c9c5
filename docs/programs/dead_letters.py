"""Look at what was given up, mend what was wrong, and have it tried again."""

import trio

from motia_trio import App, open_runtime, queue, step

no_retries = {"queue": {"maxRetries": 0}}
broken = {"lift"}
shipped = []


@step(queue("order.placed", infrastructure=no_retries), name="ShipOrder")
async def ship_order(order, ctx):
    if order.item == "organ":
        raise ValueError("we have no organs")
    if order.item == "piano" and "lift" in broken:
        raise RuntimeError("too heavy")
    shipped.append((order.item, ctx.trace_id))


async def main():
    async with open_runtime(App([ship_order]), observers=()) as rt:
        for item in ("spoon", "piano", "organ"):
            await rt.enqueue("order.placed", {"item": item})
        await rt.quiesce()

        piano, organ = rt.dead_letters.list(step="ShipOrder")
        assert piano.message.data == {"item": "piano"}
        assert piano.reason == "failed once; last: RuntimeError: too heavy"
        [failure] = piano.failures
        print(failure.error, "in", failure.where)

        broken.clear()  # somebody mends it
        redriven = await rt.dead_letters.redrive([piano.id])
        assert redriven == [piano.id]
        await rt.quiesce()
        assert shipped[-1] == ("piano", piano.message.trace_id)  # its trace goes on

        # what is not there any more is not in the answer
        assert await rt.dead_letters.redrive([piano.id]) == []
        assert await rt.dead_letters.discard([piano.id, organ.id]) == [organ.id]
        assert rt.dead_letters.list() == []


trio.run(main)
