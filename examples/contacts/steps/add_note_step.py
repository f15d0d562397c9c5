from contacts import Note, Problem, find, not_found

NEW_NOTE = {
    "type": "object",
    "required": ["text"],
    "properties": {
        "text": {"type": "string", "minLength": 1, "maxLength": 1000},
        "pinned": {"type": "boolean"},
    },
}

config = {
    "name": "AddNote",
    "description": "Adds a note to a contact",
    "triggers": [
        {
            "type": "http",
            "method": "POST",
            "path": "/contacts/:id/notes",
            "bodySchema": NEW_NOTE,
            "responseSchema": {201: Note, 404: Problem, 409: Problem},
        }
    ],
    "flows": ["notes"],
}

MOST = 100


async def handler(req, ctx):
    contact_id = req.path_params["id"]
    if await find(ctx, contact_id) is None:
        return not_found()
    if len(await ctx.state.get("notes", contact_id) or ()) >= MOST:
        return {"status": 409, "body": Problem(error=f"There are {MOST} notes already")}
    note = Note(text=req.body["text"], pinned=req.body.get("pinned", False))
    await ctx.state.update("notes", contact_id, {"type": "append", "value": note.model_dump()})
    return {"status": 201, "body": note}
