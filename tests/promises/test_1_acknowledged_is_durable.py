"""Promise 1: once enqueue, state.set or a stream's set has returned, kill -9 does not lose it.

That it holds under load, and at random instants, is shown in ``tests/crash``.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from motia_trio import App, Runtime, open_runtime, queue, step
from motia_trio.store import Counts
from motia_trio.store.sqlite import SqliteStore
from tests.support import child

STRACE = shutil.which("strace")

# each does one thing, and dies in the instruction after it
DIES = """
import os, signal, sys, trio
from motia_trio import App, http, open_runtime, queue, step

what = sys.argv[2]

def die():
    os.kill(os.getpid(), signal.SIGKILL)

@step(queue("work"), name="Work")
async def work(data, ctx):
    if data == "enqueue":
        await ctx.enqueue("later", {"from": "a handler"})
        die()
    if data == "state":
        await ctx.state.set("orders", "7", {"total": 12})
        die()
    if data == "stream":
        await ctx.streams.chat.set("room", "7", {"text": "hello"})
        die()

@step(queue("work"), name="Threaded")
def threaded(data, ctx):
    if data == "thread":
        ctx.state.set("orders", "7", {"total": 12})
        die()

@step(queue("later"), name="Later")
async def later(data):
    await trio.sleep_forever()

async def main():
    chat = [{"name": "chat"}]
    app = App(
        [work, threaded, later], streams=chat, root=sys.argv[1], store="sqlite:///store.db"
    )
    async with open_runtime(app, observers=()) as rt:
        if what == "program":
            await rt.enqueue("later", {"from": "the program"})
            die()
        if what == "many":
            await rt.streams.chat.set("room", "7", {"text": "hello"})
            for number in range(100):
                await rt.enqueue("later", {"number": number})
                await rt.state.update("orders", "7", {"type": "set", "path": "n", "value": number})
            die()
        await rt.enqueue("work", what)
        await trio.sleep_forever()

trio.run(main)
"""


@step(queue("work"), name="Work")
async def work(data: Any) -> None:
    """Never run: the app is opened idle."""


@step(queue("work"), name="Threaded")
async def threaded(data: Any) -> None:
    """As above."""


@step(queue("later"), name="Later")
async def later(data: Any) -> None:
    """As above."""


def _waiting(rt: Runtime) -> int:
    """How many messages wait for the last step."""
    return rt.store.counts(time.time()).get("Later", Counts()).waiting


@pytest.mark.parametrize(
    ("what", "messages", "state", "stream"),
    [
        ("program", 1, None, None),
        ("enqueue", 1, None, None),
        ("state", 0, {"total": 12}, None),
        ("thread", 0, {"total": 12}, None),
        ("stream", 0, None, {"text": "hello"}),
        ("many", 100, {"n": 99}, {"text": "hello"}),
    ],
)
async def test_what_has_returned_is_there_after_a_kill_in_the_next_instruction(
    tmp_path: Path, what: str, messages: int, state: Any, stream: Any
) -> None:
    """Wherever it was called: in the program, in a handler, in a handler's thread."""
    (tmp_path / "dies.py").write_text(DIES)
    with child(tmp_path / "dies.py", tmp_path, what) as process:
        assert process.wait(timeout=60) == -signal.SIGKILL, process.stderr
    chat = [{"name": "chat"}]
    app = App([work, threaded, later], streams=chat, root=tmp_path, store="sqlite:///store.db")
    async with open_runtime(app, idle=True, observers=()) as rt:
        assert _waiting(rt) == messages
        assert await rt.state.get("orders", "7") == state
        assert await rt.streams.chat.get("room", "7") == stream


@pytest.mark.parametrize(("synchronous", "level"), [("full", 2), ("normal", 1)])
async def test_each_commit_is_synced_unless_the_setting_says_otherwise(
    tmp_path: Path, synchronous: str, level: int
) -> None:
    """PRAGMA synchronous, of the connection that writes. Full is the default."""
    options: dict[str, Any] = {} if synchronous == "full" else {"synchronous": synchronous}
    app = App([work], root=tmp_path, store="sqlite:///store.db", **options)
    async with open_runtime(app, observers=()) as rt:
        store = rt.store
        assert isinstance(store, SqliteStore)

        def look(connection: Any) -> tuple[Any, ...]:
            names = ("synchronous", "journal_mode")
            return tuple(connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)

        assert await store.alone(look) == (level, "wal")


# says on stdout, through the descriptor that strace sees, when each call begins and has returned
SAYS = """
import os, sys, trio
from motia_trio import App, open_runtime, queue, step

@step(queue("later"), name="Later")
async def later(data):
    pass

async def main():
    app = App([later], root=sys.argv[1], store="sqlite:///store.db")
    async with open_runtime(app, idle=True, observers=()) as rt:
        for number in range(3):
            os.write(1, b"begin\\n")
            await rt.enqueue("later", number)
            os.write(1, b"kept\\n")
            os.write(1, b"begin\\n")
            await rt.state.set("group", "key", number)
            os.write(1, b"kept\\n")

trio.run(main)
"""


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_the_disk_has_been_synced_before_a_call_returns(tmp_path: Path) -> None:
    """So a power cut does not lose it either: seen from outside, in the system calls."""
    (tmp_path / "says.py").write_text(SAYS)
    log = tmp_path / "calls"
    traced = [str(STRACE), "-f", "-o", str(log), "-e", "trace=write,fsync,fdatasync"]
    ran = subprocess.run(
        [*traced, sys.executable, str(tmp_path / "says.py"), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        check=False,
    )
    if "ptrace" in ran.stderr:
        pytest.skip(f"strace may not trace here: {ran.stderr.splitlines()[0]}")
    assert ran.returncode == 0, ran.stderr
    calls = [
        "begin" if '"begin' in line else "kept" if '"kept' in line else "sync"
        for line in log.read_text().splitlines()
        if '"begin' in line or '"kept' in line or ("sync(" in line and "= 0" in line)
        or ("sync resumed" in line and "= 0" in line)
    ]  # fmt: skip
    assert calls.count("begin") == calls.count("kept") == 6
    while "begin" in calls:
        begin, kept = calls.index("begin"), calls.index("kept")
        assert "sync" in calls[begin:kept]
        calls = calls[kept + 1 :]


async def test_what_was_given_to_the_store_is_kept_though_its_caller_is_cancelled(
    tmp_path: Path,
) -> None:
    """A call is kept or it is not; one that was under way is."""

    async def cancel(scope: trio.CancelScope) -> None:
        scope.cancel()

    app = App([later], root=tmp_path, store="sqlite:///store.db")
    async with open_runtime(app, idle=True, observers=()) as rt:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel, nursery.cancel_scope)
            await rt.enqueue("later", 1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await rt.enqueue("later", 2)
        assert scope.cancelled_caught  # this one was never given to it
        assert _waiting(rt) == 1
    async with open_runtime(app, idle=True, observers=()) as rt:
        assert _waiting(rt) == 1
