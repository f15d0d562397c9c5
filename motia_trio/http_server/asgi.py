"""The HTTP triggers as one plain ASGI application."""

from __future__ import annotations

import math
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TypeAlias

import trio
from attrs import frozen

from motia_trio.data import Data
from motia_trio.errors import (
    Closed,
    HandlerFailed,
    MotiaTrioError,
    Overloaded,
    StepCrashed,
    TimedOut,
)
from motia_trio.events import AskFailed, RequestAnswered
from motia_trio.failures import tell_error
from motia_trio.http_server.requests import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    Malformed,
    Unsupported,
    headers_of,
    parse_body,
    read_body,
    to_request,
)
from motia_trio.http_server.responses import NotAResponse, Response, error_response, to_response
from motia_trio.http_server.routing import Match, NoMethod, Routes
from motia_trio.messages import new_trace_id
from motia_trio.steps import HttpTrigger

if TYPE_CHECKING:
    from motia_trio.runtime import Runtime
    from motia_trio.steps import Step

__all__ = ["ASGIApp", "Receive", "Scope", "Send", "asgi_app"]

Scope: TypeAlias = MutableMapping[str, Any]
Event: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Event]]
Send: TypeAlias = Callable[[Event], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

# W3C trace context, version 00: a trace id of zeros is not one
_TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@frozen
class _Target:
    step: Step
    trigger: int


def asgi_app(runtime: Runtime) -> ASGIApp:
    """Give the HTTP triggers of a running runtime as an ASGI application.

    Mount it in any ASGI server that runs on Trio, inside ``open_runtime``.
    """
    return _App(runtime)


class _App:
    """Routes, asks the actor, answers."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._limit = runtime.settings.body_limit
        self._routes = Routes(
            (trigger.method, trigger.path, _Target(step, index))
            for step in runtime.app.steps
            for index, trigger in enumerate(step.triggers)
            if isinstance(trigger, HttpTrigger)
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = trio.current_time()
        method: str = scope["method"]
        path = _path(scope)
        headers = headers_of(scope["headers"])
        trace_id = _trace_id(headers)
        found = self._routes.find(method, path)
        step = found.target.step.name if isinstance(found, Match) else None
        try:
            response = await self._answer(scope, receive, path, headers, trace_id, found)
        except ClientGone:
            return
        self._runtime.observers.tell(
            RequestAnswered(
                method, path, response.status, trio.current_time() - began, trace_id, step
            )
        )
        start = {
            "type": "http.response.start",
            "status": response.status,
            "headers": [*response.headers, (b"x-trace-id", trace_id.encode())],
        }
        await send(start)
        body = b"" if method == "HEAD" else response.body
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        path: str,
        headers: Any,
        trace_id: str,
        found: Match[_Target] | NoMethod | None,
    ) -> Response:
        """Find the answer to a request, whatever goes wrong on the way."""
        if found is None:
            return error_response(404, {"error": "Not found"})
        if isinstance(found, NoMethod):
            allow = (b"allow", ", ".join(found.allowed).encode())
            if scope["method"] == "OPTIONS":
                return Response(204, [allow], b"")
            return error_response(405, {"error": "Method not allowed"}, [allow])
        target = found.target
        try:
            seconds = target.step.triggers[target.trigger].limits.timeout
            raw = await read_body(receive, headers, self._limit, seconds)
            empty = Data() if target.step.dialect == 1 else None
            body = parse_body(raw, headers, empty=empty)
        except BodyTooLarge:
            return error_response(413, {"error": "Request body too large", "limit": self._limit})
        except BodyTooSlow:
            return error_response(408, {"error": "Request timed out"})
        except Malformed:
            return error_response(400, {"error": "Malformed request body"})
        except Unsupported as error:
            return error_response(415, {"error": "Unsupported media type", "type": str(error)})
        request = to_request(
            scope,
            path=path,
            params=found.params,
            headers=headers,
            body=body,
            raw_body=raw,
            trace_id=trace_id,
        )
        try:
            result = await self._runtime.request(
                target.step.name, target.trigger, request, trace_id
            )
        except MotiaTrioError as error:
            return _refusal(error, trace_id)
        try:
            return to_response(result)
        except Exception as error:  # noqa: BLE001 - to look at what a handler gave runs its code
            self._tell_rubbish(target.step, trace_id, error)
            return _failed(trace_id)

    def _tell_rubbish(self, step: Step, trace_id: str, error: Exception) -> None:
        where = step.source
        words = str(error) if isinstance(error, NotAResponse) else ""
        if not isinstance(error, NotAResponse):
            words = f"what the handler returned cannot be sent: {tell_error(error).error}"
        self._runtime.observers.tell(AskFailed(step.name, where, trace_id, words, where, ""))


def _refusal(error: MotiaTrioError, trace_id: str) -> Response:
    """The answer to a request that has no result. Source: motia-contract §4."""
    match error:
        case Overloaded(retry_after=seconds):
            after = (b"retry-after", str(math.ceil(seconds)).encode())
            return error_response(503, {"error": "Overloaded"}, [after])
        case Closed():
            return error_response(503, {"error": "Overloaded"}, [(b"retry-after", b"1")])
        case TimedOut():
            return error_response(504, {"error": "Timed out", "traceId": trace_id})
        case HandlerFailed() | StepCrashed():
            return _failed(trace_id)
        case _:
            raise error


def _failed(trace_id: str) -> Response:
    return error_response(500, {"error": "Internal server error", "traceId": trace_id})


def _path(scope: Scope) -> str:
    """The path as it was sent, below the place where this app is mounted."""
    raw: bytes | None = scope.get("raw_path")
    path = raw.partition(b"?")[0].decode("latin-1") if raw else scope["path"]
    mount: str = scope.get("root_path", "").rstrip("/")
    if mount and (path == mount or path.startswith(mount + "/")):
        path = path[len(mount) :]
    return path or "/"


def _trace_id(headers: Any) -> str:
    """The trace that the caller began, or a new one."""
    given = dict.get(headers, "traceparent")
    if given is not None and (found := _TRACEPARENT.fullmatch(given.strip())):
        return found[1]
    return new_trace_id()


async def _lifespan(receive: Receive, send: Send) -> None:
    """The server's life: the runtime has its own, so there is nothing to do."""
    while True:
        event = await receive()
        if event["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        elif event["type"] == "lifespan.shutdown":
            await send({"type": "lifespan.shutdown.complete"})
            return
