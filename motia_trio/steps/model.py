"""The one internal form of a step, whatever dialect it was written in. Pure values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from attrs import evolve, field, frozen

from motia_trio.policies import RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from motia_trio.steps.handlers import Handler
    from motia_trio.steps.schedules import Schedule
    from motia_trio.steps.schemas import Schema
    from motia_trio.steps.streams import StreamDeclaration

__all__ = [
    "CronTrigger",
    "Dialect",
    "HttpTrigger",
    "Limits",
    "Placement",
    "Publication",
    "QueryDoc",
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
    visibility timeout, where both are given. ``timeout_given``: by the config, and not by default.
    """

    timeout: float
    concurrency: int
    retry: RetryPolicy = RetryPolicy()
    fifo: bool = False
    delay: float = 0.0
    timeout_given: bool = field(default=True, eq=False)


@frozen
class QueryDoc:
    """What a config says of a query parameter, for documents: it is not checked."""

    name: str
    description: str = ""


@frozen
class HttpTrigger:
    """Runs the step for an HTTP request.

    ``query_params`` is checked; ``query_docs`` is what stands in its place where a config only
    describes the parameters. ``response_schema`` is by status.
    ``cancel_on_disconnect``: a handler whose client has left is cancelled, instead of running on.
    """

    path: str
    method: str
    limits: Limits
    body_schema: Schema | None = None
    query_params: Schema | None = None
    query_docs: tuple[QueryDoc, ...] = ()
    response_schema: Mapping[int, Schema] = field(factory=dict)
    middleware: tuple[Handler, ...] = ()
    condition: Handler | None = None
    cancel_on_disconnect: bool = False
    kind: Literal["http"] = "http"


@frozen
class QueueTrigger:
    """Runs the step for a message on a topic."""

    topic: str
    limits: Limits
    input_schema: Schema | None = None
    condition: Handler | None = None
    kind: Literal["queue"] = "queue"


@frozen
class CronTrigger:
    """Runs the step at the times of a cron expression.

    ``catch_up``: what was missed while the process was down is made up for by one run.
    """

    expression: str
    limits: Limits
    schedule: Schedule
    timezone: str = "UTC"
    catch_up: bool = False
    condition: Handler | None = None
    kind: Literal["cron"] = "cron"


@frozen
class StateTrigger:
    """Runs the step for a change of state."""

    limits: Limits
    group_id: str | None = None
    key: str | None = None
    condition: Handler | None = None
    kind: Literal["state"] = "state"


@frozen
class StreamTrigger:
    """Runs the step for a change of a stream."""

    stream_name: str
    limits: Limits
    group_id: str | None = None
    item_id: str | None = None
    condition: Handler | None = None
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
    acknowledgement. ``handlers`` are those of one kind of trigger; ``handler`` is for the others.
    ``streams`` are those that its file declares.
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
    handlers: Mapping[str, Handler] = field(factory=dict)
    virtual_publications: tuple[Publication, ...] = ()
    virtual_subscriptions: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    streams: tuple[StreamDeclaration, ...] = ()

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that its config lists for publishing."""
        return tuple(publication.topic for publication in self.publications)

    def handler_of(self, kind: str) -> Handler | None:
        """The handler for one kind of trigger."""
        return self.handlers.get(kind, self.handler)

    @property
    def runs(self) -> bool:
        """Whether there is anything to run: a step that is only drawn has no trigger or handler."""
        return bool(self.triggers) and (self.handler is not None or bool(self.handlers))

    def bounded(self, seconds: float) -> Step:
        """Give the same step, with a time for the requests that its config gives none."""
        return evolve(
            self,
            triggers=tuple(
                evolve(trigger, limits=evolve(trigger.limits, timeout=seconds))
                if isinstance(trigger, HttpTrigger) and not trigger.limits.timeout_given
                else trigger
                for trigger in self.triggers
            ),
        )

    def placed_at(self, source: str) -> Step:
        """Give the same step with another ``source``."""
        return evolve(self, source=source)
