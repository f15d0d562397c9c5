"""A program that is killed while a schedule's run is in hand.

``cron_program.py FOLDER EXPRESSION [catch_up]``: says ``began`` when the run begins, which then
never ends.
"""

from __future__ import annotations

import sys
from typing import Any

import trio

from motia_trio import App, cron, open_runtime, step


def main(folder: str, expression: str, *options: str) -> None:
    @step(cron(expression, catch_up="catch_up" in options), name="Work")
    async def work(ctx: Any) -> None:
        print("began", flush=True)
        await trio.sleep_forever()

    async def live() -> None:
        app = App([work], root=folder, store="sqlite:///store.db")
        async with open_runtime(app, observers=()):
            print("ready", flush=True)
            await trio.sleep_forever()

    trio.run(live)


if __name__ == "__main__":
    main(*sys.argv[1:])
