"""Promise 2: what was acknowledged is not handled again; what was not is, until it is or is dead.

That it holds under load, and at random instants, is shown in ``tests/crash``.
"""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from motia_trio import App, Service, open_runtime, queue, state, step
from tests.support import both_stores, child

# handles what it finds, writes each handling down outside of the store, and dies as it is told to
HANDLES = """
import os, signal, sys, trio
from motia_trio import App, open_runtime, queue, step

root, what = sys.argv[1:]
log = os.open(os.path.join(root, "log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

@step(queue("work"), queue("fanned"), name="Work")
async def work(data, ctx):
    os.write(log, f"Work {data}\\n".encode())
    if what == "die in hand" and data == 3:
        die()

@step(queue("fanned"), name="Beside")
async def beside(data, ctx):
    os.write(log, f"Beside {data}\\n".encode())
    if what == "die beside":
        await trio.sleep(0.05)  # the others are acknowledged meanwhile
        die()

async def main():
    app = App([work, beside], root=root, store="sqlite:///store.db")
    async with open_runtime(app, observers=()) as rt:
        if what == "publish":
            for number in range(20):
                await rt.enqueue("work", number)
        if what == "die in hand":
            await rt.enqueue("work", 3)
        if what == "die beside":
            await rt.enqueue("fanned", 0)
        await rt.quiesce()
        die()

trio.run(main)
"""


def _run(folder: Path, what: str) -> list[str]:
    """Run the program until it kills itself; give what was handled in it."""
    program = folder / "handles.py"
    program.write_text(HANDLES)
    log = folder / "log"
    before = len(log.read_text()) if log.exists() else 0
    with child(program, folder, what) as process:
        assert process.wait(timeout=60) == -signal.SIGKILL
    return log.read_text()[before:].splitlines()


def test_what_is_done_is_not_handled_again_after_a_kill(tmp_path: Path) -> None:
    """The kill comes in the instruction after the last acknowledgement was kept."""
    assert sorted(_run(tmp_path, "publish")) == sorted(f"Work {number}" for number in range(20))
    assert _run(tmp_path, "look") == []


def test_what_was_in_hand_is_handled_again_and_the_next_time_it_is_done(tmp_path: Path) -> None:
    """Killed before the acknowledgement: once more, and no more."""
    assert _run(tmp_path, "die in hand") == ["Work 3"]
    assert _run(tmp_path, "look") == ["Work 3"]
    assert _run(tmp_path, "look") == []


def test_of_one_message_each_step_s_delivery_is_done_or_not(tmp_path: Path) -> None:
    """One step's acknowledgement is not undone by the kill that another's handler met."""
    assert sorted(_run(tmp_path, "die beside")) == ["Beside 0", "Work 0"]
    assert _run(tmp_path, "look") == ["Beside 0"]
    assert _run(tmp_path, "look") == []


async def test_attempts_and_their_failures_are_counted_on_over_restarts(tmp_path: Path) -> None:
    """A restart gives a failing message no new attempts, and takes none away."""
    attempts: list[int] = []

    @step(
        queue(
            "work",
            infrastructure={
                "queue": {"maxRetries": 3, "backoffType": "fixed", "backoffDelayMs": 0}
            },
        ),
        name="Work",
    )
    async def work(data: Any) -> None:
        attempts.append(data)
        failed.set()
        raise OSError(f"number {len(attempts)}")

    app = App([work], root=tmp_path, store="sqlite:///store.db")
    failed = trio.Event()
    async with open_runtime(app, idle=True, observers=()) as rt:
        await rt.enqueue("work", 1)
    with trio.fail_after(30):
        while len(attempts) < 4:
            failed = trio.Event()
            async with open_runtime(app, observers=()):
                await failed.wait()
    async with open_runtime(app, observers=()) as rt:
        await rt.quiesce()
        (letter,) = rt.dead_letters.list()
    assert attempts == [1, 1, 1, 1]
    assert [failure.attempt for failure in letter.failures] == [1, 2, 3, 4]
    assert [failure.error for failure in letter.failures] == [
        f"OSError: number {number}" for number in (1, 2, 3, 4)
    ]
    assert letter.reason == "failed 4 times; last: OSError: number 4"


async def _enqueue(rt: Service) -> None:
    await rt.enqueue("work", "x")


async def _enqueue_behind(rt: Service) -> None:
    """It has no room in the mailbox, so the feeder has to bring it."""
    await rt.enqueue("narrow", 1)
    await rt.enqueue("narrow", 2)
    await rt.enqueue("narrow", "x")


async def _set(rt: Service) -> None:
    await rt.state.set("group", "key", "x")


async def _redrive(rt: Service) -> None:
    await rt.dead_letters.redrive([letter.id for letter in rt.dead_letters.list()])


@both_stores
@pytest.mark.parametrize("call", [_enqueue, _enqueue_behind, _set, _redrive])
@pytest.mark.parametrize("after", range(4))
async def test_what_is_kept_is_handled_though_its_publisher_was_cancelled_meanwhile(
    tmp_path: Path, store: str, call: Callable[[Service], Awaitable[None]], after: int
) -> None:
    """Whatever is in the store begins when it is due: nobody has to come by and ask."""
    got: list[Any] = []
    broken = True

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        got.append(data)

    @step(queue("narrow", config={"concurrency": 1}), name="Narrow")
    async def narrow(data: Any) -> None:
        got.append(data)

    @step(state(), name="Watch")
    async def watch(change: Any) -> None:
        got.append(change.new_value)

    @step(queue("fails", config={"maxRetries": 0}), name="Fails")
    async def fails(data: Any) -> None:
        if broken:
            raise OSError("no luck")
        got.append(data)

    async def cancel(scope: trio.CancelScope) -> None:
        for _ in range(after):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    app = App([work, narrow, watch, fails], root=tmp_path, store=store, mailbox=1)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("fails", "x")
        with trio.fail_after(20):
            await rt.quiesce()
        broken, kept = False, False
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancel, nursery.cancel_scope)
            await call(rt)
            kept = True
        with trio.fail_after(20):
            await rt.quiesce()
        assert not any(actor.deliveries.waiting for actor in rt.tree().actors)
        assert not kept or "x" in got


@both_stores
async def test_what_stood_behind_a_cancelled_message_of_its_group_begins(
    tmp_path: Path, store: str
) -> None:
    """The head of a group that waits for its next attempt is cancelled: the next one is due."""
    got: list[str] = []
    retry = {"type": "fifo", "backoffType": "fixed", "backoffDelayMs": 3_600_000}

    @step(queue("work", infrastructure={"queue": retry}), name="Work")
    async def work(data: str) -> None:
        got.append(data)
        if data == "first":
            raise OSError("no luck")

    app = App([work], root=tmp_path, store=store)
    async with open_runtime(app, observers=()) as rt:
        first = await rt.enqueue("work", "first", group="g")
        await rt.enqueue("work", "second", group="g")
        await rt.enqueue("work", "third", group="g")
        with trio.fail_after(20):
            await rt.quiesce()
            assert got == ["first"]
            assert await rt.cancel(first) == 1
            await rt.quiesce()
    assert got == ["first", "second", "third"]
