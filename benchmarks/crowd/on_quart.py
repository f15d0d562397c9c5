"""Quart under hypercorn, and a queue for each client, as its documentation has it.

    python -m benchmarks.crowd.on_quart

It prints its port, and does what `control` says.
"""

from __future__ import annotations

import asyncio
import socket

from benchmarks.crowd.control import allow_files, obey_on_asyncio, ready
from benchmarks.crowd.messages import SYNC, message_of
from hypercorn.asyncio import serve
from hypercorn.config import Config
from quart import Quart, websocket

app = Quart(__name__)
queues: set[asyncio.Queue[str]] = set()


@app.websocket("/")
async def follow() -> None:
    """Send what comes into the client's queue."""
    await websocket.receive()
    queue: asyncio.Queue[str] = asyncio.Queue()
    queues.add(queue)
    try:
        await websocket.send(SYNC)
        while True:
            await websocket.send(await queue.get())
    finally:
        queues.remove(queue)


async def publish(number: int) -> None:
    """Put it into every queue."""
    message = message_of(number)
    for queue in queues:
        await queue.put(message)


async def main() -> None:
    """Serve and obey, for ever."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        config = Config()
        config.bind = [f"fd://{listener.fileno()}"]
        serving = asyncio.create_task(serve(app, config))
        ready(listener.getsockname()[1])
        await obey_on_asyncio(publish)
        serving.cancel()


if __name__ == "__main__":
    allow_files()
    asyncio.run(main())
