"""Crash an actor until it is quarantined, see its neighbour work on, and see it come back."""

import sys

import trio

from motia_trio import App, RestartPolicy, open_runtime, queue, step

once = {"queue": {"maxRetries": 0}}
done = []


@step(queue("print", infrastructure=once), name="Print")
async def print_label(order, ctx):
    if order.item == "bomb":
        sys.exit("paper jam")
    done.append(order.item)


@step(queue("count"), name="Count")
async def count(order, ctx):
    done.append("counted")


async def reached(rt, state):
    while rt.tree()["Print"].state != state:
        await trio.sleep(0.01)


async def main():
    restarts = RestartPolicy(max_restarts=1, delay=0.01, cool_down=0.2)
    app = App(steps=[print_label, count])
    async with open_runtime(app, observers=[], restarts=restarts) as rt:
        await rt.enqueue("print", {"item": "bomb"})
        await trio.sleep(0.1)  # crashed, and started again
        assert rt.tree()["Print"].restarts == 1

        await rt.enqueue("print", {"item": "bomb"})
        await reached(rt, "quarantined")

        await rt.enqueue("print", {"item": "lamp"})  # waits in the store
        await rt.enqueue("count")
        await trio.sleep(0.05)
        assert done == ["counted"]
        assert rt.tree()["Print"].deliveries.waiting == 1

        await reached(rt, "running")  # the probe handled the lamp
        assert done == ["counted", "lamp"]
        assert [letter.message.data["item"] for letter in rt.dead_letters.list()] == ["bomb"] * 2


trio.run(main)
