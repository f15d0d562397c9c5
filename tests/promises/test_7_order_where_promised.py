"""Promise 7: order where it is promised. Of its kinds, this version has fifo groups."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from motia_trio import App, open_runtime, queue, step


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), mailbox=st.integers(1, 20))
def test_a_group_is_handled_in_order_one_at_a_time_whatever_fails(seed: int, mailbox: int) -> None:
    """Other groups go on beside it; a failing head holds its group until it is done or dead."""
    chance = random.Random(seed)
    begun: dict[str, list[int]] = defaultdict(list)
    running: Counter[str] = Counter()
    together = 0

    @step(
        queue(
            "work",
            infrastructure={
                "handler": {"timeout": 3},
                "queue": {"type": "fifo", "maxRetries": 2},
            },
        )
    )
    async def work(data: Any, ctx: Any) -> None:
        nonlocal together
        group = data["group"]
        running[group] += 1
        together = max(together, running.total())
        assert running[group] == 1, "two of one group at once"
        if not begun[group] or begun[group][-1] != data.number:
            begun[group].append(data.number)
        try:
            await trio.sleep(chance.choice([0, 0.5, 1, 10]))
            if chance.random() < 0.3:
                raise OSError("no luck")
        finally:
            running[group] -= 1

    async def main() -> None:
        async with open_runtime(App([work], mailbox=mailbox), observers=()) as rt:
            for number in range(60):
                group = f"g{number % 4}"
                await rt.enqueue("work", {"group": group, "number": number}, group=group)
                if chance.random() < 0.2:
                    await trio.sleep(chance.random() * 3)
            await trio.sleep(5000)
            assert rt.tree().in_flight == 0

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert dict(begun) == {f"g{g}": list(range(g, 60, 4)) for g in range(4)}
    if mailbox >= 4:
        assert together > 1


async def test_a_delayed_message_comes_when_it_is_due(autojump_clock: Any) -> None:
    """``delaySeconds`` of the message, or of the queue; not before, and in the order of time."""
    began = trio.current_time()
    seen: list[tuple[str, float]] = []

    @step(queue("work"), name="Work")
    async def work(data: str) -> None:
        seen.append((data, round(trio.current_time() - began, 2)))

    @step(queue("late", config={"delaySeconds": 7}), name="Late")
    async def late(data: str) -> None:
        seen.append((data, round(trio.current_time() - began, 2)))

    async with open_runtime(App([work, late]), observers=()) as rt:
        await rt.enqueue("work", "b", delay=60)
        await rt.enqueue("work", "a", delay=5)
        await rt.enqueue("late", "c")
        await rt.enqueue("work", "now")
        await rt.quiesce()
        assert [name for name, _ in seen] == ["now"]
        await trio.sleep(100)
    assert seen == [("now", 0.0), ("a", 5.0), ("c", 7.0), ("b", 60.0)]
