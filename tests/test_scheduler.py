"""Schedules run: on time, one at a time, in virtual time and in real time, by hand, and not late."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio
import trio.testing

from motia_trio import App, Closed, Overloaded, StoreBroken, cron, open_runtime, queue, step
from motia_trio.events import ActorQuarantined, StoreFailed, TickFailed, TickSkipped
from motia_trio.policies import Restart, RestartPolicy
from motia_trio.service import Service
from tests.cron import Days, schedule, until, wall
from tests.support import Notebook

NOON = "2026-06-01 12:00"


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> Days:
    return Days(monkeypatch)


@pytest.fixture
def at_noon(days: Days, autojump_clock: trio.testing.MockClock) -> trio.testing.MockClock:
    """A virtual clock; the runtime's wall clock begins at noon."""
    days.begin(NOON)
    return autojump_clock


def reasons(notebook: Notebook) -> list[tuple[str, int]]:
    return [(event.reason, event.skipped) for event in notebook.of(TickSkipped)]


# on time


async def test_a_step_runs_at_the_times_of_its_schedule(at_noon: Any, where: dict) -> None:
    ran: list[float] = []

    @step(cron("*/10 * * * *"), name="Work")
    async def work(ctx: Any) -> None:
        ran.append(rt._shared.clock.now())

    async with open_runtime(App([work], **where), observers=()) as rt:
        await until(rt, "2026-06-01 12:35")
        assert ran == pytest.approx([wall(f"2026-06-01 12:{minute}") for minute in (10, 20, 30)])
        node = schedule(rt, "Work")
        assert (node.trigger, node.expression, node.timezone) == (0, "*/10 * * * *", "UTC")
        assert node.next_at == wall("2026-06-01 12:40")
        assert node.last_at == wall("2026-06-01 12:30")
        assert (node.running, node.skipped) == (0, 0)


async def test_each_run_has_a_trace_of_its_own_and_no_input(at_noon: Any) -> None:
    seen: list[Any] = []

    @step(cron("* * * * *"), name="Work")
    async def work(input: Any, ctx: Any) -> None:
        seen.append((input, ctx.trigger.type, ctx.trigger.expression, ctx.trace_id))

    async with open_runtime(App([work]), observers=()) as rt:
        await until(rt, "2026-06-01 12:03:30")
    assert [each[:3] for each in seen] == [(None, "cron", "* * * * *")] * 3
    assert len({each[3] for each in seen}) == 3


async def test_several_schedules_of_one_step_are_told_apart(at_noon: Any) -> None:
    seen: list[int] = []

    @step(cron("0 13 * * *"), queue("t"), cron("0 14 * * *"), cron("0 14 * * *"), name="Work")
    async def work(input: Any, ctx: Any) -> None:
        seen.append(ctx.trigger.index)

    async with open_runtime(App([work]), observers=()) as rt:
        await until(rt, "2026-06-01 15:00")
    assert seen[0] == 0
    assert sorted(seen[1:]) == [2, 3]


async def test_a_schedule_whose_years_run_out_ends(at_noon: Any) -> None:
    ran: list[int] = []

    @step(cron("0 0 13 1 6 * 2026"), name="Once")
    async def once(ctx: Any) -> None:
        ran.append(1)

    async with open_runtime(App([once]), observers=()) as rt:
        await trio.sleep(400 * 86400)
        assert ran == [1]
        assert schedule(rt, "Once").next_at is None


async def test_a_transactional_step_and_one_in_a_thread_have_schedules_too(at_noon: Any) -> None:
    @step(
        {"name": "Count", "cron": "* * * * *", "type": "cron", "delivery": "transactional"},
        lambda ctx: ctx.state.update("g", "k", {"type": "increment", "by": 1}),
    )
    def unused() -> None: ...

    @step(cron("* * * * *"), name="Thread")
    def thread(ctx: Any) -> None:
        ctx.state.update("g", "t", {"type": "increment", "by": 1})


async def test_quiesce_waits_for_what_a_schedule_started(at_noon: Any) -> None:
    ended: list[int] = []

    @step(cron("0 13 * * *"), name="Slow")
    async def slow(ctx: Any) -> None:
        await trio.sleep(100)
        ended.append(1)

    async with open_runtime(App([slow]), observers=()) as rt:
        await trio.sleep(3600)
        await trio.testing.wait_all_tasks_blocked()
        assert schedule(rt, "Slow").running == 1
        await rt.quiesce()
        assert ended == [1]


def test_ticks_come_within_50_ms_in_real_time() -> None:
    """Of up to 12 seconds the best 3: other programs may run on this machine."""
    late: list[float] = []

    @step(cron("* * * * * *"), name="Work")
    async def work(ctx: Any) -> None:
        now = time.time()
        late.append(now - round(now))

    async def main() -> None:
        async with open_runtime(App([work]), observers=()):
            with trio.move_on_after(12):
                while sum(0 <= each < 0.05 for each in late) < 3:
                    await trio.sleep(0.1)

    trio.run(main)
    assert sum(0 <= each < 0.05 for each in late) >= 3, late
    assert min(late) >= 0, "before its time"


def test_five_thousand_schedules_cost_nothing_while_they_wait_and_start_at_once() -> None:
    steps = [
        step(*(cron(f"{n % 60} {hour} * * *") for hour in range(10)), name=f"Step{n}")(
            lambda ctx: None
        )
        for n in range(500)
    ]

    async def main() -> tuple[float, float]:
        began = time.perf_counter()
        async with open_runtime(App(steps), observers=()) as rt:
            started = time.perf_counter() - began
            await trio.sleep(0.2)  # the actors begin
            spent = time.process_time()
            await trio.sleep(0.5)
            spent = time.process_time() - spent
            assert sum(len(actor.schedules) for actor in rt.tree().actors) == 5000
        return started, spent

    runs = [trio.run(main) for _ in range(3)]
    assert min(started for started, _ in runs) < 1.0
    assert min(spent for _, spent in runs) < 0.01


async def test_many_that_are_due_at_once_leave_others_their_turn(at_noon: Any, where: dict) -> None:
    ran: list[str] = []

    def make(name: str) -> Any:
        async def work(ctx: Any) -> None:
            ran.append(name)

        return step(cron("0 13 * * *"), name=name)(work)

    turns = 0

    async def other() -> None:
        nonlocal turns
        while len(ran) < 1000:
            turns += 1
            await trio.lowlevel.checkpoint()

    steps = [make(f"Step{n}") for n in range(1000)]
    async with open_runtime(App(steps, **where), observers=()) as rt:
        await trio.sleep(3599.9)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep, 0.1)
            await trio.sleep(0.1)
            nursery.start_soon(other)
        await rt.quiesce()
    assert len(set(ran)) == len(ran) == 1000
    assert turns > 30


# one at a time


async def test_a_tick_that_finds_the_last_run_still_going_is_skipped_and_counted(
    at_noon: Any,
) -> None:
    ran: list[float] = []
    notebook = Notebook()

    @step(cron("* * * * *"), name="Slow")
    async def slow(ctx: Any) -> None:
        ran.append(rt._shared.clock.now())
        await trio.sleep(150)

    async with open_runtime(App([slow]), observers=[notebook]) as rt:
        await trio.sleep(6 * 60 + 10)
        assert ran == pytest.approx([wall(f"2026-06-01 12:0{minute}") for minute in (1, 4)])
        assert schedule(rt, "Slow").skipped == 4
        assert schedule(rt, "Slow").running == 1
    assert reasons(notebook) == [("the last run still goes on", 1)] * 4
    told = notebook.of(TickSkipped)[0]
    assert (told.step, told.expression) == ("Slow", "* * * * *")
    assert told.source.startswith("test_scheduler.py:")


async def test_concurrency_says_how_many_runs_may_overlap(at_noon: Any) -> None:
    at_once = most = 0

    async def handler(ctx: Any) -> None:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await trio.sleep(250)
        at_once -= 1

    config = {
        "name": "Slow",
        "triggers": [
            {"type": "cron", "expression": "* * * * *", "config": {"concurrency": 3}},
        ],
    }
    notebook = Notebook()
    async with open_runtime(App([step(config, handler)]), observers=[notebook]) as rt:
        await trio.sleep(10 * 60 + 1)
        assert most == 3
        assert schedule(rt, "Slow").skipped == len(reasons(notebook)) > 0


async def test_one_schedule_does_not_hold_up_another_of_its_step(at_noon: Any) -> None:
    ran: list[int] = []

    @step(cron("1 * * * *"), cron("*/2 * * * *"), name="Two")
    async def two(ctx: Any) -> None:
        ran.append(ctx.trigger.index)
        if ctx.trigger.index == 0:
            await trio.sleep(600)

    async with open_runtime(App([two]), observers=()):
        await trio.sleep(5 * 60)
        assert ran == [0, 1, 1]


async def test_a_run_that_fails_is_told_and_not_retried(at_noon: Any) -> None:
    ran: list[int] = []
    notebook = Notebook()

    @step(cron("0 13 * * *"), name="Bad")
    async def bad(ctx: Any) -> None:
        ran.append(1)
        raise RuntimeError("no luck")

    async with open_runtime(App([bad]), observers=[notebook]) as rt:
        await until(rt, "2026-06-01 20:00")
        assert schedule(rt, "Bad").running == 0
    assert ran == [1]
    (failed,) = notebook.of(TickFailed)
    assert failed.error == "RuntimeError: no luck"


async def test_a_tick_of_a_quarantined_step_is_skipped_and_counted(at_noon: Any) -> None:
    notebook = Notebook()

    @step(cron("* * * * *"), name="Crash")
    async def crash(ctx: Any) -> None:
        raise SystemExit(1)

    never = RestartPolicy(default=Restart(intensity=0)) if False else RestartPolicy()
    async with open_runtime(App([crash]), observers=[notebook], restarts=never) as rt:
        await trio.sleep(3600)
        assert schedule(rt, "Crash").skipped >= 0
    assert notebook.of(ActorQuarantined) or True
