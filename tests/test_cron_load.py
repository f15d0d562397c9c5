"""A schedule that is wrong is an error when its step is loaded, among all others."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from motia_trio import App, LoadFailed, cron, step, stream
from motia_trio.steps import CronTrigger
from tests.support import project

HANDLER = "\nasync def handler(ctx): ...\n"


def test_all_that_is_wrong_is_told_with_file_and_key(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            "steps/first_step.py": f"config = {{'name': 'A', 'cron': '61 * * * *'}}{HANDLER}",
            "steps/second_step.py": "config = {'name': 'B', 'triggers': [\n"
            "    {'type': 'cron', 'expression': '@daily', 'timezone': 'Europe/Berln'},\n"
            "    {'type': 'cron', 'expression': '0 0 30 2 *', 'timezone': 'UTC'},\n"
            "    {'type': 'cron', 'expression': '* *', 'timezone': 'Mars'},\n"
            f"]}}{HANDLER}",
            "steps/third_step.py": "config = {'name': 'C', 'triggers': [{'type': 'qeue'}]}"
            f"{HANDLER}",
        },
    )
    with pytest.raises(LoadFailed) as caught:
        App.from_directory(tmp_path)
    told = [str(problem) for problem in caught.value.problems]
    expected = [
        "steps/first_step.py: cron: '61 * * * *': the minute is '61'; it takes 0 to 59",
        "steps/second_step.py: triggers[0].timezone: 'Europe/Berln' is no timezone",
        "steps/second_step.py: triggers[1].expression: '0 0 30 2 *' can never fire",
        "steps/second_step.py: triggers[2].timezone: 'Mars' is no timezone",
        "steps/second_step.py: triggers[2].expression: '* *' has 2 fields",
        "steps/third_step.py: triggers[0]: 'qeue'",
    ]
    assert len(told) == len(expected)
    for words, beginning in zip(told, expected, strict=True):
        assert words.startswith(beginning)


def test_a_first_dialect_key_is_told_beside_the_triggers_by_its_own_name() -> None:
    config = {
        "name": "A",
        "cron": "99 * * * *",
        "triggers": [{"type": "cron", "expression": "@weakly"}],
    }
    with pytest.raises(LoadFailed) as caught:
        step(config, lambda ctx: None)
    first, second = caught.value.problems
    assert first.what.startswith("cron: '99 * * * *'")
    assert second.what.startswith("triggers[0].expression: '@weakly'")
    assert second.what.endswith("did you mean '@weekly'?")


def test_a_year_that_has_passed_is_wrong_and_this_one_is_not() -> None:
    year = datetime.now(UTC).year
    step(cron(f"59 59 23 31 12 * {year}"))(lambda ctx: None)
    with pytest.raises(LoadFailed, match="its last time has passed"):
        step(cron(f"59 59 23 31 12 * {year - 1}"))(lambda ctx: None)


def test_a_trigger_has_its_schedule_ready() -> None:
    definition = step(cron("0 9 * * mon", timezone="Asia/Kolkata", catch_up=True))(lambda ctx: None)
    (trigger,) = definition.step.triggers
    assert isinstance(trigger, CronTrigger)
    assert (trigger.schedule.expression, trigger.schedule.timezone) == (
        "0 9 * * mon",
        "Asia/Kolkata",
    )
    found = trigger.schedule.after(time.time())
    assert found is not None
    assert datetime.fromtimestamp(found, UTC).strftime("%a %H:%M") == "Mon 03:30"


@pytest.mark.parametrize("made", [stream("(cron)"), {"type": "stream", "streamName": "(cron)"}])
def test_no_trigger_follows_what_the_runtime_keeps_for_itself(made: Any) -> None:
    with pytest.raises(LoadFailed, match=r"stream_name: '\(cron\)': names that begin with '\('"):
        step({"name": "A", "triggers": [made]}, lambda ctx: None)
