"""The least there is: a hand-written ASGI function on our server, which routes and checks nothing.

    python -m benchmarks.web.bare

It prints its port. What it reaches bounds every step that is served.
"""

from __future__ import annotations

from typing import Any

import trio
from benchmarks.web.exchanges import MESSAGE

from motia_trio.http_server import listen


async def bare(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the same bytes."""
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    while (await receive()).get("more_body"):
        pass
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(MESSAGE)),
        (b"x-trace-id", b"0" * 32),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": MESSAGE, "more_body": False})


async def main() -> None:
    """Serve for ever."""
    async with trio.open_nursery() as nursery:

        async def edge(task_status: trio.TaskStatus[str]) -> None:
            stop = trio.Event()
            await listen(bare, "127.0.0.1:0", stop=stop, drain=1, task_status=task_status)

        url = await nursery.start(edge)
        print(url.rpartition(":")[2], flush=True)


if __name__ == "__main__":
    trio.run(main)
