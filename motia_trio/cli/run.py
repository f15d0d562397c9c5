"""``motia-trio run``: signals, logging and exit codes around :func:`motia_trio.open_runtime`."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from motia_trio.app import App
from motia_trio.cli.garbage import collect_rarely
from motia_trio.cli.sources import settings_from
from motia_trio.control.client import NoAnswer, listens
from motia_trio.control.place import FOLDER, NoSocket
from motia_trio.errors import LoadFailed, SettingInvalid, StoreBroken, StoreLocked
from motia_trio.observe import JsonFormatter, TextFormatter
from motia_trio.service import open_runtime, sole_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from motia_trio.service import Service
    from motia_trio.settings import Settings

__all__ = ["run_project"]

log = logging.getLogger("motia_trio")

# seconds beyond shutdown_timeout after which a stop that a handler holds up is forced
FORCE_AFTER = 15.0
# seconds that the store may be locked by a command, or by the service before, which is stopping
LOCKED_FOR = 2.0
# seconds after which a busy thread gives Python's lock to one that waits for it: the store's writer
# needs it once for each commit, and the default (5 ms) is what an eager loop would make it wait
SWITCH_INTERVAL = 0.0005


def run_project(directory: str, flags: Mapping[str, Any]) -> int:
    """Serve a project until a signal comes. Gives the exit code."""
    root = Path(directory)
    sys.setswitchinterval(SWITCH_INTERVAL)
    try:
        settings = settings_from(root, os.environ, flags)
        _configure_logging(settings)
        app = App.from_directory(root, **settings.model_dump(exclude_unset=True))
    except (LoadFailed, SettingInvalid) as error:
        _say(str(error))
        return 1
    except OSError as error:
        _say(f"{error.filename or root}: {error.strerror or error}")
        return 1
    try:
        _run(app, time.monotonic() + LOCKED_FOR)
    except (SettingInvalid, StoreBroken) as error:
        _say(str(error))
        return 1
    except NoSocket as error:
        _say(str(error.strerror))
        return 1
    except OSError as error:
        what = "--host or --port (of streams: --stream-port)" if app.streams else "--host or --port"
        _say(f"{error.strerror or error}; choose another with {what}")
        return 1
    return 0


def _run(app: App, until: float) -> None:
    """Run the app; wait for its store if nobody serves the project who has it."""
    while True:
        try:
            trio.run(_serve, app)
        except StoreLocked:
            if time.monotonic() > until or _is_served(app.root):
                raise
            time.sleep(0.05)
        else:
            return


def _is_served(root: str) -> bool:
    try:
        return listens(Path(root, FOLDER))
    except NoAnswer:
        return True


async def _serve(app: App) -> None:
    stop = trio.Event()
    settings = app.settings
    bind = f"{settings.host}:{settings.port}"
    streams = f"{settings.host}:{settings.stream_port}" if app.streams else None
    control = Path(app.root, FOLDER)
    with sole_error(), trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with trio.open_nursery() as nursery:
            async with open_runtime(app, http=bind, streams=streams, control=control) as service:
                # it outlives the scope on purpose: the second signal comes while that is left
                nursery.start_soon(_watch, signals, service, stop)  # noqa: ASYNC111
                log.info("%s", _what_runs(app))
                if settings.store == "memory:":
                    log.info("messages live in memory: what waits when the process ends is lost")
                collect_rarely()
                _say_ready(_ready(service))
                await stop.wait()
                log.info(
                    "stopping: %s in flight, %g s to finish; a second signal ends it at once",
                    _in_flight(service),
                    settings.shutdown_timeout,
                )
            log.info("stopped")
            nursery.cancel_scope.cancel()


async def _watch(signals: AsyncIterator[int], service: Service, stop: trio.Event) -> None:
    """The first signal stops in order, the second at once; so does a stop that takes too long."""
    await anext(signals)
    stop.set()
    limit = service.settings.shutdown_timeout + FORCE_AFTER
    with trio.move_on_after(limit):
        _exit_now(128 + await anext(signals))
    held = [actor.name for actor in service.tree().actors if actor.in_flight]
    log.error(
        "forced to stop: not done after %g s; handlers that resist their cancellation: %s",
        limit,
        ", ".join(held) or "none known",
    )
    _exit_now(1)


def _ready(service: Service) -> str:
    """Where it listens, in a line."""
    line = f"ready http={service.http_url}"
    return line if service.streams_url is None else f"{line} streams={service.streams_url}"


def _in_flight(service: Service) -> str:
    """How much is in hand, and of which steps."""
    tree = service.tree()
    names = [actor.name for actor in tree.actors if actor.in_flight]
    return f"{tree.in_flight} ({', '.join(names)})" if names else str(tree.in_flight)


def _what_runs(app: App) -> str:
    """What was loaded, in a line."""
    triggers = [trigger for step in app.steps for trigger in step.triggers]
    kinds = {"http": "route", "queue": "queue trigger", "cron": "schedule"}
    kinds |= {"state": "state trigger", "stream": "stream trigger"}
    counts = {kind: sum(1 for each in triggers if each.kind == kind) for kind in kinds}
    told = [_number(count, kinds[kind]) for kind, count in counts.items() if count]
    if app.streams:
        told.append(_number(len(app.streams), "stream"))
    return f"{_number(len(app.steps), 'step')}: {', '.join(told) or 'no trigger'}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _say_ready(line: str) -> None:
    """The one line on stdout. Whoever closed it does not want to know."""
    try:
        print(line, flush=True)
    except OSError as error:
        log.warning("could not write the ready line to stdout: %s", error)


def _exit_now(code: int) -> None:
    """End the process without waiting for threads or handlers."""
    try:
        logging.shutdown()
    finally:
        os._exit(code)


def _configure_logging(settings: Settings) -> None:
    handler = logging.StreamHandler(sys.stderr)
    text = TextFormatter(lines=sys.stderr.isatty())
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("motia_trio.hypercorn").setLevel(logging.WARNING)


def _say(text: str) -> None:
    for line in text.splitlines():
        print(f"motia-trio: {line}", file=sys.stderr)
