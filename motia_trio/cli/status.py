"""``motia-trio status``: whether the service runs, and how each step is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from motia_trio.cli.project import ask_service, project_settings, store_path
from motia_trio.cli.values import directory_option, json_option
from motia_trio.control.client import NobodyListens
from motia_trio.control.place import FOLDER, SOCKET

__all__ = ["status"]

# as of system services (Linux Standard Base): not running
NOT_RUNNING = 3


@click.command()
@json_option
@directory_option
def status(directory: str, *, as_json: bool) -> None:
    """Tell whether the service runs, and how each step is.

    Where none runs, it tells what waits in the store, and the exit code is 3. IN FLIGHT are
    handlers at work; WAITING is due, or in a mailbox; DELAYED is due later; DEAD are dead letters.

    With --json: an object with state (null where none runs), pid, started_at, uptime (seconds),
    http, project, store, in_flight, unheard, and steps: an array of objects with name, source,
    state, in_flight, overdue, waiting, leased, delayed, dead, restarts, crashes and last_error.
    State and source are null for a step that only the store knows.

    \b
    Example:
        motia-trio status --dir /srv/shop
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import print_json

    root = Path(directory).absolute()
    try:
        told, words = ask_service(root, "status"), ""
    except NobodyListens:
        told, words = _without_service(root)
    if as_json:
        print_json(told)
    else:
        _print_status(told)
    if told["state"] is None:
        click.echo(f"motia-trio: {words}", err=True)
        raise SystemExit(NOT_RUNNING)


def _without_service(root: Path) -> tuple[dict[str, Any], str]:
    """What can be told where no service answers, and why none does. Takes no lock of the store."""
    from motia_trio.control.views import tell_status
    from motia_trio.errors import StoreBroken
    from motia_trio.store.sqlite.lock import holder
    from motia_trio.store.sqlite.upkeep import look

    settings = project_settings(root)
    words = "no service runs here"
    counts = {}
    if settings.store.startswith("sqlite:"):
        path = store_path(root, settings)
        pid = holder(path)
        if pid is not None:
            words = f"process {pid} has {path} open, but nobody listens on {root / FOLDER / SOCKET}"
        if path.exists():
            try:
                counts = dict(look(path, time.time()).steps)
            except StoreBroken as error:
                words += f"; {error}"
    return tell_status(str(root), settings.store, counts), words


def _print_status(told: dict[str, Any]) -> None:
    from motia_trio.cli.show import pairs, span, table

    service = "not running"
    if told["state"] is not None:
        service = (
            f"{told['state']}, process {told['pid']}, for {span(told['uptime'])} "
            f"(since {told['started_at']})"
        )
    rows = [("service", service), ("http", told["http"] or "-")]
    if told.get("streams") is not None:
        rows.append(("streams", f"{told['streams']}, {_followers(told['followers'])}"))
    rows += [("project", told["project"]), ("store", told["store"])]
    rows += [("unheard", f"{count} to {topic}") for topic, count in told["unheard"].items()]
    for line in pairs(rows):
        click.echo(line)
    if not told["steps"]:
        return
    click.echo("")
    headers = ("STEP", "STATE", "IN FLIGHT", "WAITING", "DELAYED", "DEAD", "RESTARTS")
    for line in table(headers, map(_row, told["steps"]), numbers=headers[2:]):
        click.echo(line)


def _followers(told: dict[str, int]) -> str:
    """Who follows streams, in words."""
    words = f"{told['connections']} connected, {told['subscriptions']} subscriptions"
    return words + (f", {told['lagged']} closed as lagged" if told["lagged"] else "")


def _row(step: dict[str, Any]) -> tuple[object, ...]:
    in_mailbox = max(0, step["leased"] - step["in_flight"])
    return (
        step["name"],
        step["state"] or "-",
        step["in_flight"],
        step["waiting"] + in_mailbox,
        step["delayed"],
        step["dead"],
        step["restarts"],
    )
