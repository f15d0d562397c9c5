from contacts import Contact, Problem, find, not_found

config = {
    "name": "GetContact",
    "description": "Tells one contact",
    "triggers": [
        {
            "type": "http",
            "method": "GET",
            "path": "/contacts/:id",
            "responseSchema": {200: Contact, 404: Problem},
        }
    ],
    "flows": ["contacts"],
}


async def handler(req, ctx):
    contact = await find(ctx, req.path_params["id"])
    return {"status": 200, "body": contact} if contact else not_found()
