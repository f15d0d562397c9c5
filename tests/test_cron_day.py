"""A day of cron in virtual time: both changes of the clock of a year, in three zones."""

from __future__ import annotations

import gc
import time
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import trio
import trio.testing

from motia_trio import App, cron, open_runtime, step
from tests.cron import Days, now

# real seconds that such a day may take
LIMIT = 1.0

# each with when it runs on the day on which the clock goes forward, and on that on which it goes
# back: in local time with its offset. A pair is how often it runs, and every how many real
# seconds, from the day's beginning on
BERLIN = {
    "0 0 * * *": ("00:00+01", "00:00+02"),
    "@daily": ("00:00+01", "00:00+02"),
    "30 1 * * *": ("01:30+01", "01:30+02"),
    "0 2 * * *": ("03:00+02", "02:00+02"),
    "30 2 * * *": ("03:00+02", "02:30+02"),
    "59 2 * * *": ("03:00+02", "02:59+02"),
    "0 3 * * *": ("03:00+02", "03:00+01"),
    "*/20 2 * * *": ("03:00+02", "02:00+02 02:20+02 02:40+02"),
    "0,30 1-3 * * *": (
        "01:00+01 01:30+01 03:00+02 03:30+02",
        "01:00+02 01:30+02 02:00+02 02:30+02 03:00+01 03:30+01",
    ),
    "30 2 * * sun": ("03:00+02", "02:30+02"),
    "30 2 * * mon": ("", ""),
    "30 2 L * *": ("", ""),
    "0 0 12 * * *": ("12:00+02", "12:00+01"),
    "0 59 23 * * * 2026-2099": ("23:59+02", "23:59+01"),
    "0 */6 * * *": ("00:00+01 06:00+02 12:00+02 18:00+02", "00:00+02 06:00+01 12:00+01 18:00+01"),
    "30 */2 * * *": (
        (
            "00:30+01 04:30+02 06:30+02 08:30+02 10:30+02 12:30+02 14:30+02 16:30+02 18:30+02 20:30+02 "
            "22:30+02"
        ),
        (
            "00:30+02 02:30+02 02:30+01 04:30+01 06:30+01 08:30+01 10:30+01 12:30+01 14:30+01 16:30+01 "
            "18:30+01 20:30+01 22:30+01"
        ),
    ),
    "@hourly": ((23, 3600), (25, 3600)),
    "*/15 * * * *": ((92, 900), (100, 900)),
    "*/5 * * * *": ((276, 300), (300, 300)),
    "* * * * *": ((1380, 60), (1500, 60)),
}
NEW_YORK = {
    "0 0 * * *": ("00:00-05", "00:00-04"),
    "0 1 * * *": ("01:00-05", "01:00-04"),
    "30 1 * * *": ("01:30-05", "01:30-04"),
    "0 2 * * *": ("03:00-04", "02:00-05"),
    "30 2 * * *": ("03:00-04", "02:30-05"),
    "*/20 1 * * *": ("01:00-05 01:20-05 01:40-05", "01:00-04 01:20-04 01:40-04"),
    "0,30 1-3 * * *": (
        "01:00-05 01:30-05 03:00-04 03:30-04",
        "01:00-04 01:30-04 02:00-05 02:30-05 03:00-05 03:30-05",
    ),
    "30 1 * * 0": ("01:30-05", "01:30-04"),
    "30 1 * * 7#2": ("01:30-05", ""),
    "30 1 1 * *": ("", "01:30-04"),
    "0 */8 * * *": ("00:00-05 08:00-04 16:00-04", "00:00-04 08:00-05 16:00-05"),
    "@hourly": ((23, 3600), (25, 3600)),
    "*/10 * * * *": ((138, 600), (150, 600)),
    "* * * * *": ((1380, 60), (1500, 60)),
}
LORD_HOWE = {
    "0 0 * * *": ("00:00+1030", "00:00+11"),
    "0 1 * * *": ("01:00+1030", "01:00+11"),
    "30 1 * * *": ("01:30+1030", "01:30+11"),
    "45 1 * * *": ("01:45+1030", "01:45+11"),
    "0 2 * * *": ("02:30+11", "02:00+1030"),
    "15 2 * * *": ("02:30+11", "02:15+1030"),
    "30 2 * * *": ("02:30+11", "02:30+1030"),
    "*/10 2 * * *": (
        "02:30+11 02:40+11 02:50+11",
        "02:00+1030 02:10+1030 02:20+1030 02:30+1030 02:40+1030 02:50+1030",
    ),
    "*/20 1 * * *": ("01:00+1030 01:20+1030 01:40+1030", "01:00+11 01:20+11 01:40+11"),
    "30 */2 * * *": (
        (
            "00:30+1030 02:30+11 04:30+11 06:30+11 08:30+11 10:30+11 12:30+11 14:30+11 16:30+11 "
            "18:30+11 20:30+11 22:30+11"
        ),
        (
            "00:30+11 02:30+1030 04:30+1030 06:30+1030 08:30+1030 10:30+1030 12:30+1030 14:30+1030 "
            "16:30+1030 18:30+1030 20:30+1030 22:30+1030"
        ),
    ),
    "*/15 * * * *": ((94, 900), (98, 900)),
    "*/5 * * * *": ((282, 300), (294, 300)),
    "* * * * *": ((1410, 60), (1470, 60)),
}
ZONES: dict[str, tuple[tuple[str, str], dict[str, tuple[Any, Any]]]] = {
    "Europe/Berlin": (("2026-03-29", "2026-10-25"), BERLIN),
    "America/New_York": (("2026-03-08", "2026-11-01"), NEW_YORK),
    "Australia/Lord_Howe": (("2026-10-04", "2026-04-05"), LORD_HOWE),
}


@pytest.fixture
def no_collection() -> Any:
    """What a collection of all that other tests left behind takes is not measured."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def lived(zone: str, day: str, expressions: list[str], days: Days) -> dict[str, list[float]]:
    """Run the schedules for one local day; the wall times of every run."""
    tz = ZoneInfo(zone)
    begins = datetime.fromisoformat(day).replace(tzinfo=tz)
    ends = begins.replace(hour=23, minute=59, second=59).timestamp()
    ran: dict[str, list[float]] = {expression: [] for expression in expressions}
    steps = []
    rt: Any = None
    for number, expression in enumerate(expressions):

        async def work(ctx: Any) -> None:
            ran[ctx.trigger.expression].append(now(rt))

        steps.append(step(cron(expression, timezone=zone), name=f"Step{number}")(work))
    app = App(steps)
    days.begin(datetime.fromtimestamp(begins.timestamp() - 0.5, tz).isoformat())

    async def main() -> None:
        nonlocal rt
        async with open_runtime(app, observers=()) as rt:
            await trio.sleep(ends - now(rt))
            await rt.quiesce()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return ran


@pytest.mark.parametrize("change", ["forward", "back"])
@pytest.mark.parametrize("zone", ZONES)
def test_a_day_on_which_the_clock_changes(
    zone: str, change: str, monkeypatch: pytest.MonkeyPatch, no_collection: None
) -> None:
    """Every run is in the table, and nothing else runs; in less than a real second."""
    changes, table = ZONES[zone]
    which = 0 if change == "forward" else 1
    day, tz = changes[which], ZoneInfo(zone)
    began = time.process_time()
    ran = lived(zone, day, list(table), Days(monkeypatch))
    took = time.process_time() - began

    midnight = datetime.fromisoformat(day).replace(tzinfo=tz).timestamp()
    for expression, both in table.items():
        expected: Any
        expected, found = both[which], ran[expression]
        if isinstance(expected, str):
            told = [f"{datetime.fromtimestamp(each, tz):%H:%M%z}" for each in found]
            assert " ".join(each.removesuffix("00") for each in told) == expected, expression
            assert all(each % 60 == pytest.approx(0, abs=0.01) for each in found)
        else:
            times, seconds = expected
            every = [midnight + number * seconds for number in range(times)]
            assert found == pytest.approx(every, abs=0.01), expression
    assert took < LIMIT, f"{sum(map(len, ran.values()))} runs took {took:.2f} s"
