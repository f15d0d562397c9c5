"""The tasks of one connection: an ASGI application for each request, and what comes for it."""

from __future__ import annotations

import logging
from collections import deque
from typing import TYPE_CHECKING, Any

import trio

from motia_trio.failures import leaves
from motia_trio.http_server.sending import WATCHED, AnswerCut

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from motia_trio.http_server.asgi import ASGIApp, Event

__all__ = ["Tasks"]

log = logging.getLogger("motia_trio.hypercorn")

# events of a body that wait for the application before the connection stops reading
_EVENTS = 10


class Tasks:
    """What hypercorn's protocols start tasks with.

    ``watched``: whether the connection itself gives up a client that does not read. ``abort`` drops
    the connection.
    """

    def __init__(self, app: ASGIApp, nursery: trio.Nursery, abort: Callable[[], None]) -> None:
        self._app = app
        self._nursery = nursery
        self._abort = abort
        self.watched = True

    async def spawn_app(
        self,
        app: Any,  # noqa: ARG002 - hypercorn's signature
        config: Any,  # noqa: ARG002 - as above
        scope: Any,
        send: Callable[[Any], Awaitable[None]],
    ) -> Callable[[Event], Awaitable[None]]:
        """Start the application for one request; gives where its events are put."""
        scope["extensions"][WATCHED] = self.watched
        inbox = _Inbox()
        self._nursery.start_soon(self._serve, scope, inbox, send)
        return inbox.put

    def spawn(self, function: Callable[..., Awaitable[Any]], *arguments: Any) -> None:
        """Start another task of a protocol."""
        self._nursery.start_soon(function, *arguments)

    async def _serve(
        self, scope: Any, inbox: _Inbox, send: Callable[[Any], Awaitable[None]]
    ) -> None:
        try:
            await self._app(scope, inbox.get, send)
        except AnswerCut:
            if scope["http_version"] == "1.0":  # there, a close in order is the end of an answer
                self._abort()
        except Exception as error:
            if any(isinstance(leaf, trio.Cancelled) for leaf in leaves(error)):
                raise
            log.exception("the ASGI application raised")
        finally:
            inbox.close()
        await send(None)


class _Inbox:
    """What comes for one request. Who puts a body in waits while much of it waits."""

    __slots__ = ("_change", "_events", "_last", "_over")

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._change: trio.Event | None = None
        self._last: Event | None = None
        self._over = False

    async def put(self, event: Event) -> None:
        """Put one in. News that the client has left never waits."""
        if event["type"] not in {"http.request", "websocket.receive"}:
            self._last = event
        while self._last is None and len(self._events) >= _EVENTS and not self._over:
            await self._wait()
        if not self._over:
            self._events.append(event)
            self._wake()

    async def get(self) -> Event:
        """Take one out. After the last, which says that the client has left, it is given again."""
        while not self._events:
            if self._last is not None and self._last["type"].endswith(".disconnect"):
                return self._last
            await self._wait()
        event = self._events.popleft()
        if self._change is not None:
            self._wake()
        return event

    def close(self) -> None:
        """Nobody takes anything out any more."""
        self._over = True
        self._events.clear()
        self._wake()

    async def _wait(self) -> None:
        if self._change is None:
            self._change = trio.Event()
        await self._change.wait()

    def _wake(self) -> None:
        if self._change is not None:
            self._change.set()
            self._change = None
