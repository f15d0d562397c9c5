"""When, in which order and whether at all: what an enqueue may say."""

from datetime import UTC, datetime, timedelta

import trio
import trio.testing

from motia_trio import App, open_runtime, queue, step

done = []


@step(queue("work", config={"concurrency": 1}), name="Work")
async def work(name, ctx):
    done.append(name)
    await trio.sleep(1)


async def main():
    async with open_runtime(App([work]), observers=()) as rt:
        start = trio.current_time()

        # later: in so many seconds, or at a time
        await rt.enqueue("work", "in an hour", delay=3600)
        await rt.enqueue("work", "in a year", at=datetime.now(UTC) + timedelta(days=365))
        await rt.quiesce()  # what is due later does not count
        assert done == []
        await trio.sleep(3600)
        await rt.quiesce()
        assert done == ["in an hour"]
        assert rt.tree()["Work"].deliveries.delayed == 1
        done.clear()

        # the more important first; of one priority, who came first
        await rt.enqueue("work", "in hand")
        for priority, name in ((-5, "some day"), (0, "b"), (0, "c"), (10, "urgent")):
            await rt.enqueue("work", name, priority=priority)
        await rt.quiesce()
        assert done == ["in hand", "urgent", "b", "c", "some day"]
        done.clear()

        # once: the topic keeps one message of a key for a day, and gives its id to the others
        first = await rt.enqueue("work", "invoice 17", key="invoice-17")
        again = await rt.enqueue("work", "invoice 17", key="invoice-17")
        assert first == again
        await rt.quiesce()
        assert await rt.enqueue("work", "invoice 17", key="invoice-17") == first
        await rt.quiesce()
        assert done == ["invoice 17"]
        done.clear()

        # not when it is too old to matter: then it is a dead letter
        await rt.enqueue("work", "long")
        await rt.enqueue("work", "the price of this minute", expires=0.5)
        await rt.quiesce()
        assert done == ["long"]
        [letter] = rt.dead_letters.list()
        print(letter.reason)
        assert letter.reason == "expired 0.5 s before its turn came"

        # not at all: what no handler has in hand can be cancelled
        message_id = await rt.enqueue("work", "regret", delay=60)
        assert await rt.cancel(message_id) == 1
        assert await rt.cancel(message_id) == 0  # it is gone already
        await trio.sleep(61)
        assert done == ["long"]
        assert trio.current_time() - start > 3600  # of which no second has passed


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
