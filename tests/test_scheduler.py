"""Schedules run: on time, one at a time, in virtual time and in real time, by hand, and not late."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio
import trio.testing

from motia_trio import App, Closed, Overloaded, StoreBroken, cron, open_runtime, queue, step
from motia_trio.events import StoreFailed, TickFailed, TickSkipped
from motia_trio.policies import RestartPolicy
from motia_trio.service import Service
from tests.cron import Days, now, schedule, until, wall
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
        ran.append(now(rt))

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


async def test_a_schedule_whose_years_run_out_ends(
    days: Days, autojump_clock: trio.testing.MockClock
) -> None:
    ran: list[int] = []
    days.begin("2090-06-01 12:00")

    @step(cron("0 0 13 1 6 * 2090"), name="Once")
    async def once(ctx: Any) -> None:
        ran.append(1)

    async with open_runtime(App([once]), observers=()) as rt:
        await trio.sleep(400 * 86400)
        assert ran == [1]
        assert schedule(rt, "Once").next_at is None


@pytest.mark.parametrize("delivery", ["immediate", "transactional"])
async def test_what_a_run_does_with_ctx_is_kept(delivery: str, at_noon: Any, where: dict) -> None:
    async def handler(ctx: Any) -> None:
        await ctx.state.update("g", "k", {"type": "increment", "by": 1})

    config = {"name": "Count", "type": "cron", "cron": "* * * * *", "delivery": delivery}
    async with open_runtime(App([step(config, handler)], **where), observers=()) as rt:
        await until(rt, "2026-06-01 12:03:30")
        assert await rt.state.get("g", "k") == 3


async def test_a_handler_in_a_thread_has_schedules_too(where: dict) -> None:
    @step(cron("* * * * *"), name="Thread")
    def thread(ctx: Any) -> None:
        ctx.state.set("g", "k", ctx.trigger.type)

    async with open_runtime(App([thread], **where), observers=()) as rt:
        await rt.run_cron("Thread")
        await rt.quiesce()
        assert await rt.state.get("g", "k") == "cron"


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
        ran.append(now(rt))
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

    restarts = RestartPolicy(max_restarts=0, cool_down=200)
    async with open_runtime(App([crash]), observers=[notebook], restarts=restarts) as rt:
        await trio.sleep(4 * 60 + 1)
        assert rt.tree()["Crash"].state == "quarantined"
        assert schedule(rt, "Crash").skipped == 3
        assert schedule(rt, "Crash").running == 0
    assert reasons(notebook) == [("it is quarantined, or its mailbox is full", 1)] * 3


async def test_a_tick_that_finds_no_room_in_the_mailbox_is_skipped_and_counted(
    at_noon: Any,
) -> None:
    notebook = Notebook()

    @step(*(cron("0 13 * * *") for _ in range(10)), name="Many")
    async def many(ctx: Any) -> None:
        await trio.sleep(1)

    async with open_runtime(App([many], mailbox=4), observers=[notebook]) as rt:
        await until(rt, "2026-06-01 13:05")
        skipped = sum(node.skipped for node in rt.tree()["Many"].schedules)
        ran = sum(node.last_at is not None for node in rt.tree()["Many"].schedules)
    assert skipped == len(reasons(notebook))
    assert (ran, skipped) == (4, 6)


# when the clock is set, or the machine slept


async def test_what_a_clock_that_is_set_forward_goes_past_is_skipped_and_counted(
    at_noon: trio.testing.MockClock,
) -> None:
    ran: list[float] = []
    notebook = Notebook()

    @step(cron("30 * * * *"), name="Hourly")
    async def hourly(ctx: Any) -> None:
        ran.append(now(rt))

    async with open_runtime(App([hourly]), observers=[notebook]) as rt:
        await until(rt, "2026-06-01 12:45")
        at_noon.jump(5 * 3600)  # to 17:45: 13:30 to 17:30 are gone by
        await until(rt, "2026-06-01 18:45")
        assert schedule(rt, "Hourly").skipped == 5
    assert ran == pytest.approx([wall("2026-06-01 12:30"), wall("2026-06-01 18:30")])
    assert reasons(notebook) == [("the clock went past it", 5)]


async def test_with_catch_up_it_runs_once_for_what_the_clock_went_past(
    at_noon: trio.testing.MockClock,
) -> None:
    ran: list[float] = []
    scheduled: list[float] = []
    notebook = Notebook()

    @step(cron("30 * * * *", catch_up=True), name="Hourly")
    async def hourly(ctx: Any) -> None:
        ran.append(now(rt))
        scheduled.append(ctx.trigger.scheduled_at)

    async with open_runtime(App([hourly]), observers=[notebook]) as rt:
        await until(rt, "2026-06-01 12:45")
        at_noon.jump(5 * 3600)
        await until(rt, "2026-06-01 17:46")
        assert ran == pytest.approx([wall("2026-06-01 12:30"), wall("2026-06-01 17:45")])
        assert schedule(rt, "Hourly").last_at == wall("2026-06-01 17:30")
    assert scheduled == [wall("2026-06-01 12:30"), wall("2026-06-01 17:30")]
    assert reasons(notebook) == [("the clock went past it", 4)]


async def test_a_tick_that_is_less_than_two_minutes_late_runs(
    at_noon: trio.testing.MockClock,
) -> None:
    """A loop that was held up, or a clock that was set a little, does not cost a day's run."""
    ran: list[int] = []

    @step(cron("0 13 * * *"), name="Daily")
    async def daily(ctx: Any) -> None:
        ran.append(1)

    async with open_runtime(App([daily]), observers=()) as rt:
        await until(rt, "2026-06-01 12:59")
        at_noon.jump(170)
        await until(rt, "2026-06-01 13:05")
        assert ran == [1]
        assert schedule(rt, "Daily").skipped == 0


async def test_of_very_many_ticks_that_were_missed_a_thousand_are_counted(
    at_noon: trio.testing.MockClock,
) -> None:
    notebook = Notebook()

    @step(cron("* * * * * *"), name="Often")
    async def often(ctx: Any) -> None: ...

    async with open_runtime(App([often]), observers=[notebook]) as rt:
        at_noon.jump(86400)
        await trio.sleep(0.5)
        await rt.quiesce()
    assert reasons(notebook) == [("the clock went past it (no more than 1000 are counted)", 1000)]


# by hand


async def test_a_trigger_runs_by_hand_and_gives_its_trace_id(at_noon: Any, where: dict) -> None:
    seen: list[Any] = []

    @step(cron("@daily"), name="Daily")
    async def daily(ctx: Any) -> None:
        seen.append((ctx.trigger.expression, ctx.trace_id))

    async with open_runtime(App([daily], **where), observers=()) as rt:
        trace_id = await rt.run_cron("Daily")
        await rt.quiesce()
        assert seen == [("@daily", trace_id)]
        assert schedule(rt, "Daily").last_at is None  # it is no tick of the schedule
        assert schedule(rt, "Daily").next_at == wall("2026-06-02")


async def test_of_several_triggers_it_is_said_which(at_noon: Any) -> None:
    seen: list[int] = []

    @step(queue("t"), cron("@daily"), cron("@hourly"), name="Two")
    async def two(input: Any, ctx: Any) -> None:
        seen.append(ctx.trigger.index)

    @step(queue("t"), name="None")
    async def none(ctx: Any) -> None: ...

    async with open_runtime(App([two, none]), observers=()) as rt:
        await rt.run_cron("Two", 2)
        await rt.run_cron("Two", "@daily")
        await rt.quiesce()
        assert seen == [2, 1]
        with pytest.raises(
            ValueError, match=r"'Two' has 2 cron triggers: say which of 1 \(@daily\), 2"
        ):
            await rt.run_cron("Two")
        with pytest.raises(KeyError, match="step 'Two' has no cron trigger 0; it has 1 "):
            await rt.run_cron("Two", 0)
        for name in ("None", "Nobody"):
            with pytest.raises(
                KeyError, match=f"no step '{name}' with a cron trigger; there are: Two"
            ):
                await rt.run_cron(name)


async def test_what_still_runs_is_not_run_by_hand_and_a_run_by_hand_keeps_a_tick_off(
    at_noon: Any,
) -> None:
    notebook = Notebook()

    @step(cron("* * * * *"), name="Slow")
    async def slow(ctx: Any) -> None:
        await trio.sleep(90)

    async with open_runtime(App([slow]), observers=[notebook]) as rt:
        await rt.run_cron("Slow")
        with pytest.raises(Overloaded, match="step 'Slow' still runs for"):
            await rt.run_cron("Slow")
        await trio.sleep(80)
        assert reasons(notebook) == [("the last run still goes on", 1)]


async def test_nothing_runs_by_hand_where_nothing_runs(at_noon: Any) -> None:
    @step(cron("* * * * *"), name="Work")
    async def work(ctx: Any) -> None:
        raise AssertionError("it ran")

    async with open_runtime(App([work]), observers=(), idle=True) as rt:
        with pytest.raises(Closed, match="idle=True"):
            await rt.run_cron("Work")
        await trio.sleep(3600)
        node = schedule(rt, "Work")
        assert (node.running, node.last_at) == (0, None)
        assert node.next_at == wall("2026-06-01 13:01")
    with pytest.raises(Closed):
        await rt.run_cron("Work")


# a store that fails


async def test_a_tick_whose_beginning_cannot_be_kept_is_skipped(
    at_noon: Any, where: dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that nobody knows of would be run again."""
    ran: list[int] = []
    notebook = Notebook()

    @step(cron("* * * * *"), name="Work")
    async def work(ctx: Any) -> None:
        ran.append(1)

    async def full(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreBroken("the disk is full")

    async with open_runtime(App([work], **where), observers=[notebook]) as rt:
        with monkeypatch.context() as failing:
            failing.setattr(type(rt.store), "commit", full)
            await until(rt, "2026-06-01 12:03:30")
            assert (ran, schedule(rt, "Work").skipped) == ([], 3)
        await until(rt, "2026-06-01 12:05:30")
        assert ran == [1, 1]
    assert reasons(notebook) == [("the store could not keep that it begins", 1)] * 3
    (failed,) = notebook.of(StoreFailed)
    assert (failed.step, failed.message_id) == ("Work", None)
    assert failed.error == "StoreBroken: the disk is full"


# its end


async def test_no_tick_comes_once_the_runtime_stops(at_noon: Any, where: dict) -> None:
    ran: list[float] = []

    @step(cron("* * * * *"), name="Often")
    async def often(ctx: Any) -> None:
        ran.append(now(rt))

    @step(queue("t"), name="Slow")
    async def slow(input: Any, ctx: Any) -> None:
        await trio.sleep(600)

    app = App([often, slow], shutdown_timeout=3600, **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("t")
        await until_taken(rt)
        await trio.sleep(125)
        began = trio.current_time()
    assert trio.current_time() - began == pytest.approx(475, abs=1)
    assert len(ran) == 2


async def until_taken(rt: Service) -> None:
    while not rt.tree()["Slow"].in_flight:
        await trio.sleep(0.01)


async def test_a_run_in_hand_goes_on_to_its_end_in_a_stop(at_noon: Any) -> None:
    ended: list[int] = []

    @step(cron("0 13 * * *"), name="Slow")
    async def slow(ctx: Any) -> None:
        await trio.sleep(20)
        ended.append(1)

    async with open_runtime(App([slow]), observers=()):
        await trio.sleep(3601)
    assert ended == [1]


async def test_leaving_by_an_error_leaves_nothing_behind(at_noon: Any, where: dict) -> None:
    @step(cron("* * * * *"), name="Slow")
    async def slow(ctx: Any) -> None:
        await trio.sleep(45)

    with pytest.raises(ZeroDivisionError):
        async with open_runtime(App([slow], **where), observers=()) as rt:
            await trio.sleep(70)
            assert schedule(rt, "Slow").running == 1
            raise ZeroDivisionError
    assert rt._shared.activity.count == 0  # noqa: SLF001 - what quiesce() would wait for


async def test_no_stream_has_a_name_that_the_runtime_keeps_for_itself(at_noon: Any) -> None:
    async with open_runtime(App([]), observers=()) as rt:
        with pytest.raises(ValueError, match=r"does not begin with '\(': '\(cron\)'"):
            rt.streams["(cron)"]
