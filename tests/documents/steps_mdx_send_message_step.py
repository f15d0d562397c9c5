config = {
    "name": "SendMessage",
    "description": "Sends a message",
    "triggers": [
        {"type": "api", "path": "/messages", "method": "POST"}
    ],
    "enqueues": ["message.sent"],
    "flows": ["messaging"]
}

async def handler(req, ctx):
    await ctx.enqueue({
        "topic": "message.sent",
        "data": {"text": req.body["text"]}
    })
    return {"status": 200, "body": {"ok": True}}
