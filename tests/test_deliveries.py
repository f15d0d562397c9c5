"""What becomes of a message: who gets it, when, how often, and how it ends."""

from __future__ import annotations

import itertools
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from motia_trio import App, Runtime, open_runtime, queue, runtime, state, step
from motia_trio.events import AppWarned, AttemptFailed, DeadLettered
from motia_trio.router import HOP_LIMIT
from motia_trio.store.memory import MemoryStore
from tests.support import Notebook


class Worker:
    """A step that handles one message at a time, each for as long as its gate is shut.

    Another one can thus be made to wait in its mailbox, or behind it in the store.
    """

    def __init__(self, name: str = "Work", *, gate: bool = True, **limits: Any) -> None:
        self.got: list[Any] = []
        self.gate = trio.Event()
        self.begun = trio.Event()
        if not gate:
            self.gate.set()

        @step(queue("work", config={"concurrency": 1, **limits}), name=name)
        async def work(data: Any) -> None:
            self.got.append(data)
            self.begun.set()
            await self.gate.wait()

        self.step = work

    async def finish(self, rt: Runtime) -> None:
        """Let it work off everything."""
        self.gate.set()
        with trio.fail_after(20):
            await rt.quiesce()


async def occupied(rt: Runtime, *workers: Worker) -> None:
    """Give each worker one message to hold in hand."""
    await rt.enqueue("work", "first")
    for worker in workers:
        await worker.begun.wait()


# priority


async def test_what_waits_in_the_store_comes_by_priority_and_then_as_it_came(
    where: dict[str, Any],
) -> None:
    worker = Worker()
    priorities = [0, -10, 10, 3, 0, 10, -1]
    async with open_runtime(App([worker.step], mailbox=1, **where), observers=()) as rt:
        await occupied(rt, worker)
        await rt.enqueue("work", "in the mailbox")
        for number, priority in enumerate(priorities):
            await rt.enqueue("work", (priority, number), priority=priority)
        assert rt.tree()["Work"].deliveries.waiting == len(priorities)
        await worker.finish(rt)
    assert worker.got[:2] == ["first", "in the mailbox"]
    assert worker.got[2:] == [[10, 2], [10, 5], [3, 3], [0, 0], [0, 4], [-1, 6], [-10, 1]]


async def test_in_a_mailbox_it_goes_before_lower_ones_that_are_there_already(
    where: dict[str, Any],
) -> None:
    worker = Worker()
    async with open_runtime(App([worker.step], **where), observers=()) as rt:
        await occupied(rt, worker)
        for number, priority in enumerate([0, -5, 0, 5, 10, 5, -10]):
            await rt.enqueue("work", (priority, number), priority=priority)
        assert rt.tree()["Work"].mailbox.used == 7
        await worker.finish(rt)
    assert worker.got[1:] == [[10, 4], [5, 3], [5, 5], [0, 0], [0, 2], [-5, 1], [-10, 6]]


async def test_the_priority_of_a_message_in_a_group_does_not_change_the_order_of_the_group(
    where: dict[str, Any],
) -> None:
    """Of the heads that wait, the one of the highest priority goes first."""
    worker = Worker(type="fifo")
    async with open_runtime(App([worker.step], **where), observers=()) as rt:
        await occupied(rt, worker)
        for number, (group, priority) in enumerate([("a", -3), ("a", 10), ("b", 0), ("b", 10)]):
            await rt.enqueue("work", (group, number), group=group, priority=priority)
        await worker.finish(rt)
    assert worker.got[1] == ["b", 2]
    assert [each for each in worker.got[1:] if each[0] == "a"] == [["a", 0], ["a", 1]]
    assert [each for each in worker.got[1:] if each[0] == "b"] == [["b", 2], ["b", 3]]


async def test_a_retry_keeps_its_priority(where: dict[str, Any], autojump_clock: Any) -> None:
    got: list[str] = []

    @step(
        queue("work", config={"concurrency": 1, "backoffType": "fixed", "backoffDelayMs": 1000}),
        name="Work",
    )
    async def work(data: str) -> None:
        first = data not in got
        got.append(data)
        await trio.sleep(2)
        if data == "high" and first:
            raise OSError("no luck")

    async with open_runtime(App([work], mailbox=1, **where), observers=()) as rt:
        await rt.enqueue("work", "high", priority=1)
        for number in range(4):
            await rt.enqueue("work", f"low {number}")
        await trio.sleep(100)
    # one is in hand when it is due again, and one has the only place of the mailbox
    assert got == ["high", "low 0", "low 1", "high", "low 2", "low 3"]


# expiry


@pytest.mark.parametrize("form", ["seconds", "time"])
async def test_a_message_too_old_to_matter_is_a_dead_letter_and_not_work(
    where: dict[str, Any], autojump_clock: Any, form: str
) -> None:
    """One that is not, in the same place, is handled."""
    worker, notebook = Worker(), Notebook()

    def until(seconds: float) -> Any:
        now = datetime.fromtimestamp(rt._shared.clock.now(), UTC)  # noqa: SLF001 - the virtual one
        return seconds if form == "seconds" else now + timedelta(seconds=seconds)

    async with open_runtime(App([worker.step], **where), observers=[notebook]) as rt:
        await occupied(rt, worker)
        await rt.enqueue("work", "too old", expires=until(60))
        await rt.enqueue("work", "fresh", expires=until(120))
        await rt.enqueue("work", "old from the start", delay=10, expires=until(5))
        await trio.sleep(90)
        await worker.finish(rt)
        letters = rt.dead_letters.list()
    assert worker.got == ["first", "fresh"]
    assert [letter.message.data for letter in letters] == ["too old", "old from the start"]
    assert [letter.reason for letter in letters] == [
        "expired 30.0 s before its turn came",
        "expired 85.0 s before its turn came",
    ]
    assert [letter.failures for letter in letters] == [(), ()]
    assert [event.reason for event in notebook.of(DeadLettered)] == [
        letter.reason for letter in letters
    ]


async def test_a_message_that_expires_while_it_is_tried_again_is_not_tried_once_more(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    """What was begun in time is not cut short; the failures are in the dead letter."""
    attempts = 0

    @step(queue("work", config={"backoffType": "fixed", "backoffDelayMs": 10_000}), name="Work")
    async def work(data: Any) -> None:
        nonlocal attempts
        attempts += 1
        await trio.sleep(10)
        raise OSError("no luck")

    async with open_runtime(App([work], **where), observers=()) as rt:
        await rt.enqueue("work", expires=35)
        await trio.sleep(100)
        (letter,) = rt.dead_letters.list()
    assert attempts == 2
    assert letter.reason == "expired 5.0 s before its turn came"
    assert [failure.error for failure in letter.failures] == ["OSError: no luck"] * 2


async def test_what_expired_and_is_redriven_does_not_expire_again(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    worker = Worker(gate=False)
    async with open_runtime(App([worker.step], **where), observers=()) as rt:
        await rt.enqueue("work", "late", delay=10, expires=5)
        await trio.sleep(20)
        (letter,) = rt.dead_letters.list()
        assert await rt.dead_letters.redrive([letter.id]) == [letter.id]
        await worker.finish(rt)
        assert not rt.dead_letters.list()
    assert worker.got == ["late"]


# cancel


async def test_what_waits_is_dropped_wherever_it_waits(where: dict[str, Any]) -> None:
    """In the mailbox, in the store behind a mailbox that is full, or until its time."""
    worker = Worker()
    async with open_runtime(App([worker.step], mailbox=1, **where), observers=()) as rt:
        await occupied(rt, worker)
        mailbox = await rt.enqueue("work", "mailbox")
        store = await rt.enqueue("work", "store")
        last = await rt.enqueue("work", "last")
        delayed = await rt.enqueue("work", "delayed", delay=3600)
        assert rt.tree()["Work"].mailbox.used == 1
        for message in (mailbox, store, delayed):
            assert await rt.cancel(message) == 1
            assert await rt.cancel(message) == 0
        await worker.finish(rt)
        assert await rt.cancel(last) == 0
        counts = rt.tree()["Work"].deliveries
        assert (counts.waiting, counts.leased, counts.delayed, counts.dead) == (0, 0, 0, 0)
        assert rt.tree().in_flight == 0
    assert worker.got == ["first", "last"]


async def test_what_waits_for_its_next_attempt_is_dropped(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    attempts = 0

    @step(queue("work", config={"backoffType": "fixed", "backoffDelayMs": 60_000}), name="Work")
    async def work(data: Any) -> None:
        nonlocal attempts
        attempts += 1
        raise OSError("no luck")

    async with open_runtime(App([work], **where), observers=()) as rt:
        message = await rt.enqueue("work")
        await trio.sleep(90)
        assert attempts == 2
        assert await rt.cancel(message) == 1
        await trio.sleep(1000)
        assert not rt.dead_letters.list()
    assert attempts == 2


async def test_what_a_handler_has_in_hand_is_not_cancelled(where: dict[str, Any]) -> None:
    ended: list[bool] = []
    begun, gate = trio.Event(), trio.Event()

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        begun.set()
        await gate.wait()
        ended.append(True)

    async with open_runtime(App([work], **where), observers=()) as rt:
        message = await rt.enqueue("work")
        await begun.wait()
        assert await rt.cancel(message) == 0
        gate.set()
        await rt.quiesce()
    assert ended == [True]


@pytest.mark.parametrize(
    "message", ["", "x", "0", "f" * 14, "F" * 14, "-1", "0x1", "ü", "\ud800", "9" * 5000, "1" * 14]
)
async def test_an_id_of_nothing_cancels_nothing(where: dict[str, Any], message: str) -> None:
    worker = Worker()
    async with open_runtime(App([worker.step], **where), observers=()) as rt:
        await occupied(rt, worker)
        await rt.enqueue("work", "second")
        assert await rt.cancel(message) == 0
        await worker.finish(rt)
    assert worker.got == ["first", "second"]


async def test_the_deliveries_that_are_dropped_are_counted_by_step(where: dict[str, Any]) -> None:
    """Those of the steps that have it in hand, or have handled it, are not among them."""
    quick, busy, full = Worker("Quick", gate=False), Worker("Busy"), Worker("Full")
    steps = [quick.step, busy.step, full.step]
    async with open_runtime(App(steps, mailbox=1, **where), observers=()) as rt:
        await occupied(rt, quick, busy, full)
        await rt.enqueue("work", "second")
        third = await rt.enqueue("work", "third")
        with trio.fail_after(20):
            while len(quick.got) < 3:
                await trio.lowlevel.checkpoint()
        assert await rt.cancel(third) == 2
        full.gate.set()
        await busy.finish(rt)
    assert quick.got == ["first", "second", "third"]
    assert busy.got == full.got == ["first", "second"]


async def test_what_stood_behind_a_cancelled_head_in_the_mailbox_goes_on(
    where: dict[str, Any],
) -> None:
    worker = Worker(type="fifo")
    async with open_runtime(App([worker.step], **where), observers=()) as rt:
        await occupied(rt, worker)
        head = await rt.enqueue("work", "head", group="g")
        await rt.enqueue("work", "second", group="g")
        await rt.enqueue("work", "third", group="g")
        assert rt.tree()["Work"].mailbox.used == 1
        assert await rt.cancel(head) == 1
        await worker.finish(rt)
    assert worker.got == ["first", "second", "third"]


async def test_what_stood_behind_a_cancelled_head_that_was_not_due_goes_on(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    worker = Worker(gate=False, type="fifo")
    async with open_runtime(App([worker.step], **where), observers=()) as rt:
        head = await rt.enqueue("work", "head", group="g", delay=50)
        await rt.enqueue("work", "second", group="g", delay=100)
        assert await rt.cancel(head) == 1
        await trio.sleep(99)
        assert worker.got == []
        await trio.sleep(2)
    assert worker.got == ["second"]


async def test_room_that_a_cancelled_message_leaves_in_a_mailbox_is_filled(
    where: dict[str, Any],
) -> None:
    worker = Worker()
    async with open_runtime(App([worker.step], mailbox=1, **where), observers=()) as rt:
        await occupied(rt, worker)
        second = await rt.enqueue("work", "second")
        await rt.enqueue("work", "third")
        assert await rt.cancel(second) == 1
        with trio.fail_after(20):
            while not rt.tree()["Work"].mailbox.used:
                await trio.lowlevel.checkpoint()
        await worker.finish(rt)
    assert worker.got == ["first", "third"]


async def test_what_was_cancelled_is_gone_when_the_store_is_opened_again(
    on_disk: dict[str, Any],
) -> None:
    worker = Worker(gate=False)
    app = App([worker.step], **on_disk)
    async with open_runtime(app, idle=True, observers=()) as rt:
        message = await rt.enqueue("work", "dropped")
        await rt.enqueue("work", "kept")
    async with open_runtime(app, idle=True, observers=()) as rt:
        assert await rt.cancel(message) == 1
    async with open_runtime(app, observers=()) as rt:
        await worker.finish(rt)
    assert worker.got == ["kept"]


# to whom, and how often


async def test_each_step_that_listens_has_its_own_attempts(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    """One's failure is none of the others' business."""
    attempts: Counter[str] = Counter()

    def listener(name: str, fails: int, retries: int) -> Any:
        config = {"maxRetries": retries, "backoffType": "fixed", "backoffDelayMs": 1000}

        @step(queue("work", config=config), name=name)
        async def listen(data: Any) -> None:
            attempts[name] += 1
            if attempts[name] <= fails:
                raise OSError("no luck")

        return listen

    steps = [listener("Fine", 0, 0), listener("Slow", 2, 2), listener("Dead", 9, 1)]
    async with open_runtime(App(steps, **where), observers=()) as rt:
        message = await rt.enqueue("work", {"n": 1})
        await trio.sleep(100)
        (letter,) = rt.dead_letters.list()
    assert attempts == {"Fine": 1, "Slow": 3, "Dead": 2}
    assert (letter.step, letter.message.id, letter.message.data) == ("Dead", message, {"n": 1})


async def test_a_step_with_two_triggers_of_one_topic_gets_a_message_once() -> None:
    got: list[Any] = []

    @step(queue("work"), queue("work"), queue("other"), name="Work")
    async def work(data: Any, ctx: Any) -> None:
        got.append((data, ctx.trigger.topic, ctx.trigger.index))

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.enqueue("work", 1)
        await rt.enqueue("other", 2)
        await rt.quiesce()
    assert got == [(1, "work", 0), (2, "other", 2)]


async def waits(limits: dict[str, Any], where: dict[str, Any]) -> list[float]:
    """The seconds between the attempts of a step that always fails."""
    times: list[float] = []

    @step(queue("work"), name="Work", infrastructure=limits)
    async def work(data: Any) -> None:
        times.append(trio.current_time())
        raise OSError("no luck")

    async with open_runtime(App([work], **where), observers=()) as rt:
        await rt.enqueue("work")
        await trio.sleep(10_000)
        assert len(rt.dead_letters.list()) == 1
    return [after - before for before, after in itertools.pairwise(times)]


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ({}, [1, 2, 4]),
        ({"queue": {"maxRetries": 0}}, []),
        ({"queue": {"maxRetries": 9}}, [1, 2, 4, 8, 16, 32, 60, 60, 60]),
        ({"queue": {"maxRetries": 2, "backoffDelayMs": 10_000}}, [10, 20]),
        ({"queue": {"backoffRate": 3}}, [1, 3, 9]),
        ({"handler": {"retries": 2, "backoffRate": 1}}, [1, 1]),
    ],
)
async def test_the_wait_before_an_attempt_grows_with_the_attempts(
    where: dict[str, Any], autojump_clock: Any, limits: dict[str, Any], expected: list[float]
) -> None:
    """By the rate, spread by a quarter to either side, and to a minute at the most."""
    took = await waits(limits, where)
    assert len(took) == len(expected)
    for got, wait in zip(took, expected, strict=True):
        assert wait * 0.75 - 0.01 <= got <= min(60, wait * 1.25) + 0.01


async def test_a_fixed_wait_is_the_same_each_time(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    limits = {"queue": {"maxRetries": 3, "backoffType": "fixed", "backoffDelayMs": 90_000}}
    assert await waits(limits, where) == pytest.approx([90, 90, 90], abs=0.01)


@pytest.mark.parametrize(
    ("limits", "bound"),
    [
        ({"handler": {"timeout": 5}}, 5),
        ({"queue": {"visibilityTimeout": 7}}, 7),
        ({"handler": {"timeout": 5}, "queue": {"visibilityTimeout": 7}}, 5),
        ({"handler": {"timeout": 9}, "queue": {"visibilityTimeout": 7}}, 7),
        ({}, 900),
    ],
)
async def test_an_attempt_is_ended_at_its_bound_and_only_then_is_there_another(
    where: dict[str, Any], autojump_clock: Any, limits: dict[str, Any], bound: float
) -> None:
    """The handler may clean up, which takes its time: it is never there twice."""
    spans: list[tuple[float, float]] = []
    limits = {**limits, "queue": {**limits.get("queue", {}), "maxRetries": 1}}

    @step(queue("work"), name="Work", infrastructure=limits)
    async def work(data: Any) -> None:
        began = trio.current_time()
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(20)
            spans.append((began, trio.current_time()))

    async with open_runtime(App([work], **where), observers=()) as rt:
        await rt.enqueue("work")
        await trio.sleep(3000)
        (letter,) = rt.dead_letters.list()
    assert [round(end - began, 2) for began, end in spans] == [bound + 20] * 2
    assert spans[1][0] >= spans[0][1] + 0.75
    assert letter.reason == (
        f"failed 2 times; last: TimedOut: ran longer than {bound} s; raise handler.timeout or split the step"
    )
    assert [round(failure.ended_at - failure.started_at) for failure in letter.failures] == [
        bound + 20
    ] * 2


async def test_what_becomes_due_while_others_are_fed_begins_when_it_is_due(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """To give a step its messages takes time, in which another's time may come, or its own next."""
    began = trio.current_time()
    got: dict[str, float] = {}

    class Slow(MemoryStore):
        async def lease(self, step: str, limit: int, now: float, lane: str = "queue") -> Any:
            leased = await super().lease(step, limit, now, lane)
            autojump_clock.jump(1)
            return leased

    monkeypatch.setattr(runtime, "store_at", lambda *_, **__: Slow())

    def listener(name: str) -> Any:
        @step(queue(name), name=name)
        async def listen(data: Any) -> None:
            got[data] = trio.current_time() - began

        return listen

    async with open_runtime(App([listener("one"), listener("two")]), observers=()) as rt:
        await rt.enqueue("one", "first", delay=10)
        await rt.enqueue("two", "meanwhile", delay=10.5)
        await rt.enqueue("one", "next", delay=10.7)
        await trio.sleep(100)
    assert sorted(got) == ["first", "meanwhile", "next"]
    assert max(got.values()) < 15


# hops


@pytest.mark.parametrize("by", ["queue", "state"])
async def test_a_step_that_triggers_itself_is_stopped_after_fifty_hops(
    where: dict[str, Any], by: str
) -> None:
    """A hop is a hop, whether a message or a change of state makes it."""
    runs = 0

    @step(queue("work"), name="Work")
    async def work(data: Any, ctx: Any) -> None:
        nonlocal runs
        runs += 1
        await ctx.enqueue("work", data)

    @step(state(group_id="g"), name="Watch")
    async def watch(change: Any, ctx: Any) -> None:
        nonlocal runs
        runs += 1
        await ctx.state.set("g", "k", runs)

    app = App([work if by == "queue" else watch], **where)
    async with open_runtime(app, observers=()) as rt:
        if by == "queue":
            await rt.enqueue("work")
        else:
            await rt.state.set("g", "k", 0)
        with trio.fail_after(20):
            await rt.quiesce()
        (letter,) = rt.dead_letters.list()
    assert letter.reason == "stopped after a chain of 50 hops: a loop?"
    assert letter.message.hops == HOP_LIMIT + 1
    assert letter.failures == ()
    assert runs == HOP_LIMIT + 1


async def test_a_retry_is_no_hop(where: dict[str, Any], autojump_clock: Any) -> None:
    @step(queue("work", config={"maxRetries": 2}), name="Work")
    async def work(data: Any, ctx: Any) -> None:
        await ctx.enqueue("next", delay=0)
        raise OSError("no luck")

    @step(queue("next"), name="Next")
    async def following(data: Any) -> None:
        raise OSError("no luck")

    async with open_runtime(App([work, following], **where), observers=()) as rt:
        await rt.enqueue("work")
        await trio.sleep(1000)
        hops = [letter.message.hops for letter in rt.dead_letters.list()]
    assert sorted(hops) == [0, 1, 1, 1]


# the same store, another app


async def left_behind(on_disk: dict[str, Any], *triggers: Any, topics: str) -> None:
    """Have messages of some topics wait for a step ``Work`` with some triggers."""

    @step(*triggers, name="Work")
    async def work(data: Any) -> None:
        """Never run."""

    async with open_runtime(App([work], **on_disk), idle=True, observers=()) as rt:
        for topic in topics:
            await rt.enqueue(topic, topic)


async def test_a_delivery_is_found_by_its_topic_where_the_triggers_have_changed(
    on_disk: dict[str, Any], autojump_clock: Any
) -> None:
    """And has the limits of the trigger that it is for now, also for its next attempts."""
    await left_behind(on_disk, queue("a"), queue("b"), queue("c"), topics="abc")
    got: list[tuple[str, int]] = []
    notebook = Notebook()

    @step(queue("c", config={"maxRetries": 1}), queue("a", config={"maxRetries": 2}), name="Work")
    async def work(data: Any, ctx: Any) -> None:
        assert data == ctx.trigger.topic
        got.append((data, ctx.trigger.index))
        raise OSError("no luck")

    async with open_runtime(App([work], **on_disk), observers=[notebook]) as rt:
        await trio.sleep(100)
        letters = {letter.message.topic: letter for letter in rt.dead_letters.list()}
        assert rt.tree()["Work"].crashes == 0
    assert Counter(got) == {("c", 0): 2, ("a", 1): 3}
    assert letters["b"].reason == "the step has no trigger for 'b' any more"
    assert letters["b"].failures == ()
    assert [len(letters[topic].failures) for topic in "ac"] == [3, 2]
    assert {event.attempts for event in notebook.of(AttemptFailed)} == {2, 3}


async def test_messages_of_a_step_that_is_not_loaded_are_told_and_wait(
    on_disk: dict[str, Any],
) -> None:
    await left_behind(on_disk, queue("a"), queue("b"), topics="ab")
    other = Worker("Other", gate=False)
    notebook = Notebook()
    async with open_runtime(App([other.step], **on_disk), observers=[notebook]) as rt:
        await rt.enqueue("work", 1)
        with trio.fail_after(20):
            await rt.quiesce()  # nobody waits for what nobody will do
        assert other.got == [1]
    words = [event.message for event in notebook.of(AppWarned)]
    assert words == [
        "2 messages wait in the store for step 'Work', which is not loaded: they wait on until it is"
    ]
    got: list[str] = []

    @step(queue("a"), queue("b"), name="Work")
    async def work(data: str) -> None:
        got.append(data)

    notebook = Notebook()
    async with open_runtime(App([work], **on_disk), observers=[notebook]) as rt:
        await rt.quiesce()
    assert sorted(got) == ["a", "b"]
    assert not notebook.of(AppWarned)
