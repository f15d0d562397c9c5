config = {
    "name": "GetUser",
    "description": "Get user by ID",
    "triggers": [
        {"type": "api", "path": "/users/:id", "method": "GET"}
    ],
    "enqueues": [],
    "flows": ["users"]
}

async def handler(req, ctx):
    user_id = req.get("pathParams", {}).get("id")
    ctx.logger.info("Getting user", {"userId": user_id})
    return {"status": 200, "body": {"id": user_id, "name": "John"}}
