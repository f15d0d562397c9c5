"""The one internal form of a step, whatever dialect it was written in. Pure values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from attrs import evolve, field, frozen

from motia_trio.policies import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from motia_trio.steps.handlers import Handler

__all__ = [
    "CronTrigger",
    "Dialect",
    "HttpTrigger",
    "Limits",
    "Placement",
    "Publication",
    "QueueTrigger",
    "StateTrigger",
    "Step",
    "StreamTrigger",
    "Trigger",
]

Dialect = Literal[1, 2, 3]
Placement = Literal["trio", "asyncio", "thread", "process"]


@frozen
class Limits:
    """The bounds of one trigger's attempts. Seconds; ``concurrency`` counts attempts at once.

    ``timeout`` is the bound on one attempt: the shorter of the handler's timeout and the queue's
    visibility timeout, where both are given.
    """

    timeout: float
    concurrency: int
    retry: RetryPolicy = RetryPolicy()
    fifo: bool = False
    delay: float = 0.0


@frozen
class HttpTrigger:
    """Runs the step for an HTTP request."""

    path: str
    method: str
    limits: Limits
    body_schema: Any = None
    query_params: Any = None
    response_schema: Mapping[int, Any] = field(factory=dict)
    middleware: Sequence[Any] = ()
    condition: Callable[..., Any] | None = None
    kind: Literal["http"] = "http"


@frozen
class QueueTrigger:
    """Runs the step for a message on a topic."""

    topic: str
    limits: Limits
    input_schema: Any = None
    condition: Callable[..., Any] | None = None
    kind: Literal["queue"] = "queue"


@frozen
class CronTrigger:
    """Runs the step at the times of a cron expression."""

    expression: str
    limits: Limits
    timezone: str = "UTC"
    catch_up: bool = False
    condition: Callable[..., Any] | None = None
    kind: Literal["cron"] = "cron"


@frozen
class StateTrigger:
    """Runs the step for a change of state."""

    limits: Limits
    group_id: str | None = None
    key: str | None = None
    condition: Callable[..., Any] | None = None
    kind: Literal["state"] = "state"


@frozen
class StreamTrigger:
    """Runs the step for a change of a stream."""

    stream_name: str
    limits: Limits
    group_id: str | None = None
    item_id: str | None = None
    condition: Callable[..., Any] | None = None
    kind: Literal["stream"] = "stream"


Trigger: TypeAlias = HttpTrigger | QueueTrigger | CronTrigger | StateTrigger | StreamTrigger


@frozen
class Publication:
    """A topic that a step says it publishes to."""

    topic: str
    label: str | None = None
    conditional: bool = False


@frozen
class Step:
    """A step: when it runs (``triggers``) and what it does (``handler``).

    ``source`` is the file it came from, as people should see it, or the place of a step that is
    an object. A step without triggers (``noop``) is drawn and never run; it may lack a handler.
    ``transactional``: what its handler does through ``ctx`` is kept as one, with the
    acknowledgement.
    """

    name: str
    triggers: tuple[Trigger, ...]
    handler: Handler | None
    source: str
    dialect: Dialect
    publications: tuple[Publication, ...] = ()
    description: str | None = None
    flows: tuple[str, ...] = ()
    placement: Placement | None = None
    transactional: bool = False
    lifespan: Callable[..., Any] | None = field(default=None, repr=False)
    virtual_publications: tuple[Publication, ...] = ()
    virtual_subscriptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that its config lists for publishing."""
        return tuple(publication.topic for publication in self.publications)

    def placed_at(self, source: str) -> Step:
        """Give the same step with another ``source``."""
        return evolve(self, source=source)
