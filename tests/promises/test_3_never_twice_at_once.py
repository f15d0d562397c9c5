"""Promise 3: two attempts at one delivery never overlap."""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from motia_trio import App, open_runtime, queue, step
from tests.support import both_stores


@both_stores
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_attempts_at_one_message_never_overlap(store: str, seed: int) -> None:
    """Whatever handlers do (fail, hang over their bound, wait): one attempt at a time."""
    chance = random.Random(seed)
    running: Counter[int] = Counter()
    attempts: Counter[int] = Counter()
    done: set[int] = set()

    @step(
        queue("work", infrastructure={"handler": {"timeout": 2}, "queue": {"maxRetries": 8}}),
    )
    async def work(number: int, ctx: Any) -> None:
        running[number] += 1
        attempts[number] += 1
        assert running[number] == 1, "two attempts at once"
        assert number not in done, "handled again after its end"
        try:
            await trio.sleep(chance.choice([0, 0.1, 1, 1, 5]))
            if chance.random() < 0.4:
                raise OSError("no luck")
            done.add(number)
        finally:
            if chance.random() < 0.3:
                with trio.CancelScope(shield=True):  # slow to clean up after its bound
                    await trio.sleep(0.5)
            running[number] -= 1

    async def main(folder: str) -> None:
        app = App([work], root=folder, store=store)
        async with open_runtime(app, observers=()) as rt:
            for number in range(40):
                await rt.enqueue("work", number)
            await trio.sleep(1000)
            dead = {letter.message.data for letter in rt.dead_letters.list()}
            assert done | dead == set(range(40))
            # one that hung in its clean-up may have been done at its bound: then it is also dead
            assert all(attempts[number] <= 9 for number in range(40))

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, folder, clock=trio.testing.MockClock(autojump_threshold=0))


@both_stores
async def test_a_thread_that_outlives_its_bound_is_waited_for_before_the_retry(
    tmp_path: Path, store: str
) -> None:
    """A thread cannot be stopped, so its message waits for it."""
    at_once: list[int] = []
    lock = threading.Lock()
    entered = 0

    @step(
        queue(
            "work",
            infrastructure={
                "handler": {"timeout": 0.05},
                "queue": {"maxRetries": 1, "backoffType": "fixed", "backoffDelayMs": 0},
            },
        )
    )
    def work(data: Any) -> None:
        nonlocal entered
        with lock:
            entered += 1
            at_once.append(entered)
        time.sleep(0.15)
        with lock:
            entered -= 1
        raise OSError("no luck")

    app = App([work], root=tmp_path, store=store)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("work", 1)
        with trio.fail_after(10):
            while len(rt.dead_letters.list()) == 0:
                await trio.testing.wait_all_tasks_blocked(0.01)
    assert at_once == [1, 1]
