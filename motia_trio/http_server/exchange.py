"""One request and its answer, from what ASGI delivers to what is sent."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio
from attrs import frozen

from motia_trio.errors import (
    Abandoned,
    Closed,
    HandlerFailed,
    MotiaTrioError,
    Overloaded,
    StepCrashed,
    TimedOut,
)
from motia_trio.events import AskFailed, RequestAnswered
from motia_trio.failures import tell_error
from motia_trio.http_server.bodies import Body, take_body
from motia_trio.http_server.checks import misfits_of
from motia_trio.http_server.incoming import Incoming
from motia_trio.http_server.refusals import ClientGone, Refusal
from motia_trio.http_server.requests import headers_of, path_of, to_request
from motia_trio.http_server.responses import NotAResponse, Response, error_response, to_response
from motia_trio.http_server.routing import Match, NoMethod, Routes
from motia_trio.http_server.sending import AnswerCut, Sender
from motia_trio.http_server.streaming import pieces_of
from motia_trio.http_server.tracing import trace_id_of
from motia_trio.streamed import Streamed

if TYPE_CHECKING:
    from motia_trio.http_server.asgi import Receive, Scope, Send
    from motia_trio.http_server.cors import Cors
    from motia_trio.http_server.documents import Document
    from motia_trio.http_server.proxies import TrustedProxies
    from motia_trio.runtime import Runtime
    from motia_trio.steps import HttpTrigger, Step

__all__ = ["Edge", "Exchange", "Target"]

# a client that sends more headers than this is not one of good will
_HEADERS = 200


@frozen
class Target:
    """A trigger: what a route leads to. ``empty`` is the body of a request without one."""

    step: Step
    index: int
    trigger: HttpTrigger
    empty: Any


@frozen
class Edge:
    """What all requests share."""

    runtime: Runtime
    routes: Routes[Target | Document]
    cors: Cors | None
    proxies: TrustedProxies
    limit: int
    client_timeout: float
    strict: bool


class Exchange:
    """One request and its answer."""

    __slots__ = (
        "_began", "_body", "_edge", "_found", "_headers", "_incoming", "_path", "_reason", "_scope",
        "_sender", "_trace_id",
    )  # fmt: skip

    def __init__(self, edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
        self._edge = edge
        self._scope = scope
        self._began = trio.current_time()
        self._headers = headers_of(scope["headers"])
        self._trace_id = trace_id_of(self._headers)
        self._path = path_of(scope)
        self._found = edge.routes.find(scope["method"], self._path)
        self._incoming = Incoming(receive, edge.limit)
        self._body: Body | None = None
        self._reason: str | None = None
        self._sender = Sender(send, self._incoming, scope, edge.client_timeout)

    def close(self) -> None:
        """The request is over: give up its files."""
        if self._body is not None and self._body.form is not None:
            self._body.form.close()

    async def run(self) -> None:
        """Find the answer, whatever goes wrong on the way, and send it."""
        found = self._found
        try:
            if isinstance(found, Match) and isinstance(found.target, Target):
                response = await self._ask(found.target, found.params)
                if response is None:
                    return
            else:
                response = self._own_answer(found)
            self._tell(response.status)
            self.close()  # a client that reads slowly does not keep them
            await self._sender.whole(response, self._added(response.headers))
        except (ClientGone, Abandoned):
            return

    def _own_answer(self, found: Match[Target | Document] | NoMethod | None) -> Response:
        """The answer to what no step is asked."""
        cors = self._edge.cors
        if len(self._scope["headers"]) > _HEADERS:
            return _TOO_MANY_HEADERS
        if isinstance(found, Match):
            return found.target.answer(self._edge.runtime)  # type: ignore[union-attr]
        options = self._scope["method"] == "OPTIONS"
        allowed = found.allowed if isinstance(found, NoMethod) else ()
        if options and cors is not None:
            sent = cors.preflight(self._headers, allowed)
            if sent is not None:
                return Response(204, sent, b"")
        if options and self._path == "*":
            return Response(204, [(b"allow", b"DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT")], b"")
        if found is None:
            return error_response(404, {"error": "Not found"})
        allow = (b"allow", ", ".join(allowed).encode())
        if options:
            return Response(204, [allow], b"")
        return error_response(405, {"error": "Method not allowed"}, [allow])

    async def _ask(self, target: Target, params: dict[str, str]) -> Response | None:
        """Have a step answer. None: its answer was sent while it was made.

        Raises:
            AnswerCut: that answer will not be whole.
        """
        edge, headers, scope, trigger = self._edge, self._headers, self._scope, target.trigger
        if len(scope["headers"]) > _HEADERS:
            return _TOO_MANY_HEADERS
        handler = target.step.handler_of("http")
        reads_itself = handler is not None and handler.wants_http_args
        try:
            body = self._body = await take_body(
                self._incoming,
                headers,
                empty=target.empty,
                seconds=trigger.limits.timeout,
                piece_within=edge.client_timeout if reads_itself else None,
                has_length=scope.get("http_version", "1.1")[0] == "1",
            )
            request = to_request(
                scope,
                path=self._path,
                params=params,
                headers=headers,
                body=body,
                caller=edge.proxies.caller(scope, headers),
                trace_id=self._trace_id,
            )
        except Refusal as refusal:
            self._reason = str(refusal)
            return refusal.response
        try:
            result = await edge.runtime.request(
                target.step.name,
                target.index,
                request,
                self._trace_id,
                self._incoming.left if trigger.cancel_on_disconnect else None,
            )
        except Abandoned:
            raise
        except MotiaTrioError as error:
            return self._refusal(error)
        if isinstance(result, Streamed):
            return await self._stream(result, target.step)
        try:
            response = to_response(result)
        except Exception as error:  # noqa: BLE001 - to look at what a handler gave runs its code
            self._tell_rubbish(target.step, error)
            return self._failed()
        if trigger.response_schema and (schema := trigger.response_schema.get(response.status)):
            invalid = misfits_of(schema, response, target.step, self._trace_id)
            if invalid is not None:
                edge.runtime.observers.tell(invalid)
                if edge.strict:
                    return self._failed()
        return response

    async def _stream(self, streamed: Streamed, step: Step) -> Response | None:
        """Send an answer while it is made. Gives another one if it could not be begun.

        Raises:
            AnswerCut: it will not be whole.
        """
        try:
            pieces = pieces_of(streamed.head)
        except Exception as error:  # noqa: BLE001 - to look at what a handler gave runs its code
            streamed.abandon()
            self._tell_rubbish(step, error)
            return self._failed()
        try:
            await self._sender.streamed(streamed, pieces, self._added(pieces.headers))
        except AnswerCut as cut:
            self._reason = f"cut: {cut}"
            self._tell(pieces.status)
            if self._incoming.gone:
                return None
            if cut.__cause__ is not None and not isinstance(cut.__cause__, (HandlerFailed, Closed)):
                self._tell_rubbish(step, cut.__cause__)
            raise
        except MotiaTrioError as error:
            if isinstance(error, (HandlerFailed, StepCrashed, TimedOut, Closed, Overloaded)):
                return self._refusal(error)
            self._tell_rubbish(step, error)
            return self._failed()
        except Exception as error:  # noqa: BLE001 - what it gave cannot be sent
            self._tell_rubbish(step, error)
            return self._failed()
        self._tell(pieces.status)
        return None

    def _added(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """The headers that every answer has."""
        added = [(b"x-trace-id", self._trace_id.encode())]
        cors = self._edge.cors
        if cors is not None and not any(
            name == b"access-control-allow-origin" for name, _ in headers
        ):
            added += cors.answer(self._headers)
        return added

    def _tell(self, status: int) -> None:
        found = self._found
        step = None
        if isinstance(found, Match) and isinstance(found.target, Target):
            step = found.target.step.name
        self._edge.runtime.observers.tell(
            RequestAnswered(
                self._scope["method"],
                self._path,
                status,
                trio.current_time() - self._began,
                self._trace_id,
                step,
                self._reason,
            )
        )

    def _tell_rubbish(self, step: Step, error: BaseException) -> None:
        where = step.source
        words = str(error) if isinstance(error, NotAResponse) else ""
        if not isinstance(error, NotAResponse):
            words = f"what the handler returned cannot be sent: {tell_error(error).error}"
        self._edge.runtime.observers.tell(
            AskFailed(step.name, where, self._trace_id, words, where, "")
        )

    def _refusal(self, error: MotiaTrioError) -> Response:
        """The answer to a request that has no result. Source: motia-contract §4."""
        match error:
            case Overloaded(retry_after=seconds):
                after = (b"retry-after", str(math.ceil(seconds)).encode())
                return error_response(503, {"error": "Overloaded"}, [after])
            case Closed():
                return error_response(503, {"error": "Overloaded"}, [(b"retry-after", b"1")])
            case TimedOut():
                return error_response(504, {"error": "Timed out", "traceId": self._trace_id})
            case HandlerFailed() | StepCrashed():
                return self._unread() or self._failed()
            case _:
                raise error

    def _unread(self) -> Response | None:
        """The answer where a handler failed because it could not read the body."""
        reader = self._body.reader if self._body is not None else None
        failure = reader.failure if reader is not None else None
        if isinstance(failure, ClientGone):
            raise failure
        if isinstance(failure, Refusal):
            self._reason = str(failure)
            return failure.response
        return None

    def _failed(self) -> Response:
        return error_response(500, {"error": "Internal server error", "traceId": self._trace_id})


_TOO_MANY_HEADERS = error_response(431, {"error": "Too many headers", "limit": _HEADERS})
