config = {
    "name": "ProcessMessage",
    "description": "Processes messages in background",
    "triggers": [
        {"type": "queue", "topic": "message.sent"}
    ],
    "enqueues": ["message.processed"],
    "flows": ["messaging"]
}

async def handler(input, ctx):
    ctx.logger.info("Processing message", {"input": input})
    await ctx.enqueue({"topic": "message.processed", "data": input})
