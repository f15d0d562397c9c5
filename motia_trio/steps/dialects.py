"""From a config in any dialect to the one internal :class:`~motia_trio.steps.model.Step`.

Nothing past this module knows how a step was spelled, save :attr:`Step.dialect` for the quirks
that motia-contract §4 and §5 keep for the first dialect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from motia_trio.errors import LoadFailed, Problem
from motia_trio.policies import RetryPolicy
from motia_trio.steps.explaining import read_config, unknown_keys
from motia_trio.steps.handlers import Handler, inspect_handler, inspect_middleware
from motia_trio.steps.model import (
    CronTrigger,
    Dialect,
    HttpTrigger,
    Limits,
    Placement,
    Publication,
    QueueTrigger,
    StateTrigger,
    Step,
    StreamTrigger,
    Trigger,
)
from motia_trio.steps.raw import (
    RawCron,
    RawHttp,
    RawInfrastructure,
    RawQueue,
    RawState,
    RawStep,
    RawStream,
    RawTopic,
    RawTriggerConfig,
)
from motia_trio.steps.schedules import ScheduleInvalid, parse_schedule
from motia_trio.steps.trigger_schemas import TriggerSchemas

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["parse_step"]

# motia-contract §8: 30 s for http, 900 s for everything else; attempts at once by kind
TIMEOUTS = {"http": 30.0, "queue": 900.0, "cron": 900.0, "state": 900.0, "stream": 900.0}
CONCURRENCY = {"http": 100, "queue": 10, "cron": 1, "state": 10, "stream": 10}
_ALIASES = {"api": "http", "event": "queue"}
# groups of a fifo queue that are worked on at once; within a group it is always one message
FIFO_GROUPS = 100

AnyRawTrigger = RawHttp | RawQueue | RawCron | RawState | RawStream


def parse_step(
    config: object,
    handler: object,
    *,
    source: str,
    lifespan: Any = None,
    handlers: Mapping[str, object] | None = None,
) -> Step:
    """Make a step of a config and a handler. ``source`` names the file in every error.

    ``handlers`` are those of one kind of trigger each (``http queue cron state stream``), which
    ``handler`` is not called for.

    Raises:
        LoadFailed: with every problem of this config, not the first alone.
    """
    raw = read_config(RawStep, config, source)

    problems: list[Problem] = []
    bound: Handler | None = None
    triggers: list[Trigger] = []
    schemas = TriggerSchemas()
    try:
        raw_triggers = [*_first_dialect(raw), *raw.triggers]
    except ValueError as error:
        problems.append(Problem(source, str(error)))
        raw_triggers = raw.triggers
    spread = len(raw_triggers) - len(raw.triggers)
    for index, raw_trigger in enumerate(raw_triggers):
        trigger = f"triggers[{index - spread}]"
        at = "" if index < spread else f"{trigger}."
        try:
            triggers.append(_trigger(raw_trigger, raw.infrastructure, schemas, at))
        except ScheduleInvalid as error:
            problems += [
                Problem(source, f"{'cron' if index < spread else f'{trigger}.{name}'}: {words}")
                for name, words in error.wrong.items()
            ]
        except (ValueError, TypeError) as error:
            problems.append(Problem(source, str(error)))
    problems += [Problem(source, what) for what in schemas.wrong]
    by_kind, wrong = _by_kind(handlers or {}, triggers)
    problems += [Problem(source, what) for what in wrong]
    if handler is not None:
        # motia-contract §3: what a cron handler takes alone is the context, whatever it is called
        only_cron = bool(triggers) and all(trigger.kind == "cron" for trigger in triggers)
        try:
            bound = inspect_handler(handler, lone="ctx" if only_cron else "input")
        except TypeError as error:
            problems.append(Problem(source, str(error)))
    elif triggers and not handlers:
        problems.append(
            Problem(source, f"step {raw.name!r} has triggers but no handler; define handler()")
        )
    if lifespan is not None and not callable(lifespan):
        problems.append(
            Problem(source, "lifespan must be an async context manager function: lifespan(ctx)")
        )
    if problems:
        raise LoadFailed(problems)
    return Step(
        name=raw.name,
        triggers=tuple(triggers),
        handler=bound,
        source=source,
        dialect=_dialect(raw),
        publications=tuple(map(_publication, [*raw.emits, *raw.enqueues])),
        description=raw.description,
        flows=tuple(raw.flows),
        placement=_placement(raw),
        transactional=raw.delivery == "transactional",
        lifespan=lifespan,
        handlers=by_kind,
        virtual_publications=tuple(map(_publication, [*raw.virtual_emits, *raw.virtual_enqueues])),
        virtual_subscriptions=tuple(raw.virtual_subscribes),
        warnings=tuple(unknown_keys(raw)),
    )


def _by_kind(
    handlers: Mapping[str, object], triggers: Sequence[Trigger]
) -> tuple[dict[str, Handler], list[str]]:
    """The handlers by kind of trigger, and what is wrong with them."""
    found: dict[str, Handler] = {}
    wrong: list[str] = []
    for name, function in handlers.items():
        kind = _ALIASES.get(name, name)
        if kind not in TIMEOUTS:
            wrong.append(f"handlers[{name!r}]: no trigger is of this type: {', '.join(TIMEOUTS)}")
            continue
        lone: Literal["ctx", "input"] = "ctx" if kind == "cron" else "input"
        try:
            found[kind] = inspect_handler(function, lone=lone)
        except TypeError as error:
            wrong.append(f"handlers[{name!r}]: {error}")
    lacking = {trigger.kind: None for trigger in triggers if trigger.kind not in found}
    if handlers and lacking and not wrong:
        kinds = ", ".join(lacking)
        wrong.append(
            f"there is no handler for triggers of type {kinds}; there are: {', '.join(found)}"
        )
    return found, wrong


def _first_dialect(raw: RawStep) -> Iterator[AnyRawTrigger]:
    """The triggers that a first-dialect config spreads over the step."""
    if raw.type in {"api", "http"}:
        missing = [key for key in ("path", "method") if getattr(raw, key) is None]
        if missing:
            what = " and ".join(missing)
            raise ValueError(f"step {raw.name!r} of type {raw.type!r} needs {what}")
        yield RawHttp(
            path=raw.path or "/",
            method=raw.method or "GET",
            body_schema=raw.body_schema,
            query_params=raw.query_params,
            response_schema=raw.response_schema,
            middleware=raw.middleware,
            condition=raw.condition,
            cancel_on_disconnect=raw.cancel_on_disconnect,
        )
    if raw.type in {"event", "queue"} and not raw.subscribes and not raw.triggers:
        raise ValueError(f"step {raw.name!r} of type {raw.type!r} needs subscribes: [topic, …]")
    for topic in raw.subscribes:
        yield RawQueue(topic=topic, input=raw.input, condition=raw.condition)
    if raw.type == "cron" and raw.cron is None and not raw.triggers:
        raise ValueError(f"step {raw.name!r} of type 'cron' needs cron: an expression")
    if raw.cron is not None:
        yield RawCron(expression=raw.cron, condition=raw.condition)
    if raw.type is None and not raw.triggers and not raw.subscribes and raw.cron is None:
        raise ValueError(
            f"step {raw.name!r} says neither triggers nor type; add triggers=[…], "
            'or "type": "noop" for a step that is only drawn'
        )


def _dialect(raw: RawStep) -> Dialect:
    if not raw.triggers:
        return 1
    # the helpers make objects, and only the third dialect says `http`
    third = any("type" not in t.model_fields_set or t.type == "http" for t in raw.triggers)
    return 3 if third else 2


def _trigger(
    raw: AnyRawTrigger, step: RawInfrastructure, schemas: TriggerSchemas, at: str
) -> Trigger:
    limits = _limits(raw, step)
    condition = None
    if raw.condition is not None:
        condition = inspect_handler(raw.condition, what="condition")
    if isinstance(raw, RawHttp):
        query, docs = schemas.query(raw.query_params, f"{at}queryParams")
        return HttpTrigger(
            path=raw.path,
            method=raw.method,
            limits=limits,
            body_schema=schemas.schema(raw.body_schema, f"{at}bodySchema"),
            query_params=query,
            query_docs=docs,
            response_schema=schemas.by_status(raw.response_schema, f"{at}responseSchema"),
            middleware=tuple(map(inspect_middleware, raw.middleware)),
            condition=condition,
            cancel_on_disconnect=raw.cancel_on_disconnect,
        )
    if isinstance(raw, RawQueue):
        input_schema = schemas.schema(raw.input, f"{at}input")
        return QueueTrigger(raw.topic, limits, input_schema, condition)
    if isinstance(raw, RawCron):
        schedule = parse_schedule(raw.expression, raw.timezone)
        return CronTrigger(raw.expression, limits, schedule, raw.timezone, raw.catch_up, condition)
    if isinstance(raw, RawState):
        return StateTrigger(limits, raw.group_id or raw.scope, raw.key, condition)
    if raw.stream_name.startswith("("):
        raise ValueError(
            f"stream_name: {raw.stream_name!r}: names that begin with '(' are not for streams"
        )
    return StreamTrigger(raw.stream_name, limits, raw.group_id, raw.item_id, condition)


def _limits(raw: AnyRawTrigger, step: RawInfrastructure) -> Limits:
    """The trigger's own limits over the step's over the defaults."""
    kind = "http" if isinstance(raw, RawHttp) else raw.type if raw.type != "event" else "queue"
    own = raw.infrastructure
    config: RawTriggerConfig = raw.config
    handlers = (own.handler, config.handler, step.handler)
    queues = (own.queue, config, config.queue, step.queue)

    timeout = _first(config.timeout, *(h.timeout for h in handlers))
    visibility = None if kind == "http" else _first(*(q.visibility_timeout for q in queues))
    bounds = [bound for bound in (timeout, visibility) if bound is not None]
    rate = _first(*(q.backoff_rate for q in queues), *(h.backoff_rate for h in handlers))
    delay_ms = _first(*(q.backoff_delay_ms for q in queues))
    retries = _first(*(q.max_retries for q in queues), *(h.retries for h in handlers))
    default = RetryPolicy()
    fifo = kind == "queue" and _first(*(q.type for q in queues)) == "fifo"
    return Limits(
        timeout=min(bounds) if bounds else TIMEOUTS[kind],
        timeout_given=bool(bounds),
        concurrency=_first(*(q.concurrency for q in queues))
        or (FIFO_GROUPS if fifo else CONCURRENCY[kind]),
        retry=RetryPolicy(
            max_retries=default.max_retries if retries is None else retries,
            kind=_first(*(q.backoff_type for q in queues)) or default.kind,
            delay=default.delay if delay_ms is None else delay_ms / 1000,
            rate=rate or default.rate,
        ),
        fifo=fifo,
        delay=_first(*(q.delay_seconds for q in queues)) or 0.0,
    )


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _placement(raw: RawStep) -> Placement | None:
    of_triggers = (t.infrastructure.handler.placement for t in raw.triggers)
    placement: Placement | None = _first(*of_triggers, raw.infrastructure.handler.placement)
    return placement


def _publication(raw: RawTopic) -> Publication:
    return Publication(raw.topic, raw.label, raw.conditional)
