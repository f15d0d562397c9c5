from typing import Annotated, Literal

from contacts import Problem, find, not_found
from pydantic import BaseModel, Field


class Mail(BaseModel):
    by: Literal["mail"]
    subject: Annotated[str, Field(min_length=1, max_length=200)]
    text: str = ""


class Call(BaseModel):
    by: Literal["call"]
    minutes: Annotated[int, Field(ge=1, le=60)] = 5


Message = Annotated[Mail | Call, Field(discriminator="by")]


# The condition is asked once the body fits. If it is not met, the answer is 422.
async def allows_messages(req, ctx):
    contact = await find(ctx, req.path_params["id"])
    return contact is None or contact["allows_messages"]


config = {
    "name": "SendMessage",
    "description": "Sends a message to a contact that wants messages",
    "triggers": [
        {
            "type": "http",
            "method": "POST",
            "path": "/contacts/:id/messages",
            "bodySchema": Message,
            "condition": allows_messages,
            "responseSchema": {202: None, 404: Problem},
        }
    ],
    "enqueues": ["message.wanted"],
    "flows": ["messages"],
}


async def handler(req, ctx):
    contact = await find(ctx, req.path_params["id"])
    if contact is None:
        return not_found()
    await ctx.enqueue("message.wanted", {"to": contact["email"], "message": req.body})
    return {"status": 202}
