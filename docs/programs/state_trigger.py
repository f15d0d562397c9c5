"""Steps that follow changes: of one group of the state, of one stream, and of what has expired."""

import trio
import trio.testing

from motia_trio import App, open_runtime, queue, state, step, stream

seen = []


@step(queue("item.sold"), name="Sell")
async def sell(sale, ctx):
    await ctx.state.update("stock", sale.item, {"type": "decrement", "by": sale.count})


@step(state(group_id="stock"), name="Watch")
async def watch(change, ctx):
    seen.append((change.item_id, change.old_value, change.new_value, ctx.trace_id))


@step(stream("chat", group_id="lobby"), name="Follow")
async def follow(change, ctx):
    seen.append((change.event.type, change.id, change.event.data))


async def main():
    app = App([sell, watch, follow], streams=[{"name": "chat"}])
    async with open_runtime(app, observers=()) as rt:
        await rt.state.set("stock", "kettle", 10)
        await rt.enqueue("item.sold", {"item": "kettle", "count": 3}, trace_id="a" * 32)
        await rt.quiesce()
        assert seen[0][:3] == ("kettle", None, 10)
        assert seen[1] == ("kettle", 10, 7, "a" * 32)  # the trace goes on
        seen.clear()

        await rt.streams.chat.set("lobby", "1", {"text": "hello"})
        await rt.streams.chat.set("kitchen", "1", {"text": "not followed"})
        await rt.streams["chat"].delete("lobby", "1")
        await rt.quiesce()
        assert seen == [("create", "1", {"text": "hello"}), ("delete", "1", {"text": "hello"})]
        seen.clear()

        await rt.state.set("stock", "offer", "half price", ttl=3600)
        await trio.sleep(3601)  # no time passes: the clock jumps
        await rt.quiesce()
        assert [change[:3] for change in seen] == [
            ("offer", None, "half price"),
            ("offer", "half price", None),
        ]


trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
