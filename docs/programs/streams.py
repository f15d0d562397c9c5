"""A stream: items that are kept, and clients that have each change as it is committed."""

import json

import trio
from trio_websocket import open_websocket_url

from motia_trio import App, http, open_runtime, step

chat = {
    "name": "chat",
    "schema": {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}},
    "ttl": 7 * 24 * 3600,  # an item stays for a week after it was last set …
    "max_items": 500,  # … and a group has no more than its newest 500
}


@step(http("POST", "/rooms/:room/messages"))
async def say(req, ctx):
    room = req.path_params.room
    await ctx.streams.chat.set(room, ctx.trace_id, {"text": req.body.text})
    await ctx.streams.chat.send(room, {"type": "stopped typing", "data": {"user": "ann"}})
    return {"status": 201, "body": {"here": await ctx.streams.chat.presence(room)}}


async def main():
    async with open_runtime(App([say], streams=[chat]), streams="127.0.0.1:0") as rt:
        await rt.streams.chat.set("kitchen", "1", {"text": "who is there?"})
        async with open_websocket_url(rt.streams_url) as socket:
            place = {"streamName": "chat", "groupId": "kitchen", "subscriptionId": "any text"}
            await socket.send_message(json.dumps({"type": "join", "data": place}))
            message = json.loads(await socket.get_message())
            assert message["event"] == {
                "type": "sync",
                "data": [{"id": "1", "text": "who is there?"}],
            }

            await rt.streams.chat.set("kitchen", "2", {"text": "me"})
            message = json.loads(await socket.get_message())
            assert message["event"] == {"type": "create", "data": {"id": "2", "text": "me"}}
            seq = message["seq"]
            assert await rt.streams.chat.presence("kitchen") == 1

        await rt.streams.chat.update(
            "kitchen", "2", [{"type": "set", "path": "text", "value": "I"}]
        )
        async with open_websocket_url(rt.streams_url) as socket:  # again, and not from the start
            place["since"] = seq
            await socket.send_message(json.dumps({"type": "join", "data": place}))
            assert json.loads(await socket.get_message())["event"]["type"] == "resume"
            message = json.loads(await socket.get_message())
            assert message["event"] == {"type": "update", "data": {"id": "2", "text": "I"}}


trio.run(main)
