"""When cron expressions fire: what they may say, and every change of the clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from motia_trio.steps import Schedule, ScheduleInvalid, parse_schedule

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


def at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def times(schedule: Schedule, since: float, until: float) -> Iterator[float]:
    """After ``since``, up to and with ``until``."""
    found = schedule.after(since)
    while found is not None and found <= until:
        yield found
        found = schedule.after(found)


def told(expression: str, zone: str, day: str, days: int = 1) -> str:
    """The local times of some days, each with its offset."""
    tz = ZoneInfo(zone)
    schedule = parse_schedule(expression, zone, now=NOW)
    start = datetime.fromisoformat(day).replace(tzinfo=tz)
    end = (start + timedelta(days=days)).timestamp()
    found = times(schedule, start.timestamp() - 1, end - 1)
    return " ".join(
        f"{datetime.fromtimestamp(each, tz):%H:%M%z}".removesuffix("00") for each in found
    )


# what an expression may say


@pytest.mark.parametrize(
    ("expression", "first", "second"),
    [
        ("*/20 * * * *", "2026-01-01 00:20", "2026-01-01 00:40"),
        ("15 10 * * *", "2026-01-01 10:15", "2026-01-02 10:15"),
        ("0 22-2/2 * * *", "2026-01-01 02:00", "2026-01-01 22:00"),
        ("5/25 0 * * *", "2026-01-01 00:05", "2026-01-01 00:30"),
        ("30 */20 * * * *", "2026-01-01 00:00:30", "2026-01-01 00:20:30"),
        ("10,20 0 0 * * *", "2026-01-01 00:00:10", "2026-01-01 00:00:20"),
        ("0 0 12 24 12 * 2027,2030", "2027-12-24 12:00", "2030-12-24 12:00"),
        ("@hourly", "2026-01-01 01:00", "2026-01-01 02:00"),
        ("@daily", "2026-01-02", "2026-01-03"),
        (" @Midnight ", "2026-01-02", "2026-01-03"),
        ("@weekly", "2026-01-04", "2026-01-11"),
        ("@monthly", "2026-02-01", "2026-03-01"),
        ("@yearly", "2027-01-01", "2028-01-01"),
        ("@annually", "2027-01-01", "2028-01-01"),
        ("0 0 29 feb *", "2028-02-29", "2032-02-29"),
        ("0 0 31 * *", "2026-01-31", "2026-03-31"),
        ("0 0 L * *", "2026-01-31", "2026-02-28"),
        ("0 9 * JUN-aug Mon", "2026-06-01 09:00", "2026-06-08 09:00"),
        ("0 0 * * mon#2", "2026-01-12", "2026-02-09"),
        ("0 0 * * L5", "2026-01-30", "2026-02-27"),
        ("0 0 15W * *", "2026-01-15", "2026-02-16"),
        ("0 9-9 * * *", "2026-01-01 09:00", "2026-01-02 09:00"),
        ("0 0 ? * sat", "2026-01-03", "2026-01-10"),
        # a day of the month or a day of the week, as cron has it
        ("0 0 10 * fri", "2026-01-02", "2026-01-09"),
    ],
)
def test_an_expression_fires_when_it_says(expression: str, first: str, second: str) -> None:
    schedule = parse_schedule(expression, now=NOW)
    found = schedule.after(NOW)
    assert found == at(first)
    assert schedule.after(found) == at(second)


@pytest.mark.parametrize("sunday", ["0", "7", "SUN", "sun", "7-7", "sun-sun"])
def test_sunday_is_0_and_7_and_sun(sunday: str) -> None:
    schedule = parse_schedule(f"0 12 * * {sunday}", now=NOW)
    assert list(times(schedule, NOW, NOW + 14 * 86400)) == [
        at("2026-01-04 12:00"),
        at("2026-01-11 12:00"),
    ]


def test_a_time_is_strictly_after_the_one_that_is_given() -> None:
    schedule = parse_schedule("0 12 * * *")
    noon = at("2026-01-01 12:00")
    assert schedule.after(noon - 0.001) == noon
    assert schedule.after(noon) == noon + 86400
    assert schedule.after(noon + 0.001) == noon + 86400


def test_years_run_out() -> None:
    schedule = parse_schedule("0 0 0 1 1 * 2026-2027", now=NOW)
    assert schedule.after(at("2026-06-01")) == at("2027-01-01")
    assert schedule.after(at("2027-01-01")) is None


def test_the_latest_time_in_a_span_is_found() -> None:
    schedule = parse_schedule("*/5 9 * * mon", now=NOW)
    assert schedule.latest(NOW, at("2026-01-08")) == at("2026-01-05 09:55")
    assert schedule.latest(NOW, at("2026-01-05 09:30")) == at("2026-01-05 09:30")
    assert schedule.latest(at("2026-01-05 09:55"), at("2026-01-12 08:59")) is None
    assert schedule.latest(at("2026-01-05 09:50"), at("2026-01-12 09:00")) == at("2026-01-12 09:00")


# what is wrong


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("61 * * * *", "the minute is '61'; it takes 0 to 59"),
        ("* 24 * * *", "the hour is '24'; it takes 0 to 23"),
        ("* * 0 * *", "the day of the month is '0'; it takes 1 to 31"),
        ("* * * 13 *", "the month is '13'; it takes 1 to 12, or JAN to DEC"),
        ("* * * * 8", "the day of the week is '8'; it takes 0 to 7 (0 and 7 are Sunday)"),
        ("* * * * friday", "the day of the week is 'friday'"),
        ("60 * * * * *", "the second is '60'; it takes 0 to 59"),
        ("0 0 0 1 1 * 1969", "the year is '1969'; it takes 1970 to 2099"),
        ("*/0 * * * *", "the minute is '*/0'"),
        ("1,,2 * * * *", "the minute is '1,,2'"),
        ("-5 * * * *", "the minute is '-5'"),
        ("H * * * *", "the minute is 'h'"),
        ("* R * * *", "the hour is 'r'"),
        ("٣ * * * *", "the minute is '٣'"),
        ("* * * *", "has 4 fields: 5 are expected (minute, hour,"),
        ("*", "has 1 field: 5 are expected"),
        ("", "has 0 fields"),
        ("0 0 0 1 1 * 2030 7", "has 8 fields"),
        ("every day", "has 2 fields"),
        ("@dayly", "known are @hourly, @daily, @midnight"),
        ("@dayly", "did you mean '@daily'?"),
        ("@reboot", "known are @hourly"),
        ("0 0 30 2 *", "can never fire: no such day is in any year"),
        ("0 0 31 4,6,9,11 *", "can never fire: no such day is in any year"),
        ("0 0 0 1 1 * 2020-2025", "can never fire: its last time has passed"),
        ("0 0 0 29 2 * 2030", "can never fire: no such day is in any year"),
        ("0 0 1 * mon#1", "leaves no room for a day of the month beside it"),
        ("0 0 15W * mon", "leaves no room for a day of the week beside it"),
        ("0 0 * * mon#2,wed", "the day of the week is 'mon#2,wed'"),
    ],
)
def test_an_expression_that_is_wrong_is_told_with_its_field(expression: str, words: str) -> None:
    with pytest.raises(ScheduleInvalid) as caught:
        parse_schedule(expression, now=NOW)
    assert words in str(caught.value)
    assert repr(expression) in str(caught.value)
    assert list(caught.value.wrong) == ["expression"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Berln", "did you mean 'Europe/Berlin'?"),
        ("europe/berlin", "did you mean 'Europe/Berlin'?"),
        ("Berlin", "did you mean 'Europe/Berlin'?"),
        ("America", "'America' is no timezone"),
        ("+01:00", "give a name such as 'Europe/Berlin' or 'UTC'"),
        ("../../etc/passwd", "is no timezone"),
        ("", "'' is no timezone"),
        ("Europe/Berlin\0", "is no timezone"),
    ],
)
def test_a_timezone_that_is_unknown_is_told_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(ScheduleInvalid) as caught:
        parse_schedule("@daily", name)
    assert hint in str(caught.value)
    assert list(caught.value.wrong) == ["timezone"]


def test_both_are_told_if_both_are_wrong() -> None:
    with pytest.raises(ScheduleInvalid) as caught:
        parse_schedule("* * * * * * * *", "Mars/Olympus")
    assert list(caught.value.wrong) == ["timezone", "expression"]


SPELLED = st.text("0123456789*/-,#?LWHRlw@ \n\t\u00a0", max_size=30) | st.lists(
    st.sampled_from(
        ["*", "*/2", "1-5", "L", "L5", "MON#2", "?", "15W", "5/7", "0", "JAN", "60", "a"]
    ),
    min_size=4,
    max_size=8,
).map(" ".join)


@given(expression=SPELLED | st.text(max_size=10), zone=st.just("UTC") | st.text(max_size=8))
def test_whatever_is_written_is_a_schedule_or_told_to_be_none(expression: str, zone: str) -> None:
    schedule, wrong = None, {}
    try:
        schedule = parse_schedule(expression, zone, now=NOW)
    except ScheduleInvalid as error:
        wrong = error.wrong
    if schedule is None:
        assert wrong
        assert wrong.keys() <= {"expression", "timezone"}
        assert all(wrong.values())
    else:
        found = schedule.after(NOW)
        assert found is not None
        assert found > NOW


# changes of the clock: what is told is the local time and the offset that holds then


@pytest.mark.parametrize(
    ("expression", "zone", "day", "expected"),
    [
        # forward by an hour, at 2:00 to 3:00
        ("30 2 * * *", "Europe/Berlin", "2026-03-28", "02:30+01"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-29", "03:00+02"),
        ("30 2 * * *", "Europe/Berlin", "2026-03-30", "02:30+02"),
        ("0,30 2,3 * * *", "Europe/Berlin", "2026-03-29", "03:00+02 03:30+02"),
        ("30 */1 * * *", "Europe/Berlin", "2026-03-29", None),
        ("30 2 * * *", "America/New_York", "2026-03-08", "03:00-04"),
        # back by an hour, at 3:00 to 2:00
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", "02:30+02"),
        ("0,30 2,3 * * *", "Europe/Berlin", "2026-10-25", "02:00+02 02:30+02 03:00+01 03:30+01"),
        ("30 1 * * *", "America/New_York", "2026-11-01", "01:30-04"),
        # by half an hour: 2:00 to 2:30 in spring, 2:00 to 1:30 in autumn
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", "02:30+11"),
        ("45 2 * * *", "Australia/Lord_Howe", "2026-10-04", "02:45+11"),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05", "01:45+11"),
        ("15 1 * * *", "Australia/Lord_Howe", "2026-04-05", "01:15+11"),
        # at midnight: 0:00 to 1:00, and 0:00 to 23:00 of the day before
        ("0 0 * * *", "America/Santiago", "2026-09-06", "01:00-03"),
        ("30 23 * * *", "America/Santiago", "2026-04-04", "23:30-03"),
        ("0 0 * * *", "America/Santiago", "2026-04-05", "00:00-04"),
        ("@daily", "Asia/Beirut", "2026-03-29", "01:00+03"),
        ("@daily", "Africa/Cairo", "2026-04-24", "01:00+03"),
        ("30 23 * * *", "Africa/Cairo", "2026-10-29", "23:30+03"),
        # */24 is one hour, and is not lost
        ("0 */24 * * *", "America/Santiago", "2026-09-06", "01:00-03"),
    ],
)
def test_a_schedule_that_crosses_a_clock_change_fires_once(
    expression: str, zone: str, day: str, expected: str | None
) -> None:
    if expected is None:
        expected = " ".join(f"{hour:02}:30+0{1 + (hour > 2)}" for hour in range(24) if hour != 2)
    assert told(expression, zone, day) == expected


@pytest.mark.parametrize(
    ("expression", "zone", "day", "since", "until", "expected"),
    [
        ("*/20 * * * *", "Europe/Berlin", "2026-03-29", 0, 3,
            "00:00+01 00:20+01 00:40+01 01:00+01 01:20+01 01:40+01 03:00+02 03:20+02 03:40+02"),
        ("*/20 * * * *", "Europe/Berlin", "2026-10-25", 1, 5,
            ("01:00+02 01:20+02 01:40+02 02:00+02 02:20+02 02:40+02 02:00+01 02:20+01 02:40+01 "
             "03:00+01 03:20+01 03:40+01")),
        ("0 */2 * * *", "Europe/Berlin", "2026-10-25", 0, 6, "00:00+02 02:00+02 02:00+01 04:00+01"),
        ("0 0-23 * * *", "Europe/Berlin", "2026-10-25", 1, 4, "01:00+02 02:00+02 02:00+01"),
        ("@hourly", "Australia/Lord_Howe", "2026-04-05", 0, 4, "00:00+11 01:00+11 02:00+1030 03:00+1030"),
        ("30 * * * *", "Australia/Lord_Howe", "2026-04-05", 0, 3, "00:30+11 01:30+11 01:30+1030"),
        ("0 * * * *", "America/Santiago", "2026-09-05", 23, 26, "23:00-04 01:00-03 02:00-03"),
        ("30 * * * *", "America/Santiago", "2026-04-04", 22, 26, "22:30-03 23:30-03 23:30-04 00:30-04"),
    ],
)  # fmt: skip
def test_a_schedule_of_all_hours_follows_real_time(
    expression: str, zone: str, day: str, since: int, until: int, expected: str
) -> None:
    """``since`` and ``until`` are real hours from the day's beginning."""
    tz = ZoneInfo(zone)
    midnight = at(day, zone)
    schedule = parse_schedule(expression, zone, now=NOW)
    found = times(schedule, midnight + since * 3600 - 1, midnight + until * 3600 - 1)
    local = [f"{datetime.fromtimestamp(each, tz):%H:%M%z}" for each in found]
    assert " ".join(each.removesuffix("00") for each in local) == expected


def test_a_day_that_a_zone_left_out_is_made_up_for_at_its_end() -> None:
    """Samoa had no 30 December 2011."""
    schedule = parse_schedule("0 9 * * *", "Pacific/Apia", now=NOW)
    since = at("2011-12-29 08:00", "Pacific/Apia")
    zone = ZoneInfo("Pacific/Apia")
    found = times(schedule, since, since + 3 * 86400)
    assert [f"{datetime.fromtimestamp(each, zone):%d %H:%M}" for each in found] == [
        "29 09:00",
        "31 00:00",
        "31 09:00",
        "01 09:00",
    ]


# laws, against a reading of the rules that looks at every minute


ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago",
    "Africa/Cairo", "Asia/Beirut", "Asia/Kolkata", "Europe/Dublin", "Africa/Casablanca",
    "Pacific/Chatham",
]  # fmt: skip


def changes(zone: str, year: int) -> list[int]:
    """The hours, as wall times, in which a zone changes its clock."""
    tz = ZoneInfo(zone)
    start = int(datetime(year, 1, 1, tzinfo=UTC).timestamp())
    hours = range(start, start + 366 * 86400, 3600)
    offsets = [datetime.fromtimestamp(hour, tz).utcoffset() for hour in hours]
    return [
        hour for hour, (one, other) in zip(hours, pairwise(offsets), strict=False) if one != other
    ]


CHANGES = {zone: changes(zone, 2026) or [int(NOW)] for zone in ZONES}


@attrs.frozen
class Fields:
    """An expression as the sets of what it takes."""

    text: str
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int] | None
    weekdays: frozenset[int] | None
    follows_time: bool

    def fits(self, local: datetime) -> bool:
        return local.minute in self.minutes and local.hour in self.hours and self.on(local.date())

    def on(self, day: date) -> bool:
        in_month = self.days is None or day.day in self.days
        in_week = self.weekdays is None or day.isoweekday() % 7 in self.weekdays
        if self.days is not None and self.weekdays is not None:
            return in_month or in_week
        return in_month and in_week


@st.composite
def fields(draw: st.DrawFn) -> Fields:
    minutes = draw(st.frozensets(st.integers(0, 59), min_size=1, max_size=3))
    texts = [",".join(map(str, sorted(minutes)))]
    every = draw(st.sampled_from([None, None, 1, 2, 3, 5]))
    if every is None:
        hours = draw(st.frozensets(st.integers(0, 23), min_size=1, max_size=6))
        texts.append(",".join(map(str, sorted(hours))))
    else:
        hours = frozenset(range(0, 24, every))
        texts.append("*" if every == 1 else f"*/{every}")
    days = draw(st.none() | st.frozensets(st.integers(1, 31), min_size=1, max_size=20))
    weekdays = draw(st.none() | st.frozensets(st.integers(0, 6), min_size=1, max_size=6))
    texts.append("*" if days is None else ",".join(map(str, sorted(days))))
    texts.append("*")
    texts.append("*" if weekdays is None else ",".join(map(str, sorted(weekdays))))
    return Fields(" ".join(texts), minutes, hours, days, weekdays, every is not None)


def by_every_minute(wanted: Fields, zone: str, since: int, until: int) -> list[int]:
    """The rules, read plainly: after ``since`` and before ``until``, both whole minutes."""
    tz = ZoneInfo(zone)
    instants = range(since, until, 60)
    locals_ = [datetime.fromtimestamp(each, tz).replace(tzinfo=None, fold=0) for each in instants]
    if wanted.follows_time:
        fits = [each for each, local in zip(instants, locals_, strict=True) if wanted.fits(local)]
        return [each for each in fits if each > since]
    found: set[int] = set()
    seen: set[datetime] = set()
    for each, (before, local) in zip(instants[1:], pairwise(locals_), strict=True):
        if wanted.fits(local) and local not in seen:
            found.add(each)  # the first time that it comes
        seen.add(local)
        left_out = before + timedelta(minutes=1)
        while left_out < local:
            if wanted.fits(left_out):
                found.add(each)  # the first instant after the gap
            left_out += timedelta(minutes=1)
    return sorted(found)


@given(
    wanted=fields(),
    place=st.sampled_from([(zone, hour) for zone in ZONES for hour in CHANGES[zone]]),
)
def test_around_a_change_of_the_clock_it_fires_as_the_rules_say(
    wanted: Fields, place: tuple[str, int]
) -> None:
    zone, hour = place
    since, until = hour - 30 * 3600, hour + 30 * 3600
    schedule = parse_schedule(wanted.text, zone, now=NOW)
    expected = by_every_minute(wanted, zone, since, until)
    assert list(times(schedule, since, until - 1)) == expected


@given(
    wanted=fields(),
    place=st.sampled_from([(zone, hour) for zone in ZONES for hour in CHANGES[zone]]),
    offset=st.floats(-10_000, 10_000),
    length=st.floats(0, 40_000),
)
def test_after_does_not_depend_on_where_one_comes_from(
    wanted: Fields, place: tuple[str, int], offset: float, length: float
) -> None:
    """From any instant it gives the next of all the times there are, and never goes back."""
    zone, hour = place
    schedule = parse_schedule(wanted.text, zone, now=NOW)
    here = hour + offset
    every = list(times(schedule, hour - 20_000, hour + 60_000))
    later = [each for each in every if each > here]
    found = schedule.after(here)
    assert found is not None
    assert found > here
    if later:
        assert found == later[0]
    inside = [each for each in later if each <= here + length]
    assert schedule.latest(here, here + length) == (inside[-1] if inside else None)


@given(
    zone=st.sampled_from(ZONES),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    year=st.integers(2000, 2037),
)
def test_a_daily_schedule_fires_once_on_every_local_day_of_any_year(
    zone: str, hour: int, minute: int, year: int
) -> None:
    schedule = parse_schedule(f"{minute} {hour} * * *", zone, now=0)
    tz = ZoneInfo(zone)
    start = datetime(year, 1, 1, tzinfo=tz).timestamp()
    end = datetime(year + 1, 1, 1, tzinfo=tz).timestamp()
    local = [datetime.fromtimestamp(each, tz) for each in times(schedule, start - 1, end - 1)]
    days = [each.date() for each in local]
    first = date(year, 1, 1)
    assert days == [first + timedelta(days=n) for n in range((date(year + 1, 1, 1) - first).days)]
    for each in local:
        if (each.hour, each.minute) != (hour, minute):  # it is the first instant after a gap
            before = datetime.fromtimestamp(each.timestamp() - 1, tz)
            named = each.replace(hour=hour, minute=minute, tzinfo=None)
            assert before.replace(tzinfo=None) < named < each.replace(tzinfo=None)


@given(
    seconds=st.frozensets(st.integers(0, 59), min_size=1, max_size=3),
    wanted=fields(),
    wall=st.integers(int(NOW), int(NOW) + 400 * 86400),
)
def test_with_seconds_it_fires_in_the_minutes_of_those_without(
    seconds: frozenset[int], wanted: Fields, wall: int
) -> None:
    with_seconds = ",".join(map(str, sorted(seconds))) + " " + wanted.text
    schedule = parse_schedule(with_seconds, "Europe/Berlin", now=NOW)
    minutes = parse_schedule(wanted.text, "Europe/Berlin", now=NOW)
    minute = minutes.after(wall)
    assert minute is not None
    found = list(times(schedule, minute - 1, minute + 59))
    change = any(abs(minute - hour) < 7200 for hour in CHANGES["Europe/Berlin"])
    if not change:
        assert found == [minute + each for each in sorted(seconds)]


def test_the_next_time_is_known_at_once() -> None:
    """In 200 µs at the most, for expressions as people write them; the best of some runs."""
    for expression, zone in [
        ("*/5 * * * *", "Europe/Berlin"),
        ("30 2 * * *", "America/New_York"),
        ("0 9 * * mon-fri", "Asia/Kolkata"),
        ("0 0 1 * *", "UTC"),
        ("* * * * * *", "UTC"),
    ]:
        schedule = parse_schedule(expression, zone, now=NOW)
        best = 1.0
        for _ in range(5):
            wall, began = NOW, time.perf_counter()
            for _ in range(50):
                wall = schedule.after(wall) or wall
            best = min(best, (time.perf_counter() - began) / 50)
        assert best < 200e-6, f"{expression}: {best * 1e6:.0f} µs"
