"""When a cron expression fires, in its timezone, across changes of the clock.

croniter reads expressions and steps through local times. What a local time is as an instant, where
it comes twice, and where it never comes, is decided here: croniter fires twice at 01:30 when the
clock goes back.
"""

from __future__ import annotations

import re
import zoneinfo
from datetime import UTC, datetime, timedelta
from math import floor
from typing import TYPE_CHECKING

from attrs import field, frozen

from motia_trio.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from croniter import croniter

__all__ = ["Schedule", "ScheduleInvalid", "parse_schedule"]

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# the fields in their order, each with what it takes
_FIELDS = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day of the month": "1 to 31, or L for the last",
    "month": "1 to 12, or JAN to DEC",
    "day of the week": "0 to 7 (0 and 7 are Sunday), or SUN to SAT, or such as MON#2 and L5",
    "year": "1970 to 2099",
}
# years that may lie between two times: a year of the 7-field form may be far away
_YEARS = 150
_SECOND = timedelta(seconds=1)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - local times are naive here


class ScheduleInvalid(ValueError):
    """What is wrong with a schedule, by key: ``expression``, ``timezone`` or both."""

    def __init__(self, wrong: Mapping[str, str]) -> None:
        self.wrong = dict(wrong)
        super().__init__("; ".join(self.wrong.values()))


@frozen
class _Change:
    """One change of a zone's clock: the instant, and the offsets before and after it, in seconds.

    The local times from ``low`` up to ``high`` never come (``is_gap``), or come twice.
    """

    at: int
    before: int
    after: int

    @property
    def is_gap(self) -> bool:
        return self.before < self.after

    @property
    def low(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.at + min(self.before, self.after))

    @property
    def high(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.at + max(self.before, self.after))


@frozen
class Schedule:
    """The times of a cron expression in a timezone. Made by :func:`parse_schedule`.

    Where hours are named (``30 2 * * *``), what falls into an hour that never comes fires once, at
    the first instant after it, and what falls into an hour that comes twice fires the first time.
    Where the hour begins with ``*`` and is more than one, it follows real time: it fires in both
    hours of one that comes twice, and not for one that never comes.
    """

    expression: str
    timezone: str
    _cron: croniter = field(repr=False, eq=False)
    _zone: tzinfo = field(repr=False, eq=False)
    _follows_time: bool = field(repr=False, eq=False)

    def after(self, wall: float) -> float | None:
        """Give the first time after a wall time; None if there is none any more."""
        now = datetime.fromtimestamp(floor(wall), self._zone)
        local = now.replace(tzinfo=None, fold=0)
        change = _change_at(self._zone, local)
        if change is None:
            return self._instant(self._step(local))
        # this hour comes twice
        if not self._follows_time:
            return self._instant(self._step(change.high - _SECOND if now.fold else local))
        found = self._step(local)
        if not now.fold:
            if found is not None and found < change.high:
                return _seconds(found) - change.before
            found = self._step(change.low - _SECOND)
        if found is not None and found < change.high:
            return _seconds(found) - change.after
        return self._instant(found)

    def latest(self, since: float, until: float) -> float | None:
        """Give the last time after ``since`` that is not after ``until``; None without any."""
        found = self.after(since)
        if found is None or found > until:
            return None
        low, high = floor(since), floor(until)
        while high - low > 1:
            middle = (low + high) // 2
            later = self.after(middle)
            if later is None or later > until:
                high = middle
            else:
                low, found = middle, later
        return found

    def _step(self, local: datetime) -> datetime | None:
        """The next local time that fits the expression, whether or not it ever comes."""
        from croniter import CroniterBadDateError  # noqa: PLC0415 - as in parse_schedule

        try:
            found: datetime = self._cron.get_next(datetime, start_time=local)
        except CroniterBadDateError:
            return None
        return found

    def _instant(self, local: datetime | None) -> float | None:
        """The wall time of a local time that fits, or else of the next one that does."""
        while local is not None:
            change = _change_at(self._zone, local)
            if change is None:
                return _seconds(local) - _offset(self._zone, local)
            if not change.is_gap:
                return _seconds(local) - change.before
            if not self._follows_time:
                return change.at
            local = self._step(change.high - _SECOND)
        return None


def parse_schedule(expression: str, timezone: str = "UTC", *, now: float | None = None) -> Schedule:
    """Read a cron expression: 5 fields, 6 with the seconds first, 7 with the year last, or @daily.

    ``now`` is the wall time after which it has to fire at least once, the system's without it.

    Raises:
        ScheduleInvalid: it is none, or can never fire, or there is no such timezone.
    """
    wrong: dict[str, str] = {}
    zone = _zone(timezone)
    if zone is None:
        wrong["timezone"] = _unknown(timezone)
    cron: croniter | None = None
    fields = _fields(expression)
    try:
        cron = _cron(expression, fields)
    except ValueError as error:
        wrong["expression"] = str(error)
    if zone is None or cron is None:
        raise ScheduleInvalid(wrong)
    hours = cron.expanded[1]
    begins_so = fields[1 if len(fields) == 5 else 2].startswith("*")
    follows_time = hours == ["*"] or (begins_so and len(hours) > 1)
    schedule = Schedule(expression, timezone, cron, zone, follows_time)
    since = datetime.now(UTC).timestamp() if now is None else now
    if schedule.after(since) is None:
        passed = schedule.latest(-86_400.0, since) is not None
        why = "its last time has passed" if passed else "no such day is in any year"
        raise ScheduleInvalid({"expression": f"{expression!r} can never fire: {why}"})
    return schedule


def _fields(expression: str) -> list[str]:
    """The fields of an expression, in lower case. ``9-9`` is 9, not all hours as in croniter."""
    text = expression.strip().lower()
    return [
        ",".join(re.sub(r"^([^-/,]+)-\1(?=/|$)", r"\1", item) for item in each.split(","))
        for each in _ALIASES.get(text, text).split()
    ]


def _cron(expression: str, fields: list[str]) -> croniter:
    """What croniter makes of it. Raises ValueError, which says what is wrong where."""
    # 50 ms that only those pay who have schedules
    from croniter import CroniterError, croniter  # noqa: PLC0415

    if len(fields) == 1 and fields[0].startswith("@"):
        close = nearest(fields[0], _ALIASES)
        hint = f"; did you mean {close!r}?" if close else ""
        raise ValueError(f"{expression!r}: known are {', '.join(_ALIASES)}{hint}")
    if len(fields) not in {5, 6, 7}:
        raise ValueError(
            f"{expression!r} has {len(fields)} field{'s' * (len(fields) != 1)}: 5 are expected "
            "(minute, hour, day of the month, month, day of the week), 6 with the second before "
            "them, 7 with the year after those"
        )
    if any(each[0] in "hr" for each in fields):  # croniter's own: hashed and random values
        raise ValueError(f"{expression!r}: {_misfit(fields)}")
    try:
        cron = croniter(
            " ".join(fields),
            _EPOCH,
            second_at_beginning=True,
            max_years_between_matches=_YEARS,
        )
    except CroniterError as error:
        raise ValueError(f"{expression!r}: {_misfit(fields) or error}") from None
    day, week = cron.expanded[2], cron.expanded[4]
    if (cron.nth_weekday_of_month and day != ["*"]) or (cron.nearest_weekday and week != ["*"]):
        # croniter would leave out one of the two
        raise ValueError(
            f"{expression!r}: W, or # or L in the day of the week, leaves no room for "
            f"{'a day of the month' if cron.nth_weekday_of_month else 'a day of the week'} "
            "beside it: give * there, or make it two triggers"
        )
    return cron


def _misfit(fields: list[str]) -> str | None:
    """Which field of an expression does not fit, even alone."""
    from croniter import croniter  # noqa: PLC0415 - as above

    names = list(_FIELDS)[len(fields) == 5 : 7 if len(fields) == 7 else 6]
    for index, (name, each) in enumerate(zip(names, fields, strict=True)):
        alone = ["*"] * len(fields)
        alone[index] = each
        fits = croniter.is_valid(" ".join(alone), second_at_beginning=True)
        if not fits or each[0] in "hr":
            return f"the {name} is {each!r}; it takes {_FIELDS[name]}, with * , - / between them"
    return None


def _zone(name: str) -> tzinfo | None:
    """The timezone of a name. UTC is known without a database."""
    if name == "UTC":
        return UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _unknown(name: str) -> str:
    known = zoneinfo.available_timezones()
    spellings = {each.lower(): each for each in sorted(known)}
    close = nearest(name.lower(), spellings)
    if close is None:  # a city alone
        cities = {each.rpartition("/")[2]: each for each in spellings}
        close = cities.get(nearest(name.lower(), cities) or "")
    hint = f"; did you mean {spellings[close]!r}?" if close else ""
    return f"{name!r} is no timezone: give a name such as 'Europe/Berlin' or 'UTC'{hint}"


def _change_at(zone: tzinfo, local: datetime) -> _Change | None:
    """The change of the clock for which a local time comes twice or never, if there is one."""
    if zone is UTC:
        return None
    before = _offset(zone, local)
    after = _offset(zone, local.replace(fold=1))
    if before == after:
        return None
    low = _seconds(local) - max(before, after)
    high = _seconds(local) - min(before, after)
    while high - low > 1:
        middle = (low + high) // 2
        then = datetime.fromtimestamp(middle, zone).utcoffset()
        if then == timedelta(seconds=before):
            low = middle
        else:
            high = middle
    return _Change(high, before, after)


def _offset(zone: tzinfo, local: datetime) -> int:
    offset = zone.utcoffset(local.replace(tzinfo=zone))
    return 0 if offset is None else round(offset.total_seconds())


def _seconds(local: datetime) -> int:
    """A local time as if it were UTC."""
    return (local - _EPOCH) // _SECOND
