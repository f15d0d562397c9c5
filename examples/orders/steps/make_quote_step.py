import trio

from motia_trio import queue

PRICES = {"kettle": 12.5, "spoon": 2.25}

# What it returns is the answer for who asked. The message is a durable one: if nobody waits any
# more, or the process was killed, the price is made all the same, and is there the next time.
config = {
    "name": "MakeQuote",
    "description": "Makes a price",
    "triggers": [queue("quote.wanted")],
    "flows": ["quotes"],
}


async def handler(wanted, ctx):
    item = wanted.item
    price = PRICES.get(item) or await ctx.state.get("prices", item)
    if price is None:
        await trio.sleep(1)  # somebody has to think about it
        price = 10.0 + len(item)
        await ctx.state.set("prices", item, price, ttl=24 * 3600)
    return {"item": item, "price": price}
