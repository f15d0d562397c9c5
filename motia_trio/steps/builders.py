"""Steps as objects: ``@step(queue("order.created"))`` gives the same model as a step file."""

from __future__ import annotations

import functools
import inspect
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from pydantic import ValidationError

from motia_trio.errors import LoadFailed, Problem
from motia_trio.steps.dialects import parse_step
from motia_trio.steps.raw import RawCron, RawHttp, RawQueue, RawState, RawStream

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from motia_trio.steps.model import Step

__all__ = [
    "MultiTriggerStepBuilder",
    "StepDefinition",
    "cron",
    "http",
    "multi_trigger_step",
    "queue",
    "state",
    "step",
    "stream",
]

RawAny = RawHttp | RawQueue | RawCron | RawState | RawStream


def _make(kind: type[Any], **fields: Any) -> Any:
    given = {key: value for key, value in fields.items() if value is not None}
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        helper = kind.__name__.removeprefix("Raw").lower()
        raise LoadFailed(
            [Problem(f"{helper}()", f"{key}: {first['input']!r}: {message}")]
        ) from None


def http(
    method: str,
    path: str,
    *,
    body_schema: Any = None,
    response_schema: Mapping[Any, Any] | None = None,
    query_params: Any = None,
    middleware: Sequence[Callable[..., Any]] | Callable[..., Any] | None = None,
    condition: Callable[..., Any] | None = None,
    cancel_on_disconnect: bool | None = None,
    config: Mapping[str, Any] | None = None,
) -> RawHttp:
    """Run the step for an HTTP request: ``http("GET", "/users/:id")``."""
    if method.startswith("/"):
        raise LoadFailed([Problem("http()", f"the method comes first: http({path!r}, {method!r})")])
    made: RawHttp = _make(
        RawHttp,
        method=method,
        path=path,
        body_schema=body_schema,
        response_schema=response_schema,
        query_params=query_params,
        middleware=middleware,
        condition=condition,
        cancel_on_disconnect=cancel_on_disconnect,
        config=config,
    )
    return made


def queue(
    topic: str,
    *,
    input: Any = None,
    condition: Callable[..., Any] | None = None,
    config: Mapping[str, Any] | None = None,
    infrastructure: Mapping[str, Any] | None = None,
) -> RawQueue:
    """Run the step for each message on a topic."""
    made: RawQueue = _make(
        RawQueue,
        topic=topic,
        input=input,
        condition=condition,
        config=config,
        infrastructure=infrastructure,
    )
    return made


def cron(
    expression: str,
    *,
    timezone: str | None = None,
    catch_up: bool | None = None,
    condition: Callable[..., Any] | None = None,
) -> RawCron:
    """Run the step at the times of a cron expression."""
    made: RawCron = _make(
        RawCron,
        expression=expression,
        timezone=timezone,
        catch_up=catch_up,
        condition=condition,
    )
    return made


def state(
    *,
    group_id: str | None = None,
    key: str | None = None,
    condition: Callable[..., Any] | None = None,
) -> RawState:
    """Run the step for a change of state."""
    made: RawState = _make(RawState, group_id=group_id, key=key, condition=condition)
    return made


def stream(
    stream_name: str,
    *,
    group_id: str | None = None,
    item_id: str | None = None,
    condition: Callable[..., Any] | None = None,
) -> RawStream:
    """Run the step for a change of a stream."""
    made: RawStream = _make(
        RawStream,
        stream_name=stream_name,
        group_id=group_id,
        item_id=item_id,
        condition=condition,
    )
    return made


class StepDefinition:
    """A step made by :func:`step`: still callable as the function it was."""

    def __init__(self, model: Step, function: Callable[..., Any]) -> None:
        functools.update_wrapper(
            self, function
        )  # first: it brings the attributes that function has
        self.step = model
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function as it was written: a test may."""
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<step {self.step.name!r} of {self.step.source}>"


@overload
def step(
    *triggers: RawAny,
    name: str | None = ...,
    enqueues: Sequence[Any] = ...,
    flows: Sequence[str] = ...,
    description: str | None = ...,
    infrastructure: Mapping[str, Any] | None = ...,
    delivery: Literal["immediate", "transactional"] = ...,
    lifespan: Callable[..., Any] | None = ...,
) -> Callable[[Callable[..., Any]], StepDefinition]: ...
@overload
def step(
    config: Mapping[str, Any], handler: Callable[..., Any], /, *, lifespan: Any = ...
) -> StepDefinition: ...
def step(
    *args: Any,
    lifespan: Callable[..., Any] | None = None,
    **options: Any,
) -> Any:
    """Make a step of a function: as a decorator with triggers, or ``step(config, handler)``.

    The name is the function's unless ``name`` is given.

    Raises:
        LoadFailed: something in the config is wrong; all of it is listed.
    """
    if len(args) == 2 and callable(args[1]):
        return _define(args[0], args[1], lifespan)

    if len(args) == 1 and callable(args[0]):
        where = _place(args[0])
        raise LoadFailed([Problem(where, '@step takes its triggers: @step(queue("topic"))')])

    def decorate(function: Callable[..., Any]) -> StepDefinition:
        given = {key: value for key, value in options.items() if value is not None}
        name = given.pop("name", None) or getattr(function, "__name__", "step")
        return _define({"name": name, "triggers": list(args), **given}, function, lifespan)

    return decorate


class MultiTriggerStepBuilder:
    """Gathers a handler for each kind of trigger. Made by :func:`multi_trigger_step`."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = config
        self._handlers: dict[str, Callable[..., Any]] = {}

    def on_http(self, handler: Callable[..., Any]) -> MultiTriggerStepBuilder:
        """Have requests handled by ``handler(req, ctx)``."""
        return self._on("http", handler)

    on_api = on_http

    def on_queue(self, handler: Callable[..., Any]) -> MultiTriggerStepBuilder:
        """Have messages handled by ``handler(input, ctx)``."""
        return self._on("queue", handler)

    def on_cron(self, handler: Callable[..., Any]) -> MultiTriggerStepBuilder:
        """Have the times of a schedule handled by ``handler(ctx)``, or ``handler(None, ctx)``."""
        return self._on("cron", handler)

    def on_state(self, handler: Callable[..., Any]) -> MultiTriggerStepBuilder:
        """Have changes of the state handled by ``handler(input, ctx)``."""
        return self._on("state", handler)

    def on_stream(self, handler: Callable[..., Any]) -> MultiTriggerStepBuilder:
        """Have changes of streams handled by ``handler(input, ctx)``."""
        return self._on("stream", handler)

    def _on(self, kind: str, handler: Callable[..., Any]) -> MultiTriggerStepBuilder:
        self._handlers[kind] = handler
        return self

    def handlers(self, handlers: Mapping[str, Callable[..., Any]] | None = None) -> StepDefinition:
        """Make the step, with these handlers over those that were given before.

        Raises:
            LoadFailed: something in the config is wrong, or a trigger has no handler.
        """
        by_kind = {**self._handlers, **(handlers or {})}
        place = _place(next(iter(by_kind.values()))) if by_kind else "multi_trigger_step()"
        model = parse_step(self.config, None, source=place, handlers=by_kind)

        def dispatch(input: Any, ctx: Any) -> Any:
            """Call the handler for what started this invocation."""
            handler = model.handlers[ctx.trigger.type]
            return handler.function(*handler.arguments(input, ctx))

        return StepDefinition(model, dispatch)


def multi_trigger_step(config: Mapping[str, Any]) -> MultiTriggerStepBuilder:
    """Begin a step with a handler for each kind of its triggers.

    ``multi_trigger_step(config).on_http(create).on_cron(clean_up).handlers()``, or
    ``multi_trigger_step(config).handlers({"http": create, "cron": clean_up})``. Source: Motia 1.0.
    """
    return MultiTriggerStepBuilder(config)


def _define(
    config: Mapping[str, Any], function: Callable[..., Any], lifespan: Callable[..., Any] | None
) -> StepDefinition:
    model = parse_step(config, function, source=_place(function), lifespan=lifespan)
    return StepDefinition(model, function)


def _place(function: Callable[..., Any]) -> str:
    """Where a function is written, as ``file.py:12``."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = getattr(code, "co_filename", None)
    if not isinstance(name, str):  # a mock, or something built in
        return repr(function)
    return f"{Path(name).name}:{getattr(code, 'co_firstlineno', 0)}"
