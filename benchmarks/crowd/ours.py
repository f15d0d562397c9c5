"""Our side: a stream on a durable store, served as `motia-trio run` serves it.

    python -m benchmarks.crowd.ours

Each change is a `set` that makes an item: it is on the disk before anyone is told of it. It prints
its port, and does what `control` says.
"""

from __future__ import annotations

import logging
import sys

import trio
from benchmarks.crowd.control import allow_files, obey_on_trio, ready
from benchmarks.crowd.messages import GROUP, STREAM, item_of, key_of
from benchmarks.peers.channel import FOLDER

from motia_trio import App, open_runtime
from motia_trio.cli.run import SWITCH_INTERVAL


async def main() -> None:
    """Serve and obey, for ever."""
    app = App(streams=[{"name": STREAM}], store=f"sqlite:///{FOLDER}/store.db", synchronous="full")
    async with open_runtime(app, streams="127.0.0.1:0") as runtime:

        async def publish(number: int) -> None:
            await runtime.streams[STREAM].set(GROUP, key_of(number), item_of(number))

        assert runtime.streams_url is not None
        ready(int(runtime.streams_url.rpartition(":")[2]))
        await obey_on_trio(publish)


if __name__ == "__main__":
    allow_files()
    sys.setswitchinterval(SWITCH_INTERVAL)  # as the command does
    logging.basicConfig(level=logging.WARNING)
    trio.run(main)
