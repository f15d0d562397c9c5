"""``motia-trio cron`` and the operations behind it, with a service and without."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio

from motia_trio import App, cron, open_runtime, queue, step
from motia_trio.control.dispatch import dispatch
from motia_trio.store.sqlite.lock import locked
from tests.cli.conftest import serving
from tests.support import invoke, project

FILES = {
    "steps/clean_step.py": """
config = {"name": "Clean Up", "triggers": [
    {"type": "queue", "topic": "clean"},
    {"type": "cron", "expression": "30 2 * * *", "timezone": "Europe/Berlin"},
]}

async def handler(input, ctx):
    await ctx.state.set("ran", "Clean Up", ctx.trace_id)
""",
    "steps/report_step.py": """
config = {"name": "Report", "triggers": [
    {"type": "cron", "expression": "@monthly"},
    {"type": "cron", "expression": "@yearly", "catch_up": True},
]}

async def handler(ctx):
    await ctx.state.set("ran", "Report", ctx.trigger.index)
""",
}
COLUMNS = ["STEP", "TRIGGER", "SCHEDULE", "TIMEZONE", "NEXT", "NEXT (UTC)", "LAST (UTC)"]


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return project(tmp_path / "shop", FILES)


def listed(shop: Path) -> Any:
    code, out, _ = invoke("cron", "list", "--json", "--dir", shop)
    assert code == 0
    return json.loads(out)


def rows(out: str) -> list[list[str]]:
    return [re.split(r"  +", line) for line in out.splitlines()]


def test_it_lists_the_schedules_of_a_running_service(shop: Path) -> None:
    with serving(shop):
        code, out, err = invoke("cron", "list", "--dir", shop)
    assert (code, err) == (0, "")
    header, clean, monthly, yearly = rows(out)
    assert header == [*COLUMNS, "RUNNING", "SKIPPED"]
    assert clean[:4] == ["Clean Up", "1", "30 2 * * *", "Europe/Berlin"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d 02:30:00\+0[12]:00", clean[4])
    assert datetime.fromisoformat(clean[4]) == datetime.fromisoformat(clean[5])
    assert clean[6:] == ["-", "0", "0"]
    assert monthly[5].endswith("-01 00:00:00Z")
    assert yearly[5].endswith("-01-01 00:00:00Z")


def test_without_a_service_they_are_those_of_the_files(shop: Path) -> None:
    """Before anything ever ran there: it makes no store."""
    code, out, err = invoke("cron", "list", "--dir", shop)
    assert code == 0
    assert err == "motia-trio: no service runs here: nothing runs until one does\n"
    assert [row[0] for row in rows(out)] == ["STEP", "Clean Up", "Report", "Report"]
    assert not (shop / ".motia").exists()


def test_the_json_has_the_same_names_either_way(shop: Path) -> None:
    without = listed(shop)
    with serving(shop):
        running = listed(shop)
    assert without == running
    assert list(running[0]) == [
        "step", "trigger", "expression", "timezone", "next_at", "next_local", "last_at", "running",
        "skipped",
    ]  # fmt: skip
    assert datetime.fromisoformat(running[0]["next_at"]) > datetime.now(UTC)


async def test_when_it_ran_last_is_told_from_the_store_though_another_has_it_open(
    shop: Path,
) -> None:
    now = datetime.now(UTC)

    @step(cron("* * * * * *"), name="Often")
    async def often(ctx: Any) -> None: ...

    project(
        shop,
        {
            "steps/often_step.py": "config = {'name': 'Often', 'triggers': [\n"
            "    {'type': 'cron', 'expression': '* * * * * *'}]}\n"
            "async def handler(ctx): ...\n"
        },
    )
    app = App([often], root=shop, store="sqlite:///.motia/store.db")
    async with open_runtime(app, observers=()) as rt:
        while rt.tree()["Often"].schedules[0].last_at is None:
            await trio.sleep(0.05)
    with locked(shop / ".motia" / "store.db"):
        (told,) = [each for each in listed(shop) if each["step"] == "Often"]
    assert told["last_at"] is not None
    assert 0 <= (datetime.fromisoformat(told["last_at"]) - now).total_seconds() < 30


def test_a_store_that_cannot_be_read_is_told_and_the_rest_listed(shop: Path) -> None:
    path = shop / ".motia" / "store.db"
    path.parent.mkdir()
    path.write_bytes(b"no store" * 1000)
    code, out, err = invoke("cron", "list", "--dir", shop)
    assert (code, len(rows(out))) == (0, 4)
    assert "when schedules ran last is not known" in err


def test_a_project_without_schedules_says_so(tmp_path: Path) -> None:
    project(
        tmp_path,
        {
            "steps/a_step.py": "config = {'name': 'A', 'triggers': [{'type': 'queue', 'topic': 't'}]}\n"
            "async def handler(input): ...\n"
        },
    )
    code, out, err = invoke("cron", "list", "--dir", tmp_path)
    assert (code, out) == (0, "")
    assert err.startswith("no step has a schedule\n")
    assert listed(tmp_path) == []


def test_a_step_file_that_does_not_load_is_told(shop: Path) -> None:
    project(shop, {"steps/bad_step.py": "config = {'name': 'Bad', 'cron': '61 * * * *'}"})
    code, out, err = invoke("cron", "list", "--dir", shop)
    assert (code, out) == (1, "")
    assert "steps/bad_step.py: cron: '61 * * * *': the minute is '61'" in err


def test_it_runs_a_trigger_and_prints_the_trace_id(shop: Path) -> None:
    with serving(shop):
        code, out, err = invoke("cron", "run", "Clean Up", "--dir", shop)
        assert (code, err) == (0, "")
        assert re.fullmatch(r"[0-9a-f]{32}\n", out)
        assert kept(shop, "Clean Up") == out.strip()
        code, out, err = invoke("cron", "run", "Report", "--trigger", "1", "--json", "--dir", shop)
        assert (code, err) == (0, "")
        assert list(json.loads(out)) == ["trace_id"]
        assert kept(shop, "Report") == 1


def kept(shop: Path, key: str) -> Any:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        code, out, _ = invoke("state", "get", "ran", key, "--json", "--dir", shop)
        if code == 0:
            return json.loads(out)["value"]
    raise AssertionError("it did not run")


def test_it_says_which_when_it_cannot_tell(shop: Path) -> None:
    with serving(shop):
        code, out, err = invoke("cron", "run", "Report", "--dir", shop)
        assert (code, out) == (1, "")
        assert err == (
            "motia-trio: step 'Report' has 2 cron triggers: say which of 0 (@monthly), 1 (@yearly)\n"
        )
        code, out, err = invoke("cron", "run", "Repot", "--dir", shop)
        assert (code, out) == (1, "")
        assert err == (
            "motia-trio: there is no step 'Repot' with a cron trigger; there are: Clean Up, Report\n"
        )


def test_without_a_service_nothing_is_run(shop: Path) -> None:
    code, out, err = invoke("cron", "run", "Clean Up", "--dir", shop)
    assert (code, out) == (1, "")
    assert err == (
        f"motia-trio: no service runs in {shop}, and without one no step does: start it with "
        "`motia-trio run`\n"
    )


# the operations


async def test_the_operations_list_and_run(where: dict[str, Any]) -> None:
    seen: list[str] = []

    @step(cron("@daily"), name="Daily")
    async def daily(ctx: Any) -> None:
        seen.append(ctx.trace_id)
        await trio.sleep_forever()

    @step(queue("t"), name="Other")
    async def other(input: Any) -> None: ...

    async with open_runtime(App([daily, other], shutdown_timeout=0, **where), observers=()) as rt:

        async def do(op: str, **params: Any) -> Any:
            return await dispatch(rt, {"v": 1, "op": op, "params": params})

        (told,) = (await do("cron.list"))["result"]["schedules"]
        assert (told["step"], told["expression"], told["running"]) == ("Daily", "@daily", 0)
        answer = await do("cron.run", step="Daily", trigger="@daily")
        while not seen:
            await trio.sleep(0.01)
        assert seen == [answer["result"]["trace_id"]]
        again = await do("cron.run", step="Daily")
        assert again["error"]["type"] == "Overloaded"
        assert (await do("cron.run", step="Other"))["error"]["type"] == "KeyError"
        assert (await do("cron.list"))["result"]["schedules"][0]["running"] == 1


async def test_where_no_step_runs_the_operations_tell_and_do_not_run(where: dict[str, Any]) -> None:
    @step(cron("@daily"), name="Daily")
    async def daily(ctx: Any) -> None: ...

    async with open_runtime(App([daily], **where), observers=(), idle=True) as rt:
        told = await dispatch(rt, {"v": 1, "op": "cron.list"})
        assert told["result"]["schedules"][0]["next_at"].endswith("T00:00:00.000Z")
        answer = await dispatch(rt, {"v": 1, "op": "cron.run", "params": {"step": "Daily"}})
        assert answer["error"]["type"] == "Closed"
