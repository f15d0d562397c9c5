"""``motia-trio dead-letters``: look at what was given up, have it tried again, or forget it."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from motia_trio.cli.project import Ask, Failed, talk
from motia_trio.cli.values import directory_option, duration, json_option, letter_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["dead_letters"]

# how many one request is about, and how many are listed unless more are asked for
AT_ONCE, SHOWN = 100, 100


@click.group(name="dead-letters")
def dead_letters() -> None:
    """Look at dead letters, redrive or discard them.

    A dead letter is a message that a step could not handle: its attempts are used up, it expired,
    or the process died with it in hand three times. It is kept until you
    redrive it, so that it is handled again, or discard it.
    """


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--step``, ``--topic``, ``--older-than`` and ``--limit``."""
    for option in (
        click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N of them."),
        click.option(
            "--older-than",
            type=duration,
            metavar="AGE",
            help="Those that died longer ago than AGE: 45s, 30m, 2h, 7d.",
        ),
        click.option("--topic", help="Those whose message went to this topic."),
        click.option("--step", help="Those that this step could not handle."),
    ):
        command = option(command)
    return command


@dead_letters.command("list")
@_filters
@click.option("--all", "every", is_flag=True, help="List all of them, not only the first 100.")
@json_option
@directory_option
def _list(directory: str, *, limit: int | None, every: bool, as_json: bool, **filters: Any) -> None:
    """List dead letters, those of the oldest messages first.

    With --json: an array of objects with id, step, topic, reason, attempts, died_at, created_at,
    trace_id and message_id. Times are UTC.

    \b
    Examples:
        motia-trio dead-letters list
        motia-trio dead-letters list --step ShipOrder --older-than 2h
        motia-trio dead-letters list --all --json
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import print_json_list, since, table

    most = None if every and limit is None else limit or SHOWN
    with talk(directory) as ask:
        found = _letters(ask, filters)
        shown = islice(found, most)
        if as_json:
            print_json_list(shown)
        else:
            first = next(shown, None)
            if first is None:
                click.echo("no dead letters" + (" fit" if any(filters.values()) else ""), err=True)
                return
            rows = (
                (
                    letter["id"],
                    since(letter["died_at"]),
                    letter["step"],
                    letter["topic"],
                    letter["attempts"],
                    letter["reason"],
                )
                for part in ([first], shown)
                for letter in part
            )
            headers = ("ID", "AGE", "STEP", "TOPIC", "ATTEMPTS", "REASON")
            for line in table(headers, rows, numbers={"ATTEMPTS"}):
                click.echo(line)
        if next(found, None) is not None:
            click.echo(f"there are more than {most}: give --limit N, or --all", err=True)


def _letters(ask: Ask, filters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    after = "0"
    while True:
        answer = ask("dead_letters.list", after=after, limit=AT_ONCE, **filters)
        yield from answer["dead_letters"]
        if not answer["more"]:
            return
        after = answer["dead_letters"][-1]["id"]


@dead_letters.command("show")
@click.argument("id", type=letter_id)
@json_option
@directory_option
def _show(id: str, directory: str, *, as_json: bool) -> None:  # noqa: A002 - what it is called
    """Show all of one dead letter.

    Its message, and every attempt with its time and traceback.

    With --json: what `list --json` has of it, and sender, group, hops, priority, key, expires_at,
    data, and failures: an array of objects with attempt, started_at, ended_at, error, where and
    traceback.

    \b
    Example:
        motia-trio dead-letters show 19ab03c27f310001
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import print_json

    with talk(directory) as ask:
        letter = ask("dead_letters.get", id=id)["dead_letter"]
    if as_json:
        print_json(letter)
    else:
        _print_letter(letter)


def _print_letter(letter: dict[str, Any]) -> None:
    from motia_trio.cli.show import clean, pairs, short_json, since

    died, created = letter["died_at"], letter["created_at"]
    rows = [
        ("id", letter["id"]),
        ("step", letter["step"]),
        ("topic", letter["topic"]),
        ("reason", letter["reason"]),
        ("died", f"{died} ({since(died)} ago)"),
        ("created", f"{created} ({since(created)} ago)"),
        ("trace id", letter["trace_id"]),
        ("message id", letter["message_id"]),
    ]
    names = ("sender", "group", "hops", "priority", "key", "expires_at")
    rows += [(name.replace("_", " "), letter[name]) for name in names if letter[name]]
    for line in pairs(rows):
        click.echo(line)
    click.echo(f"\ndata\n{_indented(short_json(letter['data'], indent=2))}")
    for failure in letter["failures"]:
        click.echo(f"\nattempt {failure['attempt']}  {failure['started_at']}")
        click.echo(f"  {clean(failure['error'])}\n  {clean(failure['where'])}")
        lines = failure["traceback"].splitlines()
        click.echo(_indented("\n".join(clean(line) for line in lines)))


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.split("\n"))


@dead_letters.command("redrive")
@click.argument("ids", nargs=-1, metavar="[ID]...", type=letter_id)
@_filters
@click.option("--all", "every", is_flag=True, help="All of them, or all that fit the filters.")
@json_option
@directory_option
def _redrive(
    directory: str,
    ids: Sequence[str],
    *,
    limit: int | None,
    every: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Have dead letters handled again.

    Those of the IDs, those that fit all the filters, or --all. Each keeps its message and its
    trace id; its attempts begin anew, and it does not expire any more. Where no service runs, it
    waits in the store for one. With IDs that are not there, the others are redriven, and the exit
    code is 1.

    With --json: an object with redriven (how many) and missing (an array of ids).

    \b
    Examples:
        motia-trio dead-letters redrive 19ab03c27f310001
        motia-trio dead-letters redrive --step ShipOrder --older-than 30m
        motia-trio dead-letters redrive --all
    """  # noqa: D301 - click wants the character itself
    chosen = _chosen(ids, filters, every=every)
    with talk(directory) as ask:
        done, missing = _each(ask, "redrive", "redriven", chosen, filters, limit)
    _report("redriven", done, missing, as_json=as_json)


@dead_letters.command("discard")
@click.argument("ids", nargs=-1, metavar="[ID]...", type=letter_id)
@_filters
@click.option("--all", "every", is_flag=True, help="All of them, or all that fit the filters.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@directory_option
def _discard(
    directory: str,
    ids: Sequence[str],
    *,
    limit: int | None,
    every: bool,
    yes: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Forget dead letters for good.

    Those of the IDs, those that fit all the filters, or --all. Asks first if it is not about one
    ID alone; where there is no terminal to ask on, give --yes. With IDs that are not there, the
    others are discarded, and the exit code is 1.

    With --json: an object with discarded (how many) and missing (an array of ids).

    \b
    Examples:
        motia-trio dead-letters discard 19ab03c27f310001
        motia-trio dead-letters discard --topic order.placed --older-than 30d
    """  # noqa: D301 - click wants the character itself
    chosen = _chosen(ids, filters, every=every)
    if not yes and len(chosen) != 1:
        _confirm(chosen, filters, limit)
    with talk(directory) as ask:
        done, missing = _each(ask, "discard", "discarded", chosen, filters, limit)
    _report("discarded", done, missing, as_json=as_json)


def _chosen(ids: Sequence[str], filters: dict[str, Any], *, every: bool) -> list[str]:
    """The ids that were given; none stands for all that fit, and must have been meant."""
    given = any(value is not None for value in filters.values())
    if ids and every:
        raise click.UsageError("either IDs or --all")
    if not ids and not every and not given:
        raise click.UsageError(
            "which? Give IDs, as `dead-letters list` prints them, or filters (--step, --topic, "
            "--older-than), or --all"
        )
    return list(dict.fromkeys(ids))


def _confirm(ids: Sequence[str], filters: dict[str, Any], limit: int | None) -> None:
    """Ask whether to go on."""
    from motia_trio.cli.show import clean, span

    which = f"{len(ids)} dead letters" if ids else "all dead letters"
    if limit is not None:
        which = f"up to {limit} dead letters"
    if filters["step"] is not None:
        which += f" of step {clean(filters['step'])}"
    if filters["topic"] is not None:
        which += f" of topic {clean(filters['topic'])}"
    if filters["older_than"] is not None:
        which += f" older than {span(filters['older_than'])}"
    if not _on_terminal():
        raise click.UsageError(f"this discards {which} for good: say so with --yes")
    click.confirm(f"Discard {which} for good?", abort=True, err=True)


def _on_terminal() -> bool:
    return sys.stdin.isatty()


def _each(
    ask: Ask,
    verb: str,
    past: str,
    ids: list[str],
    filters: dict[str, Any],
    limit: int | None,
) -> tuple[int, list[str]]:
    """Do it to all that were chosen, some at a time. Gives how many, and which were not there."""
    from motia_trio.cli.progress import progress

    op = f"dead_letters.{verb}"
    done, missing = 0, []
    with progress(lambda: f"{done} {past}"):
        if ids:
            ids = ids[:limit]
            for at in range(0, len(ids), AT_ONCE):
                answer = ask(op, ids=ids[at : at + AT_ONCE], **filters)
                done += len(answer["ids"])
                missing += answer["missing"]
            return done, missing
        after: str | None = "0"
        while after is not None and (limit is None or done < limit):
            most = AT_ONCE if limit is None else min(AT_ONCE, limit - done)
            answer = ask(op, after=after, limit=most, **filters)
            done += len(answer["ids"])
            after = answer["next"]
    return done, missing


def _report(past: str, done: int, missing: list[str], *, as_json: bool) -> None:
    """Say what was done, and fail if something was not there."""
    from motia_trio.cli.show import print_json

    if as_json:
        print_json({past: done, "missing": missing})
    else:
        click.echo(f"{past} {done}")
    if missing:
        raise Failed(
            "\n".join(
                f"{text}: no such dead letter: it was redriven, discarded, never there, or does "
                "not fit the filters"
                for text in missing
            )
        )
