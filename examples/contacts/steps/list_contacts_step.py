from contacts import GROUP, Found, Search

# A query is text. By its schema `limit` is a number, `tag` a list, and what does not fit is 400.
config = {
    "name": "ListContacts",
    "description": "Finds contacts, some at a time",
    "triggers": [
        {
            "type": "http",
            "method": "GET",
            "path": "/contacts",
            "queryParams": Search,
            "responseSchema": {200: Found},
        }
    ],
    "flows": ["contacts"],
}


async def handler(req, ctx):
    query = req.query_params
    found = [
        contact
        for contact in await ctx.state.list(GROUP)
        if query.text.lower() in contact["name"].lower() and set(query.tag) <= set(contact["tags"])
    ]
    found.sort(key=lambda contact: contact[query.sort])
    page = found[query.offset : query.offset + query.limit]
    return {"status": 200, "body": {"contacts": page, "total": len(found)}}
