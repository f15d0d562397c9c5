"""The service with streams that is killed while a crowd follows them. See `program.py`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from motia_trio import App, http, step
from tests.crash.program import main

__all__ = ["make_app"]


async def _write(ctx: Any, body: Any) -> None:
    """Write the change of this number to an item: its number tells what there is to be done."""
    room = ctx.streams[body.stream]
    if body.delete:
        await room.delete("room", body.key)
    else:
        await room.set("room", body.key, {"number": body.number})


@step(http("POST", "/write"), name="Write")
async def write(req: Any, ctx: Any) -> Any:
    await _write(ctx, req.body)
    return {"status": 200, "body": {}}


@step(http("POST", "/together"), name="Together", delivery="transactional")
async def together(req: Any, ctx: Any) -> Any:
    """The same within a transaction: with two other items, kept together or not at all."""
    await _write(ctx, req.body)
    for name in ("left", "right"):
        await ctx.streams.pair.set(req.body.key, name, {"number": req.body.number})
    return {"status": 200, "body": {}}


STREAMS = [{"name": name} for name in ("plain", "together", "pair")]


def make_app(folder: Path) -> App:
    """The service, with its store in a folder."""
    return App([write, together], streams=STREAMS, root=folder, store="sqlite:///store.db")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), make_app)
