"""Our side: a stream on a durable store, served as `motia-trio run` serves it.

    python -m benchmarks.crowd.ours [WRITERS]

Each change is a `set` that makes an item: it is on the disk before anyone is told of it. One task
writes, or so many do, each its next change when its last one is kept. It prints its port, and does
what `control` says.
"""

from __future__ import annotations

import logging
import sys
from collections import deque
from functools import partial

import trio
from benchmarks.crowd.control import allow_files, obey_on_trio, ready
from benchmarks.crowd.messages import GROUP, STREAM, item_of, key_of
from benchmarks.peers.channel import FOLDER

from motia_trio import App, open_runtime
from motia_trio.cli.run import SWITCH_INTERVAL


async def main(writers: int) -> None:
    """Serve and obey, for ever."""
    app = App(streams=[{"name": STREAM}], store=f"sqlite:///{FOLDER}/store.db", synchronous="full")
    due: deque[int] = deque()
    give, take = trio.open_memory_channel[None](0)
    async with (
        open_runtime(app, streams="127.0.0.1:0") as runtime,
        trio.open_nursery() as nursery,
    ):

        async def publish(number: int) -> None:
            await runtime.streams[STREAM].set(GROUP, key_of(number), item_of(number))

        async def hand_over(number: int) -> None:
            due.append(number)
            await give.send(None)

        async def write() -> None:
            async for _ in take:  # in whatever order the tasks run; numbers stay in theirs
                await publish(due.popleft())

        assert runtime.streams_url is not None
        ready(int(runtime.streams_url.rpartition(":")[2]))
        if writers > 1:
            for _ in range(writers):
                nursery.start_soon(write)
        await obey_on_trio(hand_over if writers > 1 else publish)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    allow_files()
    sys.setswitchinterval(SWITCH_INTERVAL)  # as the command does
    logging.basicConfig(level=logging.WARNING)
    trio.run(partial(main, int(sys.argv[1]) if sys.argv[1:] else 1))
