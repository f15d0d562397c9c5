from contacts import GROUP, Problem, find, not_found, with_key

config = {
    "name": "DeleteContact",
    "description": "Forgets a contact and its notes",
    "triggers": [
        {
            "type": "http",
            "method": "DELETE",
            "path": "/contacts/:id",
            "middleware": [with_key],
            "responseSchema": {204: None, 401: Problem, 404: Problem},
        }
    ],
    "flows": ["contacts"],
}


async def handler(req, ctx):
    contact_id = req.path_params["id"]
    if await find(ctx, contact_id) is None:
        return not_found()
    await ctx.state.delete(GROUP, contact_id)
    await ctx.state.delete("notes", contact_id)
    return {"status": 204}
