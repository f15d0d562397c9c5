"""``motia-trio cron``: when schedules run, and to run one now."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from motia_trio.cli.project import Failed, ask_service, project_settings
from motia_trio.cli.values import directory_option, json_option
from motia_trio.control.client import NobodyListens

if TYPE_CHECKING:
    from motia_trio.settings import Settings
    from motia_trio.steps import Step

__all__ = ["cron"]

# of the records of one step; it has as many as it has schedules, and had
_RECORDS, _BYTES = 100_000, 1 << 30


@click.group(name="cron")
def cron() -> None:
    """See when schedules run, or run one now."""


@cron.command("list")
@json_option
@directory_option
def _list(directory: str, *, as_json: bool) -> None:
    """List the schedules of all steps, and when each runs next.

    Where no service runs, they are those of the step files, and nothing runs until one does. NEXT
    is in the schedule's own timezone; LAST is the time for which it ran last; SKIPPED counts the
    times for which it was not run since the service started, because its last run still went on,
    the step was quarantined, or the clock went past them.

    With --json: an array of objects with step, trigger (its index), expression, timezone, next_at
    and last_at (UTC, null where there is none), next_local, running and skipped.

    \b
    Example:
        motia-trio cron list --dir /srv/shop
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import print_json_list, table

    root = Path(directory).absolute()
    words = ""
    try:
        told = ask_service(root, "cron.list")["schedules"]
    except NobodyListens:
        told, words = _without_service(root)
    if as_json:
        print_json_list(told)
    elif told:
        headers = ("STEP", "TRIGGER", "SCHEDULE", "TIMEZONE", "NEXT", "NEXT (UTC)", "LAST (UTC)")
        numbers = ("RUNNING", "SKIPPED")
        for line in table((*headers, *numbers), map(_row, told), numbers={"TRIGGER", *numbers}):
            click.echo(line)
    else:
        click.echo("no step has a schedule", err=True)
    if words:
        click.echo(f"motia-trio: {words}", err=True)


def _row(schedule: dict[str, Any]) -> tuple[object, ...]:
    return (
        schedule["step"],
        schedule["trigger"],
        schedule["expression"],
        schedule["timezone"],
        (schedule["next_local"] or "never").replace("T", " "),
        _seconds(schedule["next_at"]),
        _seconds(schedule["last_at"]),
        schedule["running"],
        schedule["skipped"],
    )


def _seconds(moment: str | None) -> str:
    """A time that falls on a whole second, as those of schedules do."""
    return "-" if moment is None else moment.replace("T", " ").replace(".000Z", "Z")


def _without_service(root: Path) -> tuple[list[dict[str, Any]], str]:
    """The schedules of the files, with what the store knows of them. Takes no lock of the store."""
    from motia_trio.app import App
    from motia_trio.control.views import tell_schedule
    from motia_trio.errors import LoadFailed, StoreBroken
    from motia_trio.plans import plans_of

    settings = project_settings(root)
    try:
        app = App.from_directory(root, **settings.model_dump(exclude_unset=True))
    except (LoadFailed, OSError) as error:
        raise Failed(str(error)) from None
    told: list[dict[str, Any]] = []
    words = "no service runs here: nothing runs until one does"
    now = time.time()
    for step in app.steps:
        plans = plans_of(step)
        records: dict[str, bytes] = {}
        if plans:
            try:
                records = _records(root, settings, step, now)
            except StoreBroken as error:
                words = f"no service runs here; when schedules ran last is not known: {error}"
        for plan in plans:
            plan.recall(records.get(plan.place.key), now)
            told.append(tell_schedule(step.name, plan.node()))
    return told, words


def _records(root: Path, settings: Settings, step: Step, now: float) -> dict[str, bytes]:
    """What the store keeps of a step's schedules, by key."""
    from motia_trio.plans import SPACE
    from motia_trio.store.sqlite.visiting import items_after
    from motia_trio.store.urls import sqlite_path

    path = sqlite_path(settings.store, root)
    if path is None or not path.exists():
        return {}
    return dict(items_after(path, SPACE, step.name, "", _RECORDS, _BYTES, now))


@cron.command("run")
@click.argument("step")
@click.option(
    "--trigger",
    type=click.IntRange(min=0),
    metavar="N",
    help="Its index among the step's triggers, as `cron list` tells it.  [the only one]",
)
@json_option
@directory_option
def _run(step: str, trigger: int | None, directory: str, *, as_json: bool) -> None:
    """Run a cron trigger of STEP now.

    Prints the trace id of the run, once it waits in the step's mailbox. The schedule goes on as if
    nothing had been. It needs a running service.

    With --json: an object with trace_id.

    \b
    Example:
        motia-trio cron run CleanUp
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import print_json

    root = Path(directory).absolute()
    try:
        answer = ask_service(root, "cron.run", step=step, trigger=trigger)
    except NobodyListens:
        raise Failed(
            f"no service runs in {root}, and without one no step does: start it with "
            "`motia-trio run`"
        ) from None
    if as_json:
        print_json(answer)
    else:
        click.echo(answer["trace_id"])
