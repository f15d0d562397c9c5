"""``motia-trio emit``: publish a message."""

from __future__ import annotations

from typing import Any

import click

from motia_trio.cli.project import Failed, talk
from motia_trio.cli.values import directory_option, duration, json_option, moment, parse_json

__all__ = ["emit"]


@click.command()
@click.argument("topic")
@click.argument("data", metavar="[JSON]", type=parse_json, default="null")
@click.option(
    "--group", help="The group within which a fifo queue keeps the order.  [the empty one]"
)
@click.option("--delay", type=duration, metavar="TIME", help="Not before TIME from now: 90s, 2h.")
@click.option(
    "--at", type=moment, metavar="WHEN", help="Not before WHEN: 2026-12-24T18:00:00Z or +01:00."
)
@click.option("--key", help="The topic takes one message of this key a day; others are the same.")
@click.option(
    "--priority", type=click.IntRange(-10, 10), help="From -10 to 10, higher goes first.  [0]"
)
@click.option(
    "--expires",
    type=duration,
    metavar="TIME",
    help="Not begun within TIME, it is a dead letter instead: 90s, 2h.",
)
@click.option("--trace-id", metavar="HEX", help="32 hex digits.  [a new one]")
@json_option
@directory_option
def emit(topic: str, data: Any, directory: str, *, as_json: bool, **options: Any) -> None:
    """Publish a message to TOPIC.

    Prints its id, once it is kept. Its data is JSON; - reads it from stdin; without any it is null.
    Where no service runs, the steps are loaded to see who listens, and the message waits in the
    store for a service. When no step listens, nothing is kept, and the exit code is 1.

    With --json: an object with id and steps (an array of the names of the steps that get it).

    \b
    Examples:
        motia-trio emit order.placed '{"item": "piano"}'
        motia-trio emit report.due --at 2026-12-24T18:00:00Z
        motia-trio emit invoice.sent - --key invoice-17 < invoice.json
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.show import print_json

    if options["delay"] is not None and options["at"] is not None:
        raise click.UsageError("either --delay or --at")
    with talk(directory, steps=True, creates=True) as ask:
        answer = ask("enqueue", topic=topic, data=data, **options)
    if as_json:
        print_json({"id": answer["id"] if answer["steps"] else None, "steps": answer["steps"]})
    elif answer["steps"]:
        click.echo(answer["id"])
    if not answer["steps"]:
        close = answer["nearest_topic"]
        hint = f"; did you mean {close!r}?" if close else ""
        raise Failed(f"no step listens to {topic!r}: nothing was kept{hint}")
