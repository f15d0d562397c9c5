"""An observer is told what happens; here it counts."""

from collections import Counter

import trio

from motia_trio import App, open_runtime, queue, step
from motia_trio.events import AttemptFailed, StepLogged

quick = {"queue": {"maxRetries": 2, "backoffType": "fixed", "backoffDelayMs": 10}}


class Count:
    def __init__(self):
        self.failed = Counter()
        self.said = []
        self.enough = trio.Event()

    def observe(self, event):  # on the Trio thread: return at once, never wait
        if isinstance(event, AttemptFailed):
            self.failed[event.step] += 1
        elif isinstance(event, StepLogged):
            self.said.append(event.message)
            self.enough.set()


tries = []


@step(queue("photo.added", infrastructure=quick), name="Shrink")
async def shrink(photo, ctx):
    tries.append(photo.name)
    if len(tries) < 3:
        raise OSError("disk full")
    ctx.logger.info("shrunk", {"name": photo.name})


async def main():
    count = Count()
    async with open_runtime(App(steps=[shrink]), observers=[count]) as rt:
        await rt.enqueue("photo.added", {"name": "cat.jpg"})
        await count.enough.wait()
    assert count.failed == {"Shrink": 2}
    assert count.said == ["shrunk"]


trio.run(main)
