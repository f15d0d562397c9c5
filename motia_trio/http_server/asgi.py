"""The HTTP triggers as one plain ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

from motia_trio.data import Data
from motia_trio.http_server.cors import Cors
from motia_trio.http_server.documents import documents_of
from motia_trio.http_server.exchange import Edge, Exchange, Target
from motia_trio.http_server.proxies import TrustedProxies
from motia_trio.http_server.requests import path_of
from motia_trio.http_server.routing import Routes
from motia_trio.steps import HttpTrigger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motia_trio.http_server.mounts import Mounts
    from motia_trio.runtime import Runtime

__all__ = ["ASGIApp", "Event", "Receive", "Scope", "Send", "asgi_app"]

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


def asgi_app(
    runtime: Runtime, mounts: Mounts | None = None, sockets: ASGIApp | None = None
) -> ASGIApp:
    """Give the HTTP triggers of a running runtime as an ASGI application.

    Mount it in any ASGI server that runs on Trio, inside ``open_runtime``. ``mounts`` are the
    applications of others that are mounted in it, and whose lifespan runs. ``sockets`` serves the
    web sockets that are for none of them.
    """
    return _App(runtime, mounts, sockets)


class _App:
    """Hands each request to who answers it."""

    def __init__(self, runtime: Runtime, mounts: Mounts | None, sockets: ASGIApp | None) -> None:
        settings = runtime.settings
        self._sockets = sockets
        self._mounts = mounts
        self._edge = Edge(
            runtime,
            Routes([*_targets(runtime), *documents_of(runtime.app, settings)]),
            Cors.of(settings),
            TrustedProxies(settings.trusted_proxies),
            settings.body_limit,
            settings.client_timeout,
            settings.strict_responses,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await _lifespan(receive, send)
            return
        if (
            self._mounts is not None
            and kind in {"http", "websocket"}
            and await self._mounts.serve(scope, receive, send, path_of(scope))
        ):
            return
        if kind == "http":
            exchange = Exchange(self._edge, scope, receive, send)
            try:
                await exchange.run()
            finally:
                exchange.close()
        elif kind == "websocket" and self._sockets is not None:
            await self._sockets(scope, receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})


def _targets(runtime: Runtime) -> Iterator[tuple[str, str, Target]]:
    """The routes of the triggers."""
    for step in runtime.app.steps:
        bounded = step.bounded(runtime.settings.request_timeout)
        for index, trigger in enumerate(bounded.triggers):
            if isinstance(trigger, HttpTrigger):
                empty = Data() if step.dialect == 1 else None
                yield trigger.method, trigger.path, Target(bounded, index, trigger, empty)


async def _lifespan(receive: Receive, send: Send) -> None:
    """The server's life: the runtime has its own, so there is nothing to do."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
