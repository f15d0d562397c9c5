# A step without a route: it is not in the OpenAPI document, but in the AsyncAPI one.
WANTED = {"type": "object", "required": ["to", "message"]}

config = {
    "name": "DeliverMessage",
    "description": "Delivers a message (here, into the log)",
    "triggers": [{"type": "queue", "topic": "message.wanted", "input": WANTED}],
    "flows": ["messages"],
}


async def handler(wanted, ctx):
    ctx.logger.info("delivered", {"to": wanted["to"], "by": wanted["message"]["by"]})
