"""``motia-trio store``: the file in which a project keeps everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from motia_trio.cli.project import talk
from motia_trio.cli.values import directory_option, json_option

__all__ = ["store"]


@click.group()
def store() -> None:
    """Look at the store's file, copy it, make it smaller."""


@store.command("info")
@json_option
@directory_option
def _info(directory: str, *, as_json: bool) -> None:
    """Tell how big the file is and what is in it.

    It takes about a second for every few million deliveries and keys.

    With --json: an object with path, bytes, log_bytes, free_bytes, page_bytes, pages, free_pages,
    schema_version, sqlite_version, dead_letters, steps (an array of objects with name, waiting,
    leased, delayed and dead) and items (how many by space: "" is the state, others are streams).

    \b
    Example:
        motia-trio store info
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.progress import progress
    from motia_trio.cli.show import print_json

    with talk(directory) as ask, progress(lambda: "counting"):
        info = ask("store.info")
    if as_json:
        print_json(info)
    else:
        _print_info(info)


def _print_info(info: dict[str, Any]) -> None:
    from motia_trio.cli.show import pairs, size, table

    rows = [
        ("path", info["path"]),
        ("size", f"{size(info['bytes'])}, of it free {size(info['free_bytes'])}"),
        ("log", size(info["log_bytes"])),
        ("schema", f"version {info['schema_version']}, SQLite {info['sqlite_version']}"),
        ("dead letters", info["dead_letters"]),
        ("state keys", info["items"].pop("", 0)),
        *((f"items of {name}", count) for name, count in info["items"].items()),
    ]
    for line in pairs(rows):
        click.echo(line)
    columns = ("waiting", "leased", "delayed", "dead")
    if info["steps"]:
        click.echo("")
        lines = [(step["name"], *(step[column] for column in columns)) for step in info["steps"]]
        headers = [column.upper() for column in columns]
        for line in table(("STEP", *headers), lines, numbers=headers):
            click.echo(line)


@store.command("vacuum")
@json_option
@directory_option
def _vacuum(directory: str, *, as_json: bool) -> None:
    """Rebuild the file without what is free in it.

    It is not needed for work to go on: what is free is used again. While it runs, a service reads
    but does not write, so whatever enqueues or acknowledges waits: about a second for each GB on a
    fast disk. The disk needs room for two more copies of what is kept.

    With --json: an object with path, bytes_before and bytes_after (file and log together).

    \b
    Example:
        motia-trio store vacuum
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.progress import progress
    from motia_trio.cli.show import print_json, size

    with talk(directory) as ask, progress(lambda: "rebuilding the file"):
        done = ask("store.vacuum")
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done['path']}: {size(done['bytes_before'])} -> {size(done['bytes_after'])}")


@store.command("backup")
@click.argument("dest", type=click.Path(dir_okay=False))
@json_option
@directory_option
def _backup(dest: str, directory: str, *, as_json: bool) -> None:
    """Copy the store to the new file DEST, as it is at one moment.

    A service goes on meanwhile. DEST appears when it is whole and on disk; until then there is
    DEST.part. It is a store itself: to restore it, stop the service and put it in the place of
    .motia/store.db, without the -wal and -shm beside that.

    With --json: an object with path, target and bytes.

    \b
    Example:
        motia-trio store backup /backups/shop-$(date +%F).db
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.progress import progress
    from motia_trio.cli.show import print_json, size

    target = Path(dest).absolute()
    part = target.with_name(target.name + ".part")

    def tell() -> str:
        try:
            return f"{size(part.stat().st_size)} copied"
        except OSError:
            return "copying"

    with talk(directory) as ask, progress(tell):
        done = ask("store.backup", target=str(target))
    if as_json:
        print_json(done)
    else:
        click.echo(f"{done['target']}: {size(done['bytes'])}")
