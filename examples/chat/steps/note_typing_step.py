from chat import Problem, Typing, in_a_room

from motia_trio import http

# POST /rooms/:room/typing tells those who are in the room, and nobody else: `send` keeps nothing.
config = {
    "name": "NoteTyping",
    "description": "Tells a room that somebody types",
    "triggers": [
        http(
            "POST",
            "/rooms/:room/typing",
            middleware=[in_a_room],
            body_schema=Typing,
            response_schema={204: None, 404: Problem},
        )
    ],
    "flows": ["chat"],
}


async def handler(req, ctx):
    event = {"type": "typing", "data": req.body.model_dump()}
    await ctx.streams.chat.send({"groupId": req.path_params.room}, event)
    return {"status": 204}
