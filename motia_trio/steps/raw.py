"""The config as people write it: pydantic models for every spelling of the three dialects.

Source: motia-contract §1 and the two documents. Each model takes camelCase and snake_case keys.
Nothing here travels past :mod:`motia_trio.steps.dialects`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic.alias_generators import to_camel

__all__ = [
    "RawCron",
    "RawHttp",
    "RawQueue",
    "RawState",
    "RawStep",
    "RawStream",
    "RawTrigger",
]

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]
Name = Annotated[str, Field(min_length=1, max_length=512)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Condition = Callable[..., Any] | None


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _route(path: str) -> str:
    """A path that a request can have. Source: what steps.mdx calls a URL path with params."""
    if not path.startswith("/"):
        raise ValueError(f"a path begins with '/': {'/' + path!r}")
    if "?" in path or "#" in path:
        raise ValueError("a path has no query; what follows '?' comes as req.query_params")
    names: list[str] = []
    *before, _ = parts = path.strip("/").split("/")
    for part in parts:
        if part.startswith("*") and part in before:
            raise ValueError(f"{part!r} takes all that follows, so it can only stand at the end")
        if "{" in part or "}" in part:
            if not (part.startswith("{") and part.endswith("}") and part[1:-1].isidentifier()):
                raise ValueError(f"{part!r}: a parameter is a whole segment, ':id' or '{{id}}'")
            names.append(part[1:-1])
        elif part[:1] in {":", "*"}:
            names.append(part[1:] or "rest")  # as a * without a name is called
    if len(set(names)) < len(names):
        raise ValueError("two parameters have one name")
    return path


def _listed(value: object) -> object:
    """One topic, flow or middleware where a list of them is expected."""
    return [value] if isinstance(value, (str, Mapping)) or callable(value) else value


Path = Annotated[str, AfterValidator(_route)]


class Raw(BaseModel):
    """Takes both spellings of a key; remembers the keys it does not know."""

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="allow", arbitrary_types_allowed=True
    )

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """A pydantic object of somebody else's is its fields; a key that is None is not there."""
        if isinstance(value, BaseModel) and not isinstance(value, Raw):
            fields = {name: getattr(value, name) for name in type(value).model_fields}
            value = {**fields, **(value.model_extra or {})}
        if isinstance(value, Mapping):
            return {key: item for key, item in value.items() if item is not None}
        return value

    @classmethod
    def spellings(cls) -> set[str]:
        """Every key that this model knows, in the spelling of the documents."""
        return {info.alias or name for name, info in cls.model_fields.items()}


class RawHandlerLimits(Raw):
    """``infrastructure.handler``."""

    timeout: Seconds | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    backoff_rate: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    placement: Literal["trio", "asyncio", "thread", "process"] | None = None
    # sizes of a cloud machine: accepted and without meaning in one process
    ram: Any = None
    cpu: Any = None
    machine_type: Any = None


class RawQueueLimits(Raw):
    """``infrastructure.queue``, and ``config`` of a third-dialect queue trigger."""

    type: Literal["standard", "fifo"] | None = None
    max_retries: Annotated[int, Field(ge=0)] | None = None
    visibility_timeout: Seconds | None = None
    delay_seconds: Delay | None = None
    concurrency: Annotated[int, Field(ge=1)] | None = None
    backoff_type: Literal["exponential", "fixed"] | None = None
    backoff_delay_ms: Delay | None = None
    backoff_rate: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    message_group_id: str | None = None


class RawInfrastructure(Raw):
    """``infrastructure`` of a step or of a trigger."""

    handler: RawHandlerLimits = RawHandlerLimits()
    queue: RawQueueLimits = RawQueueLimits()


class RawTriggerConfig(RawQueueLimits):
    """``config`` of a third-dialect trigger: the limits, flat or in the two groups."""

    timeout: Seconds | None = None
    handler: RawHandlerLimits = RawHandlerLimits()
    queue: RawQueueLimits = RawQueueLimits()


class RawTriggerBase(Raw):
    """What every trigger may say."""

    condition: Condition = None
    infrastructure: RawInfrastructure = RawInfrastructure()
    config: RawTriggerConfig = RawTriggerConfig()


class RawHttp(RawTriggerBase):
    """An HTTP trigger."""

    type: Literal["http", "api"] = "http"
    path: Path
    method: Annotated[Method, BeforeValidator(_upper)]
    body_schema: Any = None
    query_params: Any = None
    response_schema: Any = None
    middleware: Annotated[list[Any], BeforeValidator(_listed)] = []
    cancel_on_disconnect: bool = False


class RawQueue(RawTriggerBase):
    """A queue trigger."""

    type: Literal["queue", "event"] = "queue"
    topic: Name
    input: Any = None


class RawCron(RawTriggerBase):
    """A cron trigger."""

    type: Literal["cron"] = "cron"
    expression: Name
    timezone: str = "UTC"
    catch_up: bool = False

    @model_validator(mode="before")
    @classmethod
    def _first_spelling(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and "cron" in value and "expression" not in value:
            return {("expression" if key == "cron" else key): item for key, item in value.items()}
        return value


class RawState(RawTriggerBase):
    """A state trigger."""

    type: Literal["state"] = "state"
    group_id: str | None = None
    scope: str | None = None
    key: str | None = None


class RawStream(RawTriggerBase):
    """A stream trigger."""

    type: Literal["stream"] = "stream"
    stream_name: Name
    group_id: str | None = None
    item_id: str | None = None


_KINDS = {"api": "http", "event": "queue"}


def _kind(value: Any) -> str | None:
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return _KINDS.get(kind, kind) if isinstance(kind, str) else None


RawTrigger = Annotated[
    Annotated[RawHttp, Tag("http")]
    | Annotated[RawQueue, Tag("queue")]
    | Annotated[RawCron, Tag("cron")]
    | Annotated[RawState, Tag("state")]
    | Annotated[RawStream, Tag("stream")],
    Discriminator(
        _kind,
        custom_error_type="trigger_type",
        custom_error_message="type should be one of api, http, queue, event, cron, state, stream",
    ),
]


class RawTopic(Raw):
    """An item of ``emits`` or ``enqueues``."""

    topic: Name
    label: str | None = None
    conditional: bool = False


def _topic(value: object) -> object:
    return {"topic": value} if isinstance(value, str) else value


Topics = Annotated[
    list[Annotated[RawTopic, BeforeValidator(_topic)]],
    BeforeValidator(_listed),
]
Names = Annotated[list[Name], BeforeValidator(_listed)]


class RawStep(Raw):
    """A whole config, in any mixture of the dialects."""

    # keys of a first-dialect step that belong to its one trigger
    FIRST_DIALECT: ClassVar[frozenset[str]] = frozenset({
        "path", "method", "body_schema", "query_params", "response_schema", "middleware",
        "cancel_on_disconnect", "subscribes", "input", "cron", "condition",
    })  # fmt: skip

    name: Name
    type: Literal["api", "http", "event", "queue", "cron", "noop"] | None = None
    description: str | None = None
    flows: Names = []
    delivery: Literal["immediate", "transactional"] = "immediate"
    triggers: list[RawTrigger] = []
    infrastructure: RawInfrastructure = RawInfrastructure()
    emits: Topics = []
    enqueues: Topics = []
    virtual_emits: Topics = []
    virtual_enqueues: Topics = []
    virtual_subscribes: Names = []
    include_files: Any = None
    # the first dialect's trigger, spread over the step
    path: Path | None = None
    method: Annotated[Method | None, BeforeValidator(_upper)] = None
    body_schema: Any = None
    query_params: Any = None
    response_schema: Any = None
    middleware: Annotated[list[Any], BeforeValidator(_listed)] = []
    cancel_on_disconnect: bool = False
    subscribes: Names = []
    input: Any = None
    cron: str | None = None
    condition: Condition = None
