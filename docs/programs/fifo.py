"""A fifo queue: within a group one after the other, whatever fails; groups side by side."""

import trio
import trio.testing

from motia_trio import App, open_runtime, queue, step

log = []


@step(queue("account", config={"type": "fifo", "maxRetries": 2}), name="Book")
async def book(entry, ctx):
    log.append(f"{entry.account} {entry.amount}")
    if entry.amount == 13:
        raise ConnectionError("the bank does not answer")


async def main():
    async with open_runtime(App([book]), observers=()) as rt:
        for account, amount in (("ada", 1), ("ada", 13), ("ada", 2), ("bob", 5)):
            data = {"account": account, "amount": amount}
            await rt.enqueue("account", data, group=account)
        await rt.quiesce()
        # ada's 2 stands behind the 13 that failed, bob's 5 does not
        assert sorted(log) == ["ada 1", "ada 13", "bob 5"]
        assert rt.tree()["Book"].deliveries.delayed == 1  # the head, until its next attempt
        assert rt.tree()["Book"].deliveries.waiting == 1  # what stands behind it

        await trio.sleep(10)
        await rt.quiesce()
        assert [entry for entry in log if entry.startswith("ada")] == [
            "ada 1",
            "ada 13",
            "ada 13",
            "ada 13",  # out of attempts: a dead letter, and the group goes on
            "ada 2",
        ]


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
