"""Who may listen: a token for the connection, an owner for each group, and who is there."""

import json

import trio
from trio_websocket import open_websocket_url

from motia_trio import App, open_runtime

TOKENS = {"t-ann": "ann", "t-bob": "bob"}
ROOMS = {"kitchen": {"ann", "bob"}, "office": {"ann"}}


def authenticate(request):  # once for each connection; in a thread, as it is no async def
    user = TOKENS.get(request.token)
    return {"user": user} if user else False  # False: 401


def can_access(subscription, auth):  # for each join
    return auth["user"] in ROOMS[subscription.group_id]  # an unknown room raises: refused, too


async def on_join(subscription, ctx, auth):
    here = await ctx.streams.chat.presence(subscription.group_id)
    ctx.logger.info("joined", {"user": auth["user"], "already_here": here})
    await ctx.streams.chat.send(
        subscription.group_id, {"type": "joined", "data": {"user": auth["user"]}}
    )


async def on_leave(subscription, ctx, auth):  # once for each join, also when a client just dies
    await ctx.state.set("last seen", auth["user"], subscription.group_id)


chat = {"name": "chat", "canAccess": can_access, "onJoin": on_join, "onLeave": on_leave}
app = App(streams=[chat], authenticate=authenticate)


async def join(socket, room):
    data = {"streamName": "chat", "groupId": room, "subscriptionId": room}
    await socket.send_message(json.dumps({"type": "join", "data": data}))
    return await event(socket)


async def event(socket):
    return json.loads(await socket.get_message())["event"]


async def main():
    async with open_runtime(app, streams="127.0.0.1:0", observers=()) as rt:
        url = rt.streams_url
        async with (
            open_websocket_url(f"{url}/?authToken=t-ann") as ann,
            open_websocket_url(url, subprotocols=["Authorization", "t-bob"]) as bob,
        ):
            assert await join(ann, "kitchen") == {"type": "sync", "data": []}
            assert await join(bob, "office") == {"type": "unauthorized"}
            assert await join(bob, "nowhere") == {"type": "unauthorized"}
            assert await join(bob, "kitchen") == {"type": "sync", "data": []}
            told = {"type": "joined", "data": {"user": "bob"}}
            assert await event(ann) == {"type": "event", "event": told}
            assert await rt.streams.chat.presence("kitchen") == 2
        while await rt.state.get("last seen", "bob") is None:
            await trio.sleep(0.01)


trio.run(main)
