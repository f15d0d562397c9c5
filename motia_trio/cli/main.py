"""The command line. What a command needs is imported when it runs, so that ``--help`` is fast."""

from __future__ import annotations

from typing import Any

import click

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="motia-trio")
def main() -> None:
    """Run Motia steps as supervised actors, in one process."""


@main.command()
@click.argument("directory", metavar="[DIR]", default=".")
@click.option("--host", help="Address to listen on.  [127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port for HTTP; 0 picks a free one.  [3111]"
)
@click.option(
    "--store", metavar="URL", help="Where messages live; this version has memory: alone.  [memory:]"
)
@click.option(
    "--mailbox",
    type=click.IntRange(min=1),
    help="How many entries wait in a step's mailbox before it is full.  [100]",
)
@click.option(
    "--body-limit", type=click.IntRange(min=1), help="Largest request body, in bytes.  [16777216]"
)
@click.option(
    "--message-limit", type=click.IntRange(min=1), help="Largest message, in bytes.  [1048576]"
)
@click.option(
    "--shutdown-timeout",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long a stop waits for what runs.  [30]",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    help="The least level that is logged.  [info]",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="Lines for people or for machines.  [text]",
)
def run(directory: str, **flags: Any) -> None:
    """Serve the steps of the project in DIR (default: this folder).

    Steps are the files named *_step.py, *.step.py or *-step.py below DIR/src and DIR/steps.
    Logs go to stderr. When everything listens, one line on stdout says so:

    \b
        ready http=http://127.0.0.1:3111

    SIGTERM or SIGINT stops in order; a second one stops at once.

    Each option can also be set by an environment variable (MOTIA_TRIO_PORT=8000) or in
    DIR/motia.toml (port = 8000). A flag wins over the environment, that over the file.
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.run import run_project

    given = {name: value for name, value in flags.items() if value is not None}
    raise SystemExit(run_project(directory, given))
