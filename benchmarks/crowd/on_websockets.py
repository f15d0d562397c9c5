"""websockets on asyncio, and its `broadcast`, as its documentation has it.

    python -m benchmarks.crowd.on_websockets [uvloop]

It prints its port, and does what `control` says.
"""

from __future__ import annotations

import asyncio
import sys

from benchmarks.crowd.control import allow_files, obey_on_asyncio, ready
from benchmarks.crowd.messages import SYNC, message_of
from websockets.asyncio.server import ServerConnection, broadcast, serve


async def main() -> None:
    """Serve and obey, for ever."""
    followers: set[ServerConnection] = set()

    async def follow(connection: ServerConnection) -> None:
        await connection.recv()
        followers.add(connection)
        try:
            await connection.send(SYNC)
            await connection.wait_closed()
        finally:
            followers.remove(connection)

    async def publish(number: int) -> None:
        broadcast(followers, message_of(number))

    async with serve(follow, "127.0.0.1", 0) as server:
        ready(next(iter(server.sockets)).getsockname()[1])
        await obey_on_asyncio(publish)


if __name__ == "__main__":
    allow_files()
    if sys.argv[1:] == ["uvloop"]:
        import uvloop

        uvloop.run(main())
    else:
        asyncio.run(main())
