from chat import Problem, Room, in_a_room

from motia_trio import http

# GET /rooms/:room is for those who have no web socket: what was said, and how many listen.
config = {
    "name": "ShowRoom",
    "description": "Tells what was said in a room",
    "triggers": [
        http(
            "GET",
            "/rooms/:room",
            middleware=[in_a_room],
            response_schema={200: Room, 404: Problem},
        )
    ],
    "flows": ["chat"],
}


async def handler(req, ctx):
    room, chat = req.path_params.room, ctx.streams.chat
    messages = sorted(await chat.get_group(room), key=lambda message: message["at"])
    return {
        "status": 200,
        "body": {"room": room, "here": await chat.presence(room), "messages": messages},
    }
