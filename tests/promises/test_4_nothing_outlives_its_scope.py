"""Promise 4: when ``open_runtime`` is left, nothing of it remains."""

from __future__ import annotations

import gc
import os
import threading
from typing import Any

import httpx
import psutil
import pytest
import trio
import trio.testing

from motia_trio import App, Closed, http, open_runtime, queue, step


@step(http("POST", "/work"), enqueues=["work"])
async def take(req: Any, ctx: Any) -> Any:
    await ctx.enqueue("work", req.body)
    return {"status": 202, "body": {}}


@step(queue("work"))
def work_in_a_thread(data: Any) -> None:
    """Use a thread."""


async def _one_cycle() -> None:
    async with open_runtime(App([take, work_in_a_thread]), http="127.0.0.1:0", observers=()) as rt:
        async with httpx.AsyncClient(base_url=str(rt.http_url)) as client:
            assert (await client.post("/work", json={})).status_code == 202
            await rt.quiesce()


def _what_is_there() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "tasks": trio.lowlevel.current_statistics().tasks_living,
        "files and sockets": len(os.listdir("/proc/self/fd")),  # noqa: PTH208 - no Path needed
        "children": len(process.children(recursive=True)),
    }


async def test_fifty_start_stop_cycles_leave_nothing_behind() -> None:
    """No task, thread, socket, file or child; a thread that is kept for reuse is kept once."""
    for _ in range(3):  # Trio keeps worker threads for some seconds, and reuses them
        await _one_cycle()
    before, threads = _what_is_there(), threading.active_count()
    for _ in range(50):
        await _one_cycle()
    gc.collect()
    assert _what_is_there() == before
    assert threading.active_count() <= threads


async def test_memory_does_not_grow_with_cycles() -> None:
    """A runtime that was left can be collected."""
    from motia_trio.runtime import Runtime

    def runtimes() -> list[Runtime]:
        gc.collect()
        return [each for each in gc.get_objects() if isinstance(each, Runtime)]

    kept = runtimes()  # by the traceback of a test that failed before this one
    for _ in range(5):
        await _one_cycle()
    await trio.testing.wait_all_tasks_blocked()
    assert [each for each in runtimes() if each not in kept] == []


async def test_a_runtime_that_was_left_says_so() -> None:
    """Using it afterwards is an error, not a silence."""
    async with open_runtime(App([work_in_a_thread]), observers=()) as rt:
        pass
    with pytest.raises(Closed, match="async with open_runtime"):
        await rt.enqueue("work", 1)


async def test_a_scope_left_by_cancellation_leaves_nothing(autojump_clock: Any) -> None:
    """Cancelled from outside, with work in hand and work waiting."""
    entered, ended = 0, 0

    @step(queue("slow", config={"concurrency": 1}))
    async def slow(data: Any) -> None:
        nonlocal entered, ended
        entered += 1
        try:
            await trio.sleep_forever()
        finally:
            ended += 1

    before = trio.lowlevel.current_statistics().tasks_living
    with trio.move_on_after(1) as scope:
        async with open_runtime(App([slow]), observers=()) as rt:
            for number in range(5):
                await rt.enqueue("slow", number)
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert (entered, ended) == (1, 1)
    assert trio.lowlevel.current_statistics().tasks_living == before
    assert rt.tree()["slow"].deliveries.leased == 0
    assert rt.tree()["slow"].deliveries.waiting == 5
