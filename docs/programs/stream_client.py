"""A program that follows a stream, and goes on when the server was away."""

import tempfile

import trio

from motia_trio import App, open_runtime
from motia_trio.client import Backoff, open_stream_client


async def follow(url, here):
    async with (
        open_stream_client(url, backoff=Backoff(first=0.05)) as client,
        client.group("chat", "kitchen", on_gap=print) as kitchen,
    ):
        async for items in kitchen:  # what there is, and then whenever that has changed
            print([item["text"] for item in items])
            here.set()
            if len(items) == 2:
                break
        assert (client.connections, kitchen.gaps) == (2, 0)


async def main():
    with tempfile.TemporaryDirectory() as root:
        app = App([], streams=[{"name": "chat"}], root=root, store="sqlite:///chat.db")
        async with trio.open_nursery() as nursery:
            async with open_runtime(app, streams="127.0.0.1:0") as rt:
                url = rt.streams_url
                await rt.streams.chat.set("kitchen", "1", {"text": "who is there?"})
                here = trio.Event()
                nursery.start_soon(follow, url, here)
                await here.wait()
            async with open_runtime(app, streams=url.removeprefix("ws://")) as rt:
                await rt.streams.chat.set("kitchen", "2", {"text": "me"})
                while await rt.streams.chat.presence("kitchen") or len(nursery.child_tasks):
                    await trio.sleep(0.01)


trio.run(main)
