from contacts import GROUP, Contact, NewContact, Problem, find, not_found, with_key

config = {
    "name": "ReplaceContact",
    "description": "Puts another contact in the place of one",
    "triggers": [
        {
            "type": "http",
            "method": "PUT",
            "path": "/contacts/:id",
            "bodySchema": NewContact,
            "middleware": [with_key],
            "responseSchema": {200: Contact, 401: Problem, 404: Problem},
        }
    ],
    "flows": ["contacts"],
}


async def handler(req, ctx):
    contact_id = req.path_params["id"]
    if await find(ctx, contact_id) is None:
        return not_found()
    contact = Contact(id=contact_id, **req.body.model_dump())
    await ctx.state.set(GROUP, contact_id, contact)
    return {"status": 200, "body": contact}
