from uuid import uuid4

from contacts import GROUP, Contact, NewContact

# The body is checked before the handler is called, and is a NewContact then.
config = {
    "name": "CreateContact",
    "description": "Keeps a new contact",
    "triggers": [
        {
            "type": "http",
            "method": "POST",
            "path": "/contacts",
            "bodySchema": NewContact,
            "responseSchema": {201: Contact},
        }
    ],
    "flows": ["contacts"],
}


async def handler(req, ctx):
    contact = Contact(id=uuid4().hex, **req.body.model_dump())
    await ctx.state.set(GROUP, contact.id, contact)
    location = f"/contacts/{contact.id}"
    return {"status": 201, "body": contact, "headers": {"location": location}}
