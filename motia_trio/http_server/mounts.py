"""ASGI applications of others below paths of ours: their requests, sockets and lifespans."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import trio

from motia_trio.errors import MountFailed
from motia_trio.events import AppWarned, MountRaised, RequestAnswered
from motia_trio.failures import leaves, tell_error
from motia_trio.http_server.requests import headers_of
from motia_trio.http_server.responses import error_response
from motia_trio.http_server.sending import AnswerCut
from motia_trio.http_server.tracing import trace_id_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from motia_trio.events import Observers
    from motia_trio.http_server.asgi import ASGIApp, Event, Receive, Scope, Send

__all__ = ["Mounts"]

# seconds that a mounted app may take to start
_STARTUP = 60.0


class Mounts:
    """The mounted applications of one runtime."""

    def __init__(self, apps: Mapping[str, ASGIApp], observers: Observers, drain: float) -> None:
        self._observers = observers
        # the longest path first: of two mounts, one in the other, the inner one answers
        order = sorted(apps, key=len, reverse=True)
        self._mounts = [_Mount(path, apps[path], observers, drain) for path in order]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the lifespan of each for the length of a scope. A checkpoint at both ends.

        Raises:
            MountFailed: one of them could not start; those before it were stopped again.
        """
        async with AsyncExitStack() as stack:
            for mount in reversed(self._mounts):
                await stack.enter_async_context(mount.running())
            yield

    async def serve(self, scope: Scope, receive: Receive, send: Send, path: str) -> bool:
        """Have the app answer that is mounted where ``path`` leads. Gives whether there is one.

        Raises:
            AnswerCut: the app raised when it had begun to answer.
        """
        for mount in self._mounts:
            if mount.has(path):
                trace_id = trace_id_of(headers_of(scope["headers"]))
                await mount.serve(scope, receive, send, path, trace_id)
                return True
        return False


class _Mount:
    """One application below one path."""

    def __init__(self, path: str, app: ASGIApp, observers: Observers, drain: float) -> None:
        self._path = path
        self._app = app
        self._observers = observers
        self._drain = drain
        self._state: dict[str, Any] = {}

    def __str__(self) -> str:
        return f"the app mounted at {self._path or '/'}"

    def has(self, path: str) -> bool:
        """Whether a request for this path is for it."""
        mine = self._path
        return path.startswith(mine) and (len(path) == len(mine) or path[len(mine)] == "/")

    async def serve(
        self, scope: Scope, receive: Receive, send: Send, path: str, trace_id: str
    ) -> None:
        """Have it answer one request, or serve one socket."""
        began = trio.current_time()
        status: int | None = None
        accepted = False

        async def tell_and_send(event: Event) -> None:
            nonlocal accepted, status
            if event["type"] == "http.response.start":
                status = event["status"]
                headers = list(event.get("headers", ()))
                if not any(bytes(name).lower() == b"x-trace-id" for name, _ in headers):
                    headers.append((b"x-trace-id", trace_id.encode()))
                event = {**event, "headers": headers}
                self._tell(scope, path, event["status"], began, trace_id)
            elif event["type"] != "http.response.body":
                accepted = True
            await send(event)

        inner = {
            **scope,
            "root_path": scope.get("root_path", "").rstrip("/") + self._path,
            "state": {**scope.get("state", {}), **self._state},
        }
        try:
            await self._app(inner, receive, tell_and_send)
        except BaseException as error:  # noqa: ASYNC103 - it ends no more than this request
            if any(
                isinstance(leaf, (trio.Cancelled, KeyboardInterrupt, AnswerCut))
                for leaf in leaves(error)
            ):
                raise
            told = tell_error(error)
            self._observers.tell(
                MountRaised(self._path or "/", trace_id, told.error, told.where, told.traceback)
            )
        else:
            if scope["type"] != "http" or status is not None:
                return
            words = "it returned without an answer"
            self._observers.tell(MountRaised(self._path or "/", trace_id, words, self._path, ""))
        if scope["type"] == "websocket":
            code = 1011 if accepted else 1000
            with trio.move_on_after(1):
                await _quietly(send, {"type": "websocket.close", "code": code})
            return
        if status is not None:
            raise AnswerCut(f"{self} raised in the middle of its answer")
        response = error_response(500, {"error": "Internal server error", "traceId": trace_id})
        self._tell(scope, path, 500, began, trace_id)
        headers = [*response.headers, (b"x-trace-id", trace_id.encode())]
        await send({"type": "http.response.start", "status": 500, "headers": headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": False})

    def _tell(self, scope: Scope, path: str, status: int, began: float, trace_id: str) -> None:
        seconds = trio.current_time() - began
        self._observers.tell(RequestAnswered(scope["method"], path, status, seconds, trace_id))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run its lifespan, if it has one, for the length of a scope."""
        life = _Lifespan(self._path, self._app, self._state)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(life.run)
            with trio.move_on_after(_STARTUP) as limit:
                await life.started.wait()
            if limit.cancelled_caught:
                nursery.cancel_scope.cancel()
                raise MountFailed(f"{self} did not start in {_STARTUP:g} s")
            if life.failure is not None:
                nursery.cancel_scope.cancel()
                raise MountFailed(f"{self} could not start: {life.failure}")
            if life.lacks is not None:
                self._observers.tell(
                    AppWarned(
                        f"{self} has no lifespan (it raised {life.lacks}): it is served without one"
                    )
                )
            try:
                yield
            except Exception:
                await self._stop(life)  # noqa: ASYNC120 - bounded, and a cancellation counts more
                raise
            await self._stop(life)
            nursery.cancel_scope.cancel()

    async def _stop(self, life: _Lifespan) -> None:
        """Have it stop, in its time, and tell what went wrong."""
        life.stop.set()
        with trio.move_on_after(self._drain) as limit:
            await life.ended.wait()
        if limit.cancelled_caught:
            life.failure = f"it did not stop in {self._drain:g} s"
        if life.failure is not None:
            self._observers.tell(AppWarned(f"{self}, when it stopped: {life.failure}"))


class _Lifespan:
    """The lifespan of one application. Source: the ASGI lifespan protocol."""

    def __init__(self, path: str, app: ASGIApp, state: dict[str, Any]) -> None:
        self._path = path
        self._app = app
        self._state = state
        self._asked = 0
        self.started = trio.Event()
        self.stop = trio.Event()
        self.ended = trio.Event()
        #: why it could not start, or stop
        self.failure: str | None = None
        #: what it raised when it was asked to start, if it knows of no lifespan
        self.lacks: str | None = None

    async def run(self) -> None:
        """Run it to its end. What it raises is kept."""
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self._state,
        }
        try:
            await self._app(scope, self._receive, self._send)
        except BaseException as error:  # noqa: ASYNC103 - it ends no more than itself
            if any(isinstance(leaf, (trio.Cancelled, KeyboardInterrupt)) for leaf in leaves(error)):
                raise
            told = tell_error(error).error
            if self.failure is None:
                if self.started.is_set():
                    self.failure = told
                else:
                    self.lacks = told
        finally:
            self.started.set()
            self.ended.set()

    async def _receive(self) -> Event:
        self._asked += 1
        if self._asked == 1:
            return {"type": "lifespan.startup"}
        await self.stop.wait()
        if self._asked > 2:
            await trio.sleep_forever()
        return {"type": "lifespan.shutdown"}

    async def _send(self, event: Event) -> None:
        kind = event["type"]
        if kind.endswith(".failed"):
            self.failure = str(event.get("message") or "").strip() or "it said no more"
        if kind.startswith("lifespan.startup."):
            self.started.set()
        elif kind.startswith("lifespan.shutdown."):
            self.ended.set()
        await trio.lowlevel.checkpoint()


async def _quietly(send: Send, event: Event) -> None:
    with suppress(Exception):  # it may be closed already, and in any state
        await send(event)
