"""A restart neither repeats a run nor, with ``catch_up``, forgets one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from motia_trio import App, cron, open_runtime, step
from motia_trio.events import StoreFailed, TickSkipped
from motia_trio.plans import SPACE, Record
from motia_trio.service import Service
from motia_trio.steps import StepDefinition
from motia_trio.store import Place
from tests.cron import Days, now, schedule, until, wall
from tests.support import Notebook, child

PROGRAM = Path(__file__).parent / "cron_program.py"


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch, on_disk: dict[str, Any]) -> Days:
    """Programs that live one after the other with one file as their store."""
    return Days(monkeypatch, on_disk)


class Worker:
    """A step that counts its runs; each takes a minute, or ends as ``way`` says."""

    def __init__(self, expression: str, *, catch_up: bool = False, way: str = "well") -> None:
        self.runs: list[str] = []
        self.ended = 0
        self.way = way

        @step(cron(expression, catch_up=catch_up), name="Work")
        async def work(ctx: Any) -> None:
            last = schedule(self.rt, "Work").last_at
            assert last is not None
            self.runs.append(f"{datetime.fromtimestamp(last, UTC):%d %H:%M}")
            if self.way == "badly":
                raise RuntimeError("no luck")
            await trio.sleep(60)
            self.ended += 1

        self.step: StepDefinition = work
        self.rt: Service

    def live(self, days: Days, since: str, to: str) -> Notebook:
        """Live from one time to another, and stop in order."""

        async def program(rt: Service, notebook: Notebook) -> None:
            self.rt = rt
            await trio.sleep(wall(f"2026-06-{to}") - now(rt))

        return days.live(f"2026-06-{since}", [self.step], program)


# neither repeats


@pytest.mark.parametrize("catch_up", [False, True])
def test_a_run_is_not_repeated_by_a_restart(*, catch_up: bool, days: Days) -> None:
    worker = Worker("0 12 * * *", catch_up=catch_up)
    worker.live(days, "01 11:00", "01 12:30")
    worker.live(days, "01 12:31", "01 13:00")
    worker.live(days, "01 13:00", "02 11:59")
    assert worker.runs == ["01 12:00"]
    worker.live(days, "02 11:59", "02 12:05")
    assert worker.runs == ["01 12:00", "02 12:00"]


def test_not_even_where_the_clock_was_set_back_meanwhile(days: Days) -> None:
    worker = Worker("0 12 * * *")
    worker.live(days, "01 11:00", "01 12:30")
    worker.live(days, "01 11:30", "01 13:00")
    assert worker.runs == ["01 12:00"]


def test_but_a_clock_that_was_wrong_by_days_does_not_stop_it_for_days(days: Days) -> None:
    worker = Worker("0 12 * * *")
    worker.live(days, "20 11:00", "20 12:30")
    worker.live(days, "01 11:30", "01 13:00")
    assert worker.runs == ["20 12:00", "01 12:00"]


def test_when_it_ran_last_is_known_after_a_restart(days: Days) -> None:
    worker = Worker("0 12 * * *")
    worker.live(days, "01 11:00", "01 12:30")

    async def look(rt: Service, notebook: Notebook) -> None:
        assert schedule(rt, "Work").last_at == wall("2026-06-01 12:00")
        assert schedule(rt, "Work").next_at == wall("2026-06-02 12:00")

    days.live("2026-06-01 15:00", [worker.step], look)


# nor forgets


def test_what_was_missed_while_the_process_was_down_is_skipped(days: Days) -> None:
    worker = Worker("0 12 * * *")
    worker.live(days, "01 11:00", "01 12:30")
    notebook = worker.live(days, "04 13:00", "04 14:00")
    assert worker.runs == ["01 12:00"]
    assert notebook.of(TickSkipped) == []


def test_with_catch_up_it_runs_once_at_once_for_the_latest(days: Days) -> None:
    worker = Worker("0 12 * * *", catch_up=True)
    worker.live(days, "01 11:00", "01 12:30")
    worker.live(days, "04 13:00", "04 13:02")
    assert worker.runs == ["01 12:00", "04 12:00"]
    worker.live(days, "04 13:02", "04 14:00")
    assert worker.runs == ["01 12:00", "04 12:00"]


def test_also_for_what_was_missed_before_it_ever_ran(days: Days) -> None:
    """From when it was first seen."""
    worker = Worker("0 12 * * *", catch_up=True)
    worker.live(days, "01 13:00", "01 13:01")
    assert worker.runs == []
    worker.live(days, "02 13:00", "02 13:05")
    assert worker.runs == ["02 12:00"]


def test_a_stop_in_the_middle_of_a_run_has_it_run_again(days: Days) -> None:
    days.where["shutdown_timeout"] = 10
    worker = Worker("0 12 * * *", catch_up=True)
    worker.live(days, "01 11:00", "01 12:00:30")
    assert (worker.runs, worker.ended) == (["01 12:00"], 0)
    worker.live(days, "01 12:10", "01 12:15")
    assert (worker.runs, worker.ended) == (["01 12:00", "01 12:00"], 1)
    worker.live(days, "01 12:20", "01 12:25")
    assert len(worker.runs) == 2


def test_without_catch_up_it_is_not(days: Days) -> None:
    days.where["shutdown_timeout"] = 10
    worker = Worker("0 12 * * *")
    worker.live(days, "01 11:00", "01 12:00:30")
    worker.live(days, "01 12:10", "01 12:15")
    assert (worker.runs, worker.ended) == (["01 12:00"], 0)


def test_a_run_that_ends_with_the_stop_is_not_repeated(days: Days) -> None:
    """That it is done is kept before the store is closed."""
    days.where["shutdown_timeout"] = 60
    worker = Worker("0 12 * * *", catch_up=True)
    worker.live(days, "01 11:00", "01 12:00:30")
    assert worker.ended == 1
    worker.live(days, "01 12:10", "01 12:15")
    assert worker.runs == ["01 12:00"]


def test_a_run_that_failed_is_owed_at_the_next_start_but_not_for_ever(days: Days) -> None:
    worker = Worker("0 12 * * *", catch_up=True, way="badly")
    worker.live(days, "01 11:00", "01 12:30")
    assert worker.runs == ["01 12:00"]
    for minute in (31, 32, 33, 34):
        notebook = worker.live(days, f"01 12:{minute}", f"01 12:{minute}:30")
        if minute == 33:
            (skipped,) = notebook.of(TickSkipped)
            assert skipped.reason == "it was begun 3 times and never ended well"
    assert worker.runs == ["01 12:00"] * 3


def test_a_tick_that_was_skipped_because_the_last_run_went_on_is_not_made_up_for(
    days: Days,
) -> None:
    worker = Worker("*/30 * * * * *", catch_up=True)
    worker.live(days, "01 11:59:55", "01 12:00:45")  # the run of 12:00:00 ends at 12:01:00
    assert (worker.runs, worker.ended) == (["01 12:00"], 1)
    worker.live(days, "01 12:00:50", "01 12:00:55")
    assert len(worker.runs) == 1


def test_a_new_expression_is_another_schedule(days: Days) -> None:
    """And the old one's record is there if it comes back."""
    Worker("0 12 * * *", catch_up=True).live(days, "01 11:00", "01 12:30")
    other = Worker("0 10 * * *", catch_up=True)
    other.live(days, "02 11:00", "02 11:30")
    assert other.runs == []
    again = Worker("0 12 * * *", catch_up=True)
    again.live(days, "02 13:00", "02 13:30")
    assert again.runs == ["02 12:00"]


def test_two_triggers_with_one_expression_have_a_record_each(days: Days) -> None:
    seen: list[int] = []

    @step(cron("0 12 * * *"), cron("0 12 * * *", catch_up=True), name="Work")
    async def work(ctx: Any) -> None:
        seen.append(ctx.trigger.index)

    async def live(rt: Service, notebook: Notebook) -> None:
        await until(rt, "2026-06-01 13:00")

    days.live("2026-06-01 11:00", [work], live)
    assert sorted(seen) == [0, 1]
    seen.clear()

    async def later(rt: Service, notebook: Notebook) -> None:
        await rt.quiesce()

    days.live("2026-06-02 13:00", [work], later)
    assert seen == [1]


def test_a_run_by_hand_changes_nothing_of_that(days: Days) -> None:
    worker = Worker("0 12 * * *", catch_up=True)

    async def by_hand(rt: Service, notebook: Notebook) -> None:
        await rt.run_cron("Work")
        await rt.quiesce()

    worker.live(days, "01 13:00", "01 13:01")
    ran: list[int] = []

    @step(cron("0 12 * * *", catch_up=True), name="Work")
    async def work(ctx: Any) -> None:
        ran.append(1)

    days.live("2026-06-01 14:00", [work], by_hand)
    assert ran == [1]
    days.live("2026-06-02 13:00", [work], lambda rt, _: rt.quiesce())
    assert ran == [1, 1]


# the record


async def test_the_record_says_when_and_whether_it_is_done(
    days: Days, autojump_clock: Any, on_disk: dict[str, Any]
) -> None:
    days.begin("2026-06-01 11:59:30")

    @step(cron("0 12 * * *", catch_up=True), name="Work")
    async def work(ctx: Any) -> None:
        await trio.sleep(10)

    place = Place(SPACE, "Work", "0 12 * * * UTC")
    records: list[Record] = []
    async with open_runtime(App([work], **on_disk), observers=()) as rt:
        for seconds in (1, 30, 10):
            await trio.sleep(seconds)
            item = rt.store.read(place, 0)
            assert item is not None
            records.append(Record.decode(item.value))
    noon = wall("2026-06-01 12:00")
    assert records[0].at == pytest.approx(noon - 30, abs=0.1)
    assert (records[0].done, records[0].begun) == (True, 0)
    assert records[1:] == [Record(noon, done=False, begun=1), Record(noon, done=True, begun=1)]


def test_that_it_is_done_is_kept_as_soon_as_the_store_can(
    days: Days, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker("0 12 * * *", catch_up=True)

    async def fails_meanwhile(rt: Service, notebook: Notebook) -> None:
        worker.rt = rt
        commit = type(rt.store).commit

        async def full(*_: object) -> None:
            await trio.lowlevel.checkpoint()
            raise OSError("the disk is full")

        await trio.sleep(wall("2026-06-01 12:00:30") - now(rt))
        monkeypatch.setattr(type(rt.store), "commit", full)
        await trio.sleep(90)
        monkeypatch.setattr(type(rt.store), "commit", commit)
        await rt.quiesce()

    notebook = days.live("2026-06-01 11:00", [worker.step], fails_meanwhile)
    (failed,) = notebook.of(StoreFailed)
    assert failed.error == "OSError: the disk is full"
    worker.live(days, "01 12:10", "01 12:15")
    assert worker.runs == ["01 12:00"]


# a process that dies


@pytest.mark.parametrize("catch_up", [True, False])
def test_killed_in_the_middle_of_a_run(
    *, catch_up: bool, tmp_path: Path, on_disk: dict[str, Any]
) -> None:
    """With ``catch_up`` it runs again at once; without, not before its next time."""
    soon = datetime.now(UTC) + timedelta(seconds=4)
    expression = f"{soon.second} {soon.minute} {soon.hour} * * *"
    options = ["catch_up"] if catch_up else []
    with child(PROGRAM, tmp_path, expression, *options) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        assert process.stdout.readline() == "began\n"
        process.kill()
        process.wait()
    ran: list[int] = []

    @step(cron(expression, catch_up=catch_up), name="Work")
    async def work(ctx: Any) -> None:
        ran.append(1)

    async def live() -> None:
        async with open_runtime(App([work], **on_disk), observers=()) as rt:
            await rt.quiesce()
            due = soon.replace(microsecond=0).timestamp()
            assert schedule(rt, "Work").last_at == due
            assert schedule(rt, "Work").next_at == due + 86400

    for _ in range(2):
        trio.run(live)
    assert ran == ([1] if catch_up else [])
