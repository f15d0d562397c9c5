from contacts import Note, Problem, find, not_found

config = {
    "name": "ListNotes",
    "description": "Tells the notes of a contact, pinned ones first",
    "triggers": [
        {
            "type": "http",
            "method": "GET",
            "path": "/contacts/:id/notes",
            "responseSchema": {200: list[Note], 404: Problem},
        }
    ],
    "flows": ["notes"],
}


async def handler(req, ctx):
    contact_id = req.path_params["id"]
    if await find(ctx, contact_id) is None:
        return not_found()
    notes = await ctx.state.get("notes", contact_id) or []
    return {"status": 200, "body": sorted(notes, key=lambda note: not note["pinned"])}
