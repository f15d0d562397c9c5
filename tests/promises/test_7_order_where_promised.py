"""Promise 7: order where it is promised: within a fifo group, and of the changes of one key.

That it holds when the process is killed is shown in ``tests/crash``.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter, defaultdict
from typing import Any

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from motia_trio import App, Service, open_runtime, queue, state, step, stream
from tests.support import both_stores


@both_stores
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), mailbox=st.integers(1, 20))
def test_a_group_is_handled_in_order_one_at_a_time_whatever_fails(
    store: str, seed: int, mailbox: int
) -> None:
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

    async def main(folder: str) -> None:
        app = App([work], root=folder, store=store, mailbox=mailbox)
        async with open_runtime(app, observers=()) as rt:
            for number in range(60):
                group, priority = f"g{number % 4}", chance.choice([0, 0, -3, 7])
                data = {"group": group, "number": number}
                await rt.enqueue("work", data, group=group, priority=priority)
                if chance.random() < 0.2:
                    await trio.sleep(chance.random() * 3)
            await trio.sleep(5000)
            assert rt.tree().in_flight == 0

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, folder, clock=trio.testing.MockClock(autojump_threshold=0))
    assert dict(begun) == {f"g{g}": list(range(g, 60, 4)) for g in range(4)}
    if mailbox >= 4:
        assert together > 1


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), mailbox=st.integers(1, 20))
def test_a_group_keeps_its_order_over_restarts(seed: int, mailbox: int) -> None:
    """What was in hand at a stop comes first again, whatever waited behind it."""
    chance = random.Random(seed)
    begun: dict[str, list[int]] = defaultdict(list)
    done: list[int] = []

    @step(
        queue(
            "work",
            infrastructure={"queue": {"type": "fifo", "maxRetries": 50, "backoffDelayMs": 10}},
            config={"concurrency": 3},
        ),
        name="Work",
    )
    async def work(data: Any, ctx: Any) -> None:
        if not begun[data.group] or begun[data.group][-1] != data.number:
            begun[data.group].append(data.number)
        await trio.sleep(chance.choice([0, 0.5, 1, 3]))
        if chance.random() < 0.2:
            raise OSError("no luck")
        done.append(data.number)

    async def main(folder: str) -> None:
        app = App(
            [work], root=folder, store="sqlite:///store.db", mailbox=mailbox, shutdown_timeout=0.1
        )
        sent = 0
        while len(done) < 40:
            async with open_runtime(app, observers=(), idle=sent == 0) as rt:
                for number in range(sent, min(40, sent + 10)):
                    group, priority = f"g{number % 4}", chance.choice([0, 0, -3, 7])
                    data = {"group": group, "number": number}
                    await rt.enqueue("work", data, group=group, priority=priority)
                    sent += 1
                await trio.sleep(chance.random() * 5)

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, folder, clock=trio.testing.MockClock(autojump_threshold=0))
    assert dict(begun) == {f"g{g}": list(range(g, 40, 4)) for g in range(4)}
    assert sorted(done) == list(range(40))


@both_stores
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), mailbox=st.integers(1, 20))
def test_the_changes_of_a_key_are_told_in_order_without_gap_or_repeat(
    store: str, seed: int, mailbox: int
) -> None:
    """Of state and of a stream: what one change left is what the next one found."""
    chance = random.Random(seed)
    made: dict[tuple[str, str], list[tuple[Any, Any]]] = defaultdict(list)
    told: dict[tuple[str, str], list[tuple[Any, Any]]] = defaultdict(list)
    retry = {"queue": {"maxRetries": 50, "backoffDelayMs": 10}}

    async def stumble() -> None:
        """Fail now and then: the same change comes again then, before the next."""
        await trio.sleep(chance.choice([0, 0.5, 1, 3]))
        if chance.random() < 0.2:
            raise OSError("no luck")

    @step(state(group_id="orders"), name="Watch", infrastructure=retry)
    async def watch(change: Any, ctx: Any) -> None:
        await stumble()
        told["state", change.item_id].append((change.old_value, change.new_value))

    @step(stream("chat"), name="Read", infrastructure=retry)
    async def read(change: Any, ctx: Any) -> None:
        await stumble()
        before = told["chat", change.id]
        found = before[-1][1] if before else None
        kind = {(True, False): "create", (False, False): "update", (False, True): "delete"}
        deleted = change.event.type == "delete"
        assert change.event.type == kind[found is None, deleted]
        if deleted:
            assert change.event.data == found
        before.append((found, None if deleted else change.event.data))

    async def write(rt: Service, writer: int) -> None:
        for number in range(12):
            key = chance.choice("abc")
            value = {"writer": writer, "number": number}
            name = chance.choice(["state", "chat"])
            items, group = (rt.state, "orders") if name == "state" else (rt.streams.chat, "room")
            match chance.choice(["set", "update", "delete"]):
                case "set":
                    did = await items.set(group, key, value)
                case "update":
                    op = {"type": "set", "path": "", "value": value}
                    did = await items.update(group, key, [op])
                case _:
                    did = {"old_value": await items.delete(group, key), "new_value": None}
            if did["old_value"] != did["new_value"]:
                made[name, key].append((did["old_value"], did["new_value"]))
            if chance.random() < 0.2:
                await trio.sleep(chance.random() * 3)

    async def main(folder: str) -> None:
        app = App(
            [watch, read], root=folder, streams=[{"name": "chat"}], store=store, mailbox=mailbox
        )
        async with open_runtime(app, observers=()) as rt:
            async with trio.open_nursery() as nursery:
                for writer in range(4):
                    nursery.start_soon(write, rt, writer)
            await trio.sleep(5000)
            assert not rt.dead_letters.list()

    with tempfile.TemporaryDirectory() as folder:
        trio.run(main, folder, clock=trio.testing.MockClock(autojump_threshold=0))
    assert told.keys() == made.keys()
    for place, changes in told.items():
        assert sorted(map(repr, changes)) == sorted(map(repr, made[place]))
        assert [old for old, _ in changes] == [None, *(new for _, new in changes[:-1])]


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
