from chat import Message, MessageId, NewMessage, Problem, in_a_room, now
from pydantic import BaseModel

from motia_trio import http


class Posted(BaseModel):
    id: MessageId


# POST /rooms/:room/messages says something. When the answer goes out, the message is on disk and on
# its way to every browser in the room. Who gives an id may post again when the line broke.
config = {
    "name": "PostMessage",
    "description": "Says something in a room",
    "triggers": [
        http(
            "POST",
            "/rooms/:room/messages",
            middleware=[in_a_room],
            body_schema=NewMessage,
            response_schema={200: Posted, 201: Posted, 404: Problem},
        )
    ],
    "flows": ["chat"],
}


async def handler(req, ctx):
    room, new = req.path_params.room, req.body
    if await ctx.streams.chat.get(room, new.id) is not None:
        return {"status": 200, "body": {"id": new.id}}
    await ctx.streams.chat.set(room, new.id, Message(name=new.name, text=new.text, at=now()))
    return {"status": 201, "body": {"id": new.id}}
