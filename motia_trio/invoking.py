"""One invocation: what a trigger puts around the handler, and the handler, each where it belongs.

For a request: middleware, then the schemas, then the condition, then the handler. For a message:
its schema, then the condition. For the rest: the condition.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from math import inf
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Protocol

import trio
from attrs import frozen

from motia_trio import codec
from motia_trio.actors import drive, in_thread, to_its_end
from motia_trio.data import Request, wrap
from motia_trio.errors import DoesNotFit, HandlerFailed, MalformedJson
from motia_trio.steps import HttpTrigger, QueueTrigger
from motia_trio.streamed import MotiaHttpArgs, MotiaHttpResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from motia_trio.actors import Hand
    from motia_trio.context import Context
    from motia_trio.errors import Misfit
    from motia_trio.steps import Handler, Step, Trigger
    from motia_trio.steps.schemas import Schema
    from motia_trio.streamed import Streamed

__all__ = ["SKIPPED", "Invoker", "Listener", "Unfit"]

#: what an invocation gives whose condition was not met
SKIPPED: Any = object()


@frozen
class Unfit:
    """What an invocation gives whose input does not fit its schema."""

    reason: str


class Listener(Protocol):
    """What is told of while an entry is handled."""

    def begin(self, head: Any) -> Streamed:
        """The handler begins to write its answer itself: a status and headers."""
        ...

    def choose(self, trigger: int) -> None:
        """Another trigger than the first one is the one that the entry is for."""
        ...

    def refused(self, what: str, misfits: Sequence[Misfit]) -> None:
        """A request does not fit a schema."""
        ...


class Invoker:
    """Runs the handlers of one step, in threads of its own where they are not async."""

    def __init__(self, step: Step, middleware: Sequence[Handler], threads: int) -> None:
        self._step = step
        self._plans = [_Plan.of(step, trigger, middleware) for trigger in step.triggers]
        # threads of its own: a step whose threads hang does not take the others' threads
        self._limiter = trio.CapacityLimiter(threads)
        # what a thread waits for must not wait for a place among the threads
        self._unlimited = trio.CapacityLimiter(inf)

    def in_thread(self, trigger: int) -> bool:
        """Whether a trigger's handler runs in a thread, which cannot be stopped."""
        return not self._plans[trigger].handler.is_async

    async def invoke(
        self,
        hand: Hand,
        triggers: Sequence[int],
        raw: bytes | None,
        ctx: Context,
        listener: Listener,
    ) -> Any:
        """Give what the handler returns, or :data:`SKIPPED`, or :class:`Unfit`.

        ``triggers`` are the indexes of those that the entry may be for; the first one whose schema
        and condition it meets has it. ``raw`` is a message's payload; what else there is to handle
        is ``ctx.input`` already.
        """
        plan = self._plans[triggers[0]]
        handler = plan.handler
        if plan.is_plain:  # what most are: as few calls as can be
            if raw is not None:
                try:
                    ctx.input = wrap(codec.decode(raw))
                except MalformedJson as error:
                    return _malformed(error)
            if handler.is_async:
                result = handler.function(*handler.arguments(ctx.input, ctx))
                if type(result) is CoroutineType:
                    return await drive(result, hand.arm)
                return await self._finish(hand, result)
            return await self.call(hand, handler, (ctx.input, ctx))
        if isinstance(plan.trigger, HttpTrigger):
            exchange = _Exchange(self, hand, plan, ctx, listener)
            try:
                return await exchange.answer(0, ctx.input)
            finally:
                exchange.over = True
        unfit: Unfit | None = None
        fits = False
        for index in triggers:
            plan = self._plans[index]
            if index != triggers[0]:
                listener.choose(index)
            if raw is not None:
                try:
                    ctx.input = plan.read(raw)
                except DoesNotFit as error:
                    unfit = unfit or Unfit(f"its input does not fit the schema: {error}")
                    continue
                except MalformedJson as error:
                    return _malformed(error)
            fits = True
            if await self.meets(hand, plan, ctx.input, ctx):
                return await self.call(hand, plan.handler, (ctx.input, ctx))
        return SKIPPED if fits or unfit is None else unfit

    async def meets(
        self, hand: Hand, plan: _Plan, input: object, ctx: Context, *, nested: bool = False
    ) -> bool:
        """Tell whether the trigger's condition is met. What it raises says that it was that."""
        condition = plan.trigger.condition
        if condition is None:
            return True
        try:
            return bool(await self.call(hand, condition, (input, ctx), nested=nested))
        except Exception as error:
            note = f"raised by the condition of its {plan.trigger.kind} trigger"
            if note not in getattr(error, "__notes__", ()):  # one that is raised again and again
                error.add_note(note)
            raise

    async def call(
        self, hand: Hand, handler: Handler, given: tuple[Any, Any], *, nested: bool = False
    ) -> Any:
        """Call a function as it wants to be called, and give what it returns in the end."""
        return await self.run(hand, handler, handler.arguments(*given), nested=nested)

    async def run(
        self, hand: Hand, handler: Handler, arguments: Sequence[Any], *, nested: bool = False
    ) -> Any:
        """Run a function where it belongs, and give what it returns in the end.

        ``nested``: a thread of this invocation waits for it.
        """
        if handler.is_async:
            result = handler.function(*arguments)
        else:
            hand.arm()
            limiter = self._unlimited if nested else self._limiter
            result = await in_thread(handler.function, *arguments, limiter=limiter)
        if type(result) is CoroutineType:
            return await drive(result, hand.arm)
        return await self._finish(hand, result)

    @staticmethod
    async def _finish(hand: Hand, result: Any) -> Any:
        """Give what a function gave that is no coroutine, once it is there."""
        if inspect.isawaitable(result):
            return await to_its_end(result, hand.arm)
        if inspect.isgenerator(result) or inspect.isasyncgen(result):
            raise TypeError("the handler gave a generator, which nobody would run; use return")
        return result

    async def pieces(self, hand: Hand, body: Any, begin: Callable[[], Streamed]) -> None:
        """Begin an answer, and send what an iterator gives, each piece once there is room."""
        await drive(self._pieces(body, begin), hand.arm)

    async def _pieces(self, body: Any, begin: Callable[[], Streamed]) -> None:
        if hasattr(body, "__anext__"):
            try:
                streamed = begin()
                async for piece in body:
                    await streamed.send(piece)
            finally:
                if (close := getattr(body, "aclose", None)) is not None:
                    await close()  # noqa: ASYNC102 - bounded and cancelled as the handler is
            return
        end = object()
        try:
            streamed = begin()
            while True:
                piece = await in_thread(next, body, end, limiter=self._unlimited)
                if piece is end:
                    return
                await streamed.send(piece)
        finally:
            if (close := getattr(body, "close", None)) is not None:
                with trio.CancelScope(shield=True):  # it ends where it ran, and it may block
                    await in_thread(close, limiter=self._unlimited)


@frozen
class _Plan:
    """What one trigger asks for, worked out once."""

    trigger: Trigger
    handler: Handler
    middleware: tuple[Handler, ...] = ()
    schema: Schema | None = None
    is_plain: bool = True

    def read(self, raw: bytes) -> Any:
        """Give what the handler gets of a message's payload."""
        if self.schema is None:
            return wrap(codec.decode(raw))
        return self.schema.check_json(raw)

    @classmethod
    def of(cls, step: Step, trigger: Trigger, middleware: Sequence[Handler]) -> _Plan:
        handler = step.handler_of(trigger.kind)
        if handler is None:  # a step is only run when each of its triggers has one
            raise RuntimeError(f"step {step.name!r} has no handler for {trigger.kind}")
        around: tuple[Handler, ...] = ()
        schema = trigger.input_schema if isinstance(trigger, QueueTrigger) else None
        plain = schema is None and trigger.condition is None
        if isinstance(trigger, HttpTrigger):
            around = (*middleware, *trigger.middleware)
            checked = trigger.body_schema is not None or trigger.query_params is not None
            plain = plain and not (around or checked or handler.wants_http_args)
        topics = [each.topic for each in step.triggers if isinstance(each, QueueTrigger)]
        if isinstance(trigger, QueueTrigger) and topics.count(trigger.topic) > 1:
            plain = False  # there may be another trigger that fits better
        return cls(trigger, handler, around, schema, plain)


# bodies whose values are texts, whatever they stand for
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


def _is_form(headers: Mapping[str, str]) -> bool:
    return str(headers.get("content-type", "")).lower().startswith(_FORMS)


def _malformed(error: MalformedJson) -> Unfit:
    return Unfit(f"could not be worked off: MalformedJson: {error}")


class _Exchange:
    """One request on its way through the middleware to the handler, and its answer back."""

    def __init__(
        self,
        invoker: Invoker,
        hand: Hand,
        plan: _Plan,
        ctx: Context,
        listener: Listener,
    ) -> None:
        self._invoker = invoker
        self._hand = hand
        self._plan = plan
        self._ctx = ctx
        self._listener = listener
        #: whether the invocation has ended
        self.over = False

    async def answer(self, index: int, request: Any, *, nested: bool = False) -> Any:
        """Give the answer of what is behind the middleware before ``index``."""
        if index == len(self._plan.middleware):
            return await self._handle(request, nested=nested)
        middleware = self._plan.middleware[index]

        async def behind(given: Any, nested: bool) -> Any:  # noqa: FBT001 - no keywords from threads
            await trio.lowlevel.checkpoint_if_cancelled()  # a thread may come late
            self._check_open()
            return await self.answer(index + 1, _request(given, request), nested=nested)

        def following(given: Any = None, *_: Any) -> Any:
            """What a middleware calls: in a thread it gives the answer, elsewhere it is awaited."""
            if trio.lowlevel.in_trio_run():
                return behind(given, nested)
            return trio.from_thread.run(behind, given, True)  # noqa: FBT003 - as above

        arguments = (request, self._ctx, following)
        result = await self._invoker.run(self._hand, middleware, arguments, nested=nested)
        if inspect.isawaitable(result):  # `return next()`, which Python's middleware often says
            result = await result
        if result is None:
            raise TypeError(f"{_place_of(middleware)} returned nothing: return what next() gives")
        return result

    def _check_open(self) -> None:
        if self.over:
            raise RuntimeError("next() was called after its request had ended")

    async def _handle(self, request: Request, *, nested: bool) -> Any:
        """Check the request, and have the handler answer it."""
        plan, ctx, invoker, hand = self._plan, self._ctx, self._invoker, self._hand
        trigger: Any = plan.trigger
        what = "Invalid query parameters"
        try:
            if trigger.query_params is not None or trigger.body_schema is not None:
                # what is checked is put into a copy: a middleware may come with the request again
                request = Request(dict(request), request.raw_body, request.request_body)
            if trigger.query_params is not None:
                request["query_params"] = trigger.query_params.check_strings(
                    request["query_params"]
                )
            what = "Invalid request body"
            if trigger.body_schema is not None:
                schema, body = trigger.body_schema, request["body"]
                is_form = isinstance(body, dict) and _is_form(request["headers"])
                request["body"] = schema.check_form(body) if is_form else schema.check(body)
        except DoesNotFit as error:
            self._listener.refused(what, error.misfits)
            details = [{"path": each.path, "message": each.message} for each in error.misfits]
            return {"status": 400, "body": {"error": what, "details": details}}
        ctx.input = request
        if not await invoker.meets(hand, plan, request, ctx, nested=nested):
            return {"status": 422, "body": {"error": "Request condition not met", "skipped": True}}
        if not plan.handler.wants_http_args:
            return await invoker.call(hand, plan.handler, (request, ctx), nested=nested)
        response = MotiaHttpResponse(ctx, self._listener.begin)
        ctx.input = MotiaHttpArgs(request, response)
        try:
            result = await invoker.call(hand, plan.handler, (ctx.input, ctx), nested=nested)
        except trio.Cancelled:
            raise  # who cancelled it knows how the answer ends
        except BaseException:
            # whoever catches it: what was sent is not all there should be
            response.fail(HandlerFailed("the handler raised while it wrote its answer"))
            raise
        return response.head if result is None and response.used else result


def _place_of(middleware: Handler) -> str:
    function = inspect.unwrap(middleware.function)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", repr(function))
    where = f" ({code.co_filename}:{code.co_firstlineno})" if code is not None else ""
    return f"middleware {name}{where}"


def _request(given: Any, request: Request) -> Request:
    """Give the request that a middleware passes on: another one, or the one that it was given.

    ``{**req, "body": …}`` and ``req.copy()`` are plain dicts, and the handler is given a request.
    """
    if given is None or given is request:
        return request
    if isinstance(given, Request):
        return given
    if not isinstance(given, Mapping):
        raise TypeError(f"next() takes a request, or nothing, and not {given!r:.80}")
    return Request(wrap(dict(given)), request.raw_body, request.request_body)
