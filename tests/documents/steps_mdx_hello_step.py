config = {
    "name": "HelloStep",
    "description": "Hello endpoint",
    "triggers": [
        {"type": "api", "path": "/hello", "method": "GET"}
    ],
    "enqueues": [],
    "flows": ["my-flow"]
}

async def handler(req, ctx):
    ctx.logger.info("Hello endpoint called")
    return {"status": 200, "body": {"message": "Hello world!"}}
