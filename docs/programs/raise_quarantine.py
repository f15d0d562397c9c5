"""A program that had rather end than run without one of its steps."""

from contextlib import asynccontextmanager

import trio

from motia_trio import App, RestartPolicy, StepQuarantined, open_runtime, queue, step


@asynccontextmanager
async def broker(ctx):
    raise ConnectionError("no broker at this address")
    yield


@step(queue("order.placed"), name="Forward", lifespan=broker)
async def forward(order, ctx):
    pass


async def main():
    app = App(steps=[forward], raise_quarantine=True)
    restarts = RestartPolicy(max_restarts=2, delay=0.01)
    async with open_runtime(app, observers=[], restarts=restarts):
        await trio.sleep_forever()


raised = ""
try:
    trio.run(main)
except StepQuarantined as error:
    raised = str(error)
assert raised.startswith("step 'Forward' crashed 3 times; last: ConnectionError: no broker")
