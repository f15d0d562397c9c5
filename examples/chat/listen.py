# Listens to a room in a terminal, without a browser: python listen.py [ROOM [URL]]
import sys

import trio

from motia_trio.client import open_stream_client


async def main(room="lobby", url="ws://localhost:3112"):
    shown = set()
    async with open_stream_client(f"{url}/?name=listen.py") as client:
        # the room as it is, and again whenever it has changed; also over a restart of the service
        async for messages in client.group("chat", room):
            for message in sorted(messages, key=lambda message: message["at"]):
                if message["id"] not in shown:
                    shown.add(message["id"])
                    print(f"{message['name']}: {message['text']}", flush=True)


try:
    trio.run(main, *sys.argv[1:])
except* KeyboardInterrupt:
    pass
