"""A project as the commands meet it: with its service running, and without."""

from __future__ import annotations

import json
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

import pytest
import trio
from attrs import frozen

from motia_trio import App, open_runtime
from motia_trio.cli.sources import STORE
from tests.support import invoke, project

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FILES = {
    "steps/ship_step.py": """
config = {
    "name": "Ship",
    "triggers": [
        {"type": "queue", "topic": "order.placed", "config": {"maxRetries": 0}},
    ],
}

async def handler(order, ctx):
    if order.get("bad"):
        raise RuntimeError(f"too heavy: {order['bad']}")
    await ctx.state.set("shipped", str(order["id"]), dict(order))
""",
    "steps/tell_step.py": """
config = {"name": "Tell", "triggers": [{"type": "state", "groupId": "watched"}]}

async def handler(change, ctx):
    await ctx.state.set("told", change["item_id"], change["new_value"])
""",
}


@frozen
class Shop:
    """A project and whether its service runs."""

    root: Path
    running: bool

    def run(self, *arguments: str, input: str | None = None) -> tuple[int, str, str]:
        """Run a command on it: exit code, stdout, stderr."""
        return invoke(*arguments, "--dir", self.root, input=input)

    def out(self, *arguments: str, input: str | None = None) -> str:
        """Run a command on it that succeeds; what it printed."""
        code, out, err = self.run(*arguments, input=input)
        assert (code, err) == (0, ""), (code, out, err)
        return out

    def json(self, *arguments: str, input: str | None = None) -> Any:
        """Run a command on it that succeeds; the JSON it printed."""
        return json.loads(self.out(*arguments, "--json", input=input))

    def settle(self) -> None:
        """Wait until nothing is in hand or waits; where no service runs, let one do it all."""
        if not self.running:
            trio.run(self._work)
        while True:
            _, out, _ = self.run("status", "--json")
            steps = json.loads(out)["steps"]
            if not any(step["waiting"] + step["leased"] + step["in_flight"] for step in steps):
                return

    async def _work(self) -> None:
        app = App.from_directory(self.root, store=STORE)
        with trio.fail_after(30):
            async with open_runtime(app, observers=()) as rt:
                await rt.quiesce()

    def bury(self, *names: str) -> list[str]:
        """Make dead letters; their ids."""
        for name in names:
            self.out("emit", "order.placed", json.dumps({"bad": name}))
        self.settle()
        return [letter["id"] for letter in self.json("dead-letters", "list")]


@pytest.fixture(params=["running", "stopped"])
def shop(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Shop]:
    root = project(tmp_path / "shop", FILES)
    if request.param == "stopped":
        yield Shop(root, running=False)
        return
    with serving(root):
        yield Shop(root, running=True)


@contextmanager
def serving(root: Path) -> Iterator[None]:
    """Serve a project from a thread, as ``motia-trio run`` does from a process of its own."""
    ready: SimpleQueue[Callable[[], None] | BaseException] = SimpleQueue()

    async def main() -> None:
        app = App.from_directory(root, store=STORE)
        folder = root / ".motia"
        async with open_runtime(app, http="127.0.0.1:0", control=folder, observers=()):
            token, stop = trio.lowlevel.current_trio_token(), trio.Event()
            ready.put(lambda: token.run_sync_soon(stop.set))
            await stop.wait()

    def run() -> None:
        try:
            trio.run(main)
        except BaseException as error:
            ready.put(error)
            raise

    thread = Thread(target=run)
    thread.start()
    stop = ready.get()
    if isinstance(stop, BaseException):
        raise stop
    try:
        yield
    finally:
        stop()
        thread.join()
