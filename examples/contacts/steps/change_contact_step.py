from contacts import EMAIL, GROUP, Contact, Problem, find, not_found, with_key

# A schema may be a JSON Schema in a dict. The body is a dict then, and has just what was sent.
CHANGES = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 100},
        "email": {"type": "string", "pattern": EMAIL, "maxLength": 200},
        "allows_messages": {"type": "boolean"},
    },
    "additionalProperties": False,
    "minProperties": 1,
}

config = {
    "name": "ChangeContact",
    "description": "Changes some fields of a contact",
    "triggers": [
        {
            "type": "http",
            "method": "PATCH",
            "path": "/contacts/:id",
            "bodySchema": CHANGES,
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
    # one step: whoever changes another field at the same time does not undo it
    changed = await ctx.state.update(GROUP, contact_id, {"type": "merge", "value": req.body})
    return {"status": 200, "body": changed["new_value"]}
