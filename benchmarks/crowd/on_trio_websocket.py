"""trio-websocket, and what one writes first: a loop of `send_message` over all connections.

    python -m benchmarks.crowd.on_trio_websocket

It prints its port, and does what `control` says.
"""

from __future__ import annotations

import trio
from benchmarks.crowd.control import allow_files, obey_on_trio, ready
from benchmarks.crowd.messages import SYNC, message_of
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    serve_websocket,
)


async def main() -> None:
    """Serve and obey, for ever."""
    followers: list[WebSocketConnection] = []

    async def follow(request: WebSocketRequest) -> None:
        connection = await request.accept()
        await connection.get_message()
        followers.append(connection)
        await connection.send_message(SYNC)
        try:
            while True:
                await connection.get_message()
        except ConnectionClosed:
            followers.remove(connection)

    async def publish(number: int) -> None:
        message = message_of(number)
        for follower in followers:
            await follower.send_message(message)

    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, follow, "127.0.0.1", 0, None)
        ready(server.port)
        await obey_on_trio(publish)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    allow_files()
    trio.run(main)
