"""What a program opens: the runtime, and inside it the edges."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from motia_trio.app import App
from motia_trio.control.server import control_edge
from motia_trio.failures import leaves
from motia_trio.http_server import Mounts, Tls, asgi_app, listen
from motia_trio.observe import LoggingObserver
from motia_trio.policies import RestartPolicy
from motia_trio.runtime import Runtime
from motia_trio.stream_server import AsgiStreams, Crowd
from motia_trio.stream_server import listen as listen_for_streams

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator, Iterator, Sequence

    from motia_trio.events import Observer
    from motia_trio.http_server import ASGIApp

__all__ = ["Service", "open_runtime", "serve", "sole_error"]


# seconds that requests whose handler was cancelled at the end of a stop have to be answered
ANSWER_WITHIN = 1.0


class Service(Runtime):
    """A running runtime and the edges that are open on it. Made by :func:`open_runtime`."""

    #: where HTTP is served, such as ``http://127.0.0.1:3111``; None when it is not
    http_url: str | None = None
    #: where live streams are served, such as ``ws://127.0.0.1:3112``; None when they are not
    streams_url: str | None = None
    #: what is mounted beside the triggers
    mounts: Mounts | None = None
    #: the streams as web sockets of the ASGI application
    sockets: AsgiStreams | None = None

    @cached_property
    def crowd(self) -> Crowd:
        """All who follow streams."""
        return Crowd(self)

    @cached_property
    def asgi(self) -> ASGIApp:
        """The HTTP triggers as an ASGI application, to mount in a server that runs on Trio.

        What is mounted in the app is part of it, and so are the streams, for web sockets.
        """
        if self.app.streams:
            self.sockets = AsgiStreams(self.crowd)
        return asgi_app(self, self.mounts, self.sockets)


@asynccontextmanager
async def open_runtime(
    app: App,
    *,
    http: str | None = None,
    streams: str | None = None,
    observers: Sequence[Observer] | None = None,
    restarts: RestartPolicy | None = None,
    idle: bool = False,
    control: str | os.PathLike[str] | None = None,
    **settings: Any,
) -> AsyncIterator[Service]:
    """Run an app for the length of a scope.

    ``http="127.0.0.1:0"`` serves the HTTP triggers there (port 0: a free one), and ``streams`` the
    live streams, for web sockets; who connects to ``http`` may follow them, too. ``observers`` are
    told what happens; without them it goes to the standard library's logger ``motia_trio``.
    ``restarts`` decides about crashed actors. ``settings`` go over those of the app. With ``idle``
    no step runs: what is enqueued waits in the store, which is there to be looked at and changed.
    ``control`` is the folder for the socket through which ``motia-trio status`` and the other
    commands talk to it: they look for it in ``.motia`` below the project. It is made if need be.

    Leaving the scope in order stops accepting, lets what runs finish within ``shutdown_timeout``
    seconds, and gives the rest back. Who follows streams is told of all that came of it, and then
    closed with 1001. An error in the scope, or its cancellation, ends what runs at once. A
    checkpoint at both ends.

    Raises:
        SettingInvalid: a setting is unknown or does not fit.
        MountFailed: an application that is mounted in the app could not start.
        OSError: the address or the control socket cannot be had.
        StoreLocked, StoreDamaged, StoreTooNew, StoreBroken: the store cannot be opened.
        StepQuarantined: with ``raise_quarantine=True``, when a step crashed too often.
    """
    if not isinstance(app, App):
        raise TypeError(f"open_runtime takes an App, not {app!r}: open_runtime(App([…]))")
    service = Service(
        app,
        app.settings.but("open_runtime", settings),
        [LoggingObserver()] if observers is None else observers,
        restarts or RestartPolicy(),
        idle=idle,
    )
    service.settings.agree()
    with sole_error():
        async with (
            service.running(),
            control_edge(service, control),
            _streams_edge(service, None if idle else streams),
        ):
            async with _mounts(service, idle=idle), _http_edge(service, http):
                yield service
            await service.finish()  # who asks by the control socket sees what holds the stop up


@contextmanager
def sole_error() -> Iterator[None]:
    """Raise an error that came alone through nurseries without the groups around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        found = [leaf for leaf in leaves(group) if not isinstance(leaf, trio.Cancelled)]
        if len(found) != 1:
            raise
        sole = found[0]
    else:
        return
    raise sole from sole.__cause__


@asynccontextmanager
async def _mounts(service: Service, *, idle: bool) -> AsyncIterator[None]:
    """Run what is mounted inside the scope, if anything is."""
    if idle or not service.app.mount:
        yield
        return
    service.mounts = Mounts(service.app.mount, service.observers, service.settings.shutdown_timeout)
    async with service.mounts.running():
        yield


@asynccontextmanager
async def _http_edge(service: Service, bind: str | None) -> AsyncIterator[None]:
    """Serve HTTP inside the scope, if it is wanted."""
    if bind is None:
        yield
        return
    stop = trio.Event()

    async def edge(task_status: trio.TaskStatus[str]) -> None:
        settings = service.settings
        await listen(
            service.asgi,
            bind,
            stop=stop,
            drain=settings.shutdown_timeout + ANSWER_WITHIN,
            client_timeout=settings.client_timeout,
            max_connections=settings.max_connections,
            tls=_tls(service),
            task_status=task_status,
        )

    async with trio.open_nursery() as nursery:
        service.http_url = await nursery.start(edge)
        yield
        await service.begin_stop()
        if service.sockets is not None:
            service.sockets.stop()
        stop.set()


@asynccontextmanager
async def _streams_edge(service: Service, bind: str | None) -> AsyncIterator[None]:
    """Serve live streams inside the scope, if it is wanted."""
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        if bind is not None:
            listening = partial(
                listen_for_streams, service.crowd, bind, stop=stop, tls=_tls(service)
            )
            service.streams_url = await nursery.start(listening)
        yield
        await service.shared.hub.settled()
        stop.set()
        if service.sockets is not None:  # on a server of the program's own
            service.sockets.stop()
            await service.sockets.ended()


def _tls(service: Service) -> Tls | None:
    """The certificate and the key, below the project unless their paths are absolute."""
    certfile, keyfile = service.settings.certfile, service.settings.keyfile
    if certfile is None:
        return None
    root = Path(service.app.root)
    return Tls(str(root / certfile), str(root / (keyfile or certfile)))


async def serve(
    app: App,
    *,
    http: str | None = None,
    streams: str | None = None,
    task_status: trio.TaskStatus[Service] = trio.TASK_STATUS_IGNORED,
    **options: Any,
) -> None:
    """Run an app as a task that says when it is ready: ``rt = await nursery.start(serve, app)``.

    Serves HTTP where the app's ``host`` and ``port`` settings say, unless ``http`` says otherwise;
    and live streams at ``stream_port``, if the app declares any, unless ``streams`` does. Takes
    what :func:`open_runtime` takes; runs until it is cancelled.
    """
    host = app.settings.host
    bind = http if http is not None else f"{host}:{app.settings.port}"
    if streams is None and app.streams:
        streams = f"{host}:{app.settings.stream_port}"
    async with open_runtime(app, http=bind, streams=streams, **options) as service:
        task_status.started(service)
        await trio.sleep_forever()
