"""Contract §10: schedules, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio

from motia_trio import App, LoadFailed, cron, open_runtime, step
from motia_trio.events import StepLogged, TickSkipped
from tests.contract.conftest import Project
from tests.contract.dialects import Dialect
from tests.support import Notebook

SetClock = Callable[[str], float]
DAY = 86_400


async def runs_of(
    trigger: Any, seconds: float, wall: float, zone: str = "UTC", **where: Any
) -> list[str]:
    """When a step runs by a trigger, for a time from ``wall`` on: local times of a zone."""
    times: list[str] = []
    offset = wall - trio.current_time()

    @step(trigger, name="Ticks")
    async def handler(input: Any, ctx: Any) -> None:
        at = datetime.fromtimestamp(offset + trio.current_time(), ZoneInfo(zone))
        assert at.microsecond < 50_000
        times.append(at.strftime("%Y-%m-%dT%H:%M:%S%z"))

    async with open_runtime(App([handler], **where), observers=()) as rt:
        await trio.sleep(seconds)
        await rt.quiesce()
    return times


def short(times: list[str]) -> list[str]:
    """Day and time alone, of one month in UTC."""
    return [time.removesuffix("+0000")[8:] for time in times]


# expressions


@pytest.mark.parametrize(
    ("expression", "seconds", "times"),
    [
        ("*/20 * * * *", 3600, ["01T00:20:00", "01T00:40:00", "01T01:00:00"]),
        ("30 9 * * *", 2 * DAY, ["01T09:30:00", "02T09:30:00"]),
        ("0 9 1-2,5 1 *", 6 * DAY, ["01T09:00:00", "02T09:00:00", "05T09:00:00"]),
    ],
)
async def test_5_fields(
    expression: str,
    seconds: float,
    times: list[str],
    dialect: Dialect,
    files: Project,
    it_is: SetClock,
    autojump_clock: Any,
) -> None:
    """5 fields"""
    offset = it_is("2026-01-01T00:00:00.5Z") - trio.current_time()
    code = f"""
import trio
async def handler(input, ctx):
    saw({offset!r} + trio.current_time())
"""
    async with open_runtime(files.app(dialect.cron(expression, code)), observers=()) as rt:
        await trio.sleep(seconds)
        await rt.quiesce()
    seen = [datetime.fromtimestamp(each + 0.01, UTC) for each in files.seen]
    assert [f"{each:%dT%H:%M:%S}" for each in seen] == times


@pytest.mark.parametrize(
    ("expression", "times"),
    [
        ("*/15 * * * * *", ["01T00:00:15", "01T00:00:30", "01T00:00:45", "01T00:01:00"]),
        ("5 * * * * *", ["01T00:00:05"]),
        ("0 1 * * * *", ["01T00:01:00"]),
    ],
)
async def test_6_with_seconds_first(
    expression: str, times: list[str], it_is: SetClock, autojump_clock: Any
) -> None:
    """6 with seconds first"""
    wall = it_is("2026-01-01T00:00:00.5Z")
    assert short(await runs_of(cron(expression), 60, wall)) == times


async def test_7_with_the_year_last(it_is: SetClock, autojump_clock: Any) -> None:
    """7 with the year last."""
    wall = it_is("2026-12-31T23:59:00.5Z")
    times = await runs_of(cron("0 0 0 1 1 * 2027"), 3 * 366 * DAY, wall)
    assert times == ["2027-01-01T00:00:00+0000"]


@pytest.mark.parametrize(
    ("expression", "seconds", "times"),
    [
        ("@hourly", 7200, ["01T01:00:00", "01T02:00:00"]),
        ("@daily", 2 * DAY, ["02T00:00:00", "03T00:00:00"]),
        ("@midnight", DAY, ["02T00:00:00"]),
        ("@weekly", 7 * DAY, ["04T00:00:00"]),
        ("@monthly", 40 * DAY, ["01T00:00:00"]),
        ("@yearly", 370 * DAY, ["01T00:00:00"]),
        ("@annually", 370 * DAY, ["01T00:00:00"]),
    ],
)
async def test_hourly_and_the_like(
    expression: str, seconds: float, times: list[str], it_is: SetClock, autojump_clock: Any
) -> None:
    """`@hourly` and the like."""
    wall = it_is("2026-01-01T00:00:00.5Z")
    assert short(await runs_of(cron(expression), seconds, wall)) == times


@pytest.mark.parametrize("expression", ["0 9 * * 0", "0 9 * * 7", "0 9 * * SUN", "0 9 * * sun"])
async def test_0_7_and_sun_are_sunday(
    expression: str, it_is: SetClock, autojump_clock: Any
) -> None:
    """0, 7 and SUN are Sunday."""
    wall = it_is("2026-01-01T00:00Z")  # a Thursday
    times = await runs_of(cron(expression), 14 * DAY, wall)
    assert short(times) == ["04T09:00:00", "11T09:00:00"]


@pytest.mark.parametrize(
    ("expression", "days"),
    [
        ("0 9 * * MON", ["05"]),
        ("0 9 * * TUE", ["06"]),
        ("0 9 * * WED", ["07"]),
        ("0 9 * * THU", ["01"]),
        ("0 9 * * FRI", ["02"]),
        ("0 9 * * SAT", ["03"]),
        ("0 9 * * MON-FRI", ["01", "02", "05", "06", "07"]),
        ("0 9 * * 1-5", ["01", "02", "05", "06", "07"]),
        ("0 9 * * SAT,SUN", ["03", "04"]),
        ("0 0 9 * * MON", ["05"]),
    ],
)
async def test_day_names_are_safe(
    expression: str, days: list[str], it_is: SetClock, autojump_clock: Any
) -> None:
    """Day names are safe"""
    wall = it_is("2026-01-01T00:00Z")  # a Thursday
    times = await runs_of(cron(expression), 7 * DAY - 1, wall)
    assert short(times) == [f"{day}T09:00:00" for day in days]


@pytest.mark.parametrize(
    "expression",
    ["61 * * * *", "* * *", "* * * * * * * *", "0 9 * * FUNDAY", "0 0 30 2 *", "@often", "never"],
)
def test_an_expression_that_is_wrong_or_can_never_fire(
    expression: str, dialect: Dialect, files: Project
) -> None:
    """5 fields; 6 with seconds first; 7 with the year last; `@hourly` and the like."""
    text = dialect.cron(expression, "async def handler(input, ctx): ...")
    with pytest.raises(LoadFailed, match=r"steps/00_step\.py") as failed:
        files.app(text)
    assert repr(expression) in str(failed.value)


# zones


async def test_utc_unless_timezone_is_given(it_is: SetClock, autojump_clock: Any) -> None:
    """UTC unless `timezone` is given on the trigger."""
    wall = it_is("2026-06-01T00:00Z")
    assert short(await runs_of(cron("0 9 * * *"), DAY, wall)) == ["01T09:00:00"]


@pytest.mark.parametrize(
    ("zone", "time"),
    [
        ("Europe/Berlin", "01T07:00:00"),
        ("America/New_York", "01T13:00:00"),
        ("Asia/Kolkata", "01T03:30:00"),
    ],
)
async def test_timezone(zone: str, time: str, it_is: SetClock, autojump_clock: Any) -> None:
    """UTC unless `timezone` is given on the trigger."""
    wall = it_is("2026-06-01T00:00Z")
    assert short(await runs_of(cron("0 9 * * *", timezone=zone), DAY, wall)) == [time]


@pytest.mark.parametrize(
    ("zone", "begins", "expression", "times"),
    [
        # 02:30 does not exist on this day
        ("Europe/Berlin", "2026-03-28T12:00Z", "30 2 * * *", 1),
        ("America/New_York", "2026-03-07T17:00Z", "30 2 * * *", 1),
        ("Australia/Lord_Howe", "2026-10-03T00:00Z", "15 2 * * *", 1),
        # 02:30 and 01:30 exist twice on this day
        ("Europe/Berlin", "2026-10-24T12:00Z", "30 2 * * *", 1),
        ("America/New_York", "2026-10-31T17:00Z", "30 1 * * *", 1),
        ("Australia/Lord_Howe", "2026-04-04T00:00Z", "45 1 * * *", 1),
        # neither of them concerns this one
        ("Europe/Berlin", "2026-03-28T12:00Z", "30 4 * * *", 1),
    ],
)
async def test_a_schedule_that_crosses_a_clock_change_fires_once(
    zone: str, begins: str, expression: str, times: int, it_is: SetClock, autojump_clock: Any
) -> None:
    """A schedule that crosses a clock change fires once."""
    wall = it_is(begins)
    runs = await runs_of(cron(expression, timezone=zone), DAY, wall, zone)
    assert len(runs) == times, runs


async def test_every_hour_goes_on_through_a_clock_change(
    it_is: SetClock, autojump_clock: Any
) -> None:
    """A schedule that crosses a clock change fires once."""
    wall = it_is("2026-03-28T22:30Z")
    trigger = cron("0 * * * *", timezone="Europe/Berlin")
    runs = await runs_of(trigger, 4 * 3600, wall, "Europe/Berlin")
    assert [run[11:16] for run in runs] == ["00:00", "01:00", "03:00", "04:00"]


# overlap


async def test_a_tick_that_finds_the_last_run_still_going_is_skipped_and_counted(
    dialect: Dialect, files: Project, it_is: SetClock, autojump_clock: Any, notebook: Notebook
) -> None:
    """A tick that finds the last run still going is skipped and counted."""
    it_is("2026-01-01T00:00:30Z")
    code = """
import trio
async def handler(input, ctx):
    ctx.logger.info("begins")
    await trio.sleep(150)
    ctx.logger.info("ends")
"""
    app = files.app(dialect.cron("* * * * *", code))
    async with open_runtime(app, observers=[notebook]) as rt:
        await trio.sleep(345)
        (schedule,) = rt.tree()["Step"].schedules
        assert schedule.skipped == 4
    assert sum(event.skipped for event in notebook.of(TickSkipped)) == 4
    told = [event.message for event in notebook.of(StepLogged)]
    assert told == ["begins", "ends", "begins", "ends"]


# while the process was down


@pytest.mark.parametrize("catch_up", [None, False, True])
async def test_ticks_missed_while_the_process_was_down(
    catch_up: bool | None,  # noqa: FBT001 - a parameter
    on_disk: dict[str, Any],
    it_is: SetClock,
    autojump_clock: Any,
) -> None:
    """Ticks missed while the process was down are skipped, or run once with `catch_up: true`."""
    trigger = cron("0 * * * *", catch_up=catch_up)
    wall = it_is("2026-01-01T00:30Z")
    times = await runs_of(trigger, 3600, wall, **on_disk)
    assert short(times) == ["01T01:00:00"]
    wall = it_is("2026-01-01T05:30Z")
    times = await runs_of(trigger, 3600, wall, **on_disk)
    expected = ["01T05:30:00", "01T06:00:00"] if catch_up else ["01T06:00:00"]
    assert short(times) == expected


async def test_nothing_missed_is_nothing_caught_up(
    on_disk: dict[str, Any], it_is: SetClock, autojump_clock: Any
) -> None:
    """Ticks missed while the process was down are …, or run once with `catch_up: true`."""
    trigger = cron("0 * * * *", catch_up=True)
    wall = it_is("2026-01-01T00:30Z")
    assert short(await runs_of(trigger, 3600, wall, **on_disk)) == ["01T01:00:00"]
    wall = it_is("2026-01-01T01:40Z")
    assert short(await runs_of(trigger, 3600, wall, **on_disk)) == ["01T02:00:00"]
