"""The command line. What a command needs is imported when it runs, so that ``--help`` is fast."""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Any

import click

from motia_trio.cli.cron import cron
from motia_trio.cli.dead_letters import dead_letters
from motia_trio.cli.emit import emit
from motia_trio.cli.openapi import asyncapi, openapi
from motia_trio.cli.state import state
from motia_trio.cli.status import status
from motia_trio.cli.store import store

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="motia-trio")
def main() -> None:
    """Run Motia steps as supervised actors, in one process.

    Exit codes: 0 done, 1 it could not be done, 2 wrong usage; those of `run` and `status` are told
    there.
    """
    for stream in (sys.stdout, sys.stderr):  # what the terminal has no letters for is escaped
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


for _command in (asyncapi, cron, dead_letters, emit, openapi, state, status, store):
    main.add_command(_command)


class _Grouped(click.Command):
    """A command whose help has what concerns streams under a heading of its own."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, those of streams last."""
        options: list[tuple[str, str]] = []
        streams: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if isinstance(param, click.Option) and record is not None:
                name = param.name or ""
                is_stream = name.startswith("stream_") or name == "authenticate"
                (streams if is_stream else options).append(record)
        for heading, records in (("Options", options), ("Streams", streams)):
            with formatter.section(heading):
                formatter.write_dl(records)


@main.command(cls=_Grouped)
@click.argument("directory", metavar="[DIR]", default=".")
@click.option("--host", help="Address to listen on.  [127.0.0.1]")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Port for HTTP; 0 picks a free one.  [3111]"
)
@click.option(
    "--store",
    metavar="URL",
    help="What keeps messages and state: sqlite:/// and a path below DIR, sqlite://// and an "
    "absolute one, or memory:.  [sqlite:///.motia/store.db]",
)
@click.option(
    "--synchronous",
    type=click.Choice(["full", "normal"]),
    help="normal is faster, and a power cut may lose the last of what was kept.  [full]",
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
    "--request-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a request may take whose trigger has no timeout.  [30]",
)
@click.option(
    "--client-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long a client may take to send the head of a request, to take 64 KiB of an answer, "
    "and to ask again.  [60]",
)
@click.option(
    "--max-connections",
    type=click.IntRange(min=1),
    help="Clients above it wait until another leaves.  [10000]",
)
@click.option("--certfile", metavar="FILE", help="Certificate for TLS, PEM.  [no TLS]")
@click.option(
    "--keyfile", metavar="FILE", help="Its key, PEM, without a password.  [in --certfile]"
)
@click.option(
    "--trusted-proxies",
    metavar="NETS",
    help="Whose X-Forwarded-For, -Proto and -Host count: addresses or nets, with commas.  "
    "[nobody's]",
)
@click.option(
    "--cors-origins",
    metavar="ORIGINS",
    help='Whose pages may read answers: origins with commas, or *, or "" for none.  [*]',
)
@click.option(
    "--cors-credentials/--no-cors-credentials",
    default=None,
    help="Whether they may send cookies along; then --cors-origins has to name them.  [no]",
)
@click.option("--cors-headers", metavar="NAMES", help="Headers that they may send.  [any]")
@click.option("--cors-expose", metavar="NAMES", help="Headers that they may read.  [the usual]")
@click.option(
    "--cors-max-age",
    type=click.IntRange(min=0),
    metavar="SECONDS",
    help="How long a browser may remember what is allowed.  [600]",
)
@click.option(
    "--openapi-path", metavar="PATH", help='Where OpenAPI is served; "" stops it.  [/openapi.json]'
)
@click.option(
    "--asyncapi-path",
    metavar="PATH",
    help='Where AsyncAPI is served; "" stops it.  [/asyncapi.json]',
)
@click.option(
    "--middleware",
    metavar="NAMES",
    help="Middleware around every route: module:function, several with commas.  [none]",
)
@click.option(
    "--strict-responses/--no-strict-responses",
    default=None,
    help="Whether an answer that does not fit its response schema becomes a 500.  [no]",
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
@click.option(
    "--stream-port",
    type=click.IntRange(0, 65535),
    help="Port for the web sockets of streams; 0 picks a free one. Used if the project has "
    "streams.  [3112]",
)
@click.option(
    "--authenticate",
    metavar="NAME",
    help="What tells who a client is, or refuses it: module:function.  [all may connect]",
)
@click.option(
    "--stream-origins",
    metavar="ORIGINS",
    help='Whose pages may connect: origins with commas, or *, or "" for none.  '
    "[those of --cors-origins]",
)
@click.option(
    "--stream-max-connections",
    type=click.IntRange(min=1),
    help="Clients above it are refused with 503.  [10000]",
)
@click.option(
    "--stream-max-connections-per-address",
    type=click.IntRange(min=1),
    help="As above, for each address.  [no limit of its own]",
)
@click.option(
    "--stream-max-subscriptions",
    type=click.IntRange(min=1),
    help="Joins of all clients; what is above it is answered with an error.  [200000]",
)
@click.option(
    "--stream-max-subscriptions-per-address",
    type=click.IntRange(min=1),
    help="As above, for each address.  [no limit of its own]",
)
@click.option(
    "--stream-max-subscriptions-per-connection",
    type=click.IntRange(min=1),
    help="As above, for each connection.  [1000]",
)
@click.option(
    "--stream-frame-limit",
    type=click.IntRange(min=1),
    help="Largest message of a client, in bytes.  [65536]",
)
@click.option(
    "--stream-buffer",
    type=click.IntRange(min=1),
    help="How many messages may wait for a client. One that is further behind is closed with 4008; "
    "it connects again and gets all anew.  [4096]",
)
@click.option(
    "--stream-buffer-bytes",
    type=click.IntRange(min=1),
    help="The same, in bytes.  [4194304]",
)
@click.option(
    "--stream-ping-interval",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How often each client is asked whether it is still there.  [20]",
)
@click.option(
    "--stream-ping-timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="How long it may take to say so.  [20]",
)
@click.option(
    "--stream-log",
    type=click.IntRange(min=1),
    help="How many changes are remembered for clients that come back, so that they get those alone "
    "which they missed.  [10000]",
)
def run(directory: str, **flags: Any) -> None:
    """Serve the steps of a project.

    DIR is its folder, the current one if not given. Steps are the files named *_step.py, *.step.py
    or *-step.py below DIR/src and DIR/steps. Logs go to stderr. When everything listens, one line
    on stdout says so:

    \b
        ready http=http://127.0.0.1:3111

    If the project has streams, the line goes on with where their clients connect:

    \b
        ready http=http://127.0.0.1:3111 streams=ws://127.0.0.1:3112

    SIGTERM or SIGINT stops in order; a second one stops at once. Meanwhile the other commands talk
    to it through the socket DIR/.motia/control.sock.

    Each option can also be set by an environment variable (MOTIA_TRIO_PORT=8000) or in
    DIR/motia.toml (port = 8000). A flag wins over the environment, that over the file.

    \b
    Examples:
        motia-trio run
        motia-trio run /srv/shop --port 8000 --log-format json
    """  # noqa: D301 - click wants the character itself
    from motia_trio.cli.run import run_project

    given = {name: value for name, value in flags.items() if value is not None}
    raise SystemExit(run_project(directory, given))
