"""``ctx``: what a handler may do besides returning, for the length of one invocation."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from attrs import frozen

from motia_trio.access import Direct
from motia_trio.data import alias
from motia_trio.events import Level, StepLogged
from motia_trio.failures import tell_error
from motia_trio.items import State, Stream, Streams
from motia_trio.messages import Origin
from motia_trio.outgoing import ABSENT, outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from datetime import datetime

    from motia_trio.access import Access
    from motia_trio.shared import Shared
    from motia_trio.steps import Step, Trigger

__all__ = ["Call", "Context", "Logger", "TriggerInfo"]

T = TypeVar("T")

_KEPT_CALLS = 64
# what the contract promises of ctx and this version does not have yet
_LATER = frozenset({"match", "ask"})


@frozen
class TriggerInfo:
    """Which trigger started this invocation. What does not apply to its type is None."""

    type: str
    index: int
    path: str | None = None
    method: str | None = None
    topic: str | None = None
    expression: str | None = None

    @classmethod
    def of(cls, trigger: Trigger, index: int) -> TriggerInfo:
        """Describe one trigger of a step."""
        return cls(
            type=trigger.kind,
            index=index,
            path=getattr(trigger, "path", None),
            method=getattr(trigger, "method", None),
            topic=getattr(trigger, "topic", None),
            expression=getattr(trigger, "expression", None),
        )


class Call(Generic[T]):
    """Something asked of the runtime. Await it for its result; it is done once.

    What nobody awaits is done before the invocation ends. Source: handlers written for Motia 0.17
    call ``context.emit(…)`` without awaiting it.
    """

    __slots__ = ("_begun", "_make")

    def __init__(self, make: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._make = make
        self._begun = False

    @property
    def begun(self) -> bool:
        """Whether somebody awaited it."""
        return self._begun

    def __await__(self) -> Generator[Any, Any, T]:
        if self._begun:
            raise RuntimeError("this call was awaited before; call the method again")
        self._begun = True
        return self._make().__await__()


class Logger:
    """Writes log records that carry the step and the trace id.

    Every method takes a message, then a mapping of fields (or any value, kept as ``data``), and
    more fields as keywords. ``exc_info=True``, or an exception, adds the error to the fields.
    """

    __slots__ = ("_shared", "_step", "_thread", "_trace_id")

    def __init__(self, shared: Shared, step: str, trace_id: str, *, thread: bool) -> None:
        self._shared = shared
        self._step = step
        self._trace_id = trace_id
        self._thread = thread

    def debug(self, message: object, data: Any = None, /, *args: Any, **fields: Any) -> None:
        """Write a record of level debug."""
        self._write("debug", message, data, args, fields)

    def info(self, message: object, data: Any = None, /, *args: Any, **fields: Any) -> None:
        """Write a record of level info."""
        self._write("info", message, data, args, fields)

    def warning(self, message: object, data: Any = None, /, *args: Any, **fields: Any) -> None:
        """Write a record of level warning."""
        self._write("warning", message, data, args, fields)

    warn = warning

    def error(self, message: object, data: Any = None, /, *args: Any, **fields: Any) -> None:
        """Write a record of level error."""
        self._write("error", message, data, args, fields)

    def exception(self, message: object, data: Any = None, /, *args: Any, **fields: Any) -> None:
        """Write a record of level error with the error that is being handled."""
        fields.setdefault("exc_info", True)
        self._write("error", message, data, args, fields)

    def _write(
        self, level: Level, message: object, data: Any, args: tuple[Any, ...], fields: Any
    ) -> None:
        exc_info = fields.pop("exc_info", None)
        if isinstance(data, Mapping):
            fields = {**{str(key): value for key, value in data.items()}, **fields}
        elif data is not None:
            fields = {"data": [data, *args] if args else data, **fields}
        error = sys.exception() if exc_info is True else exc_info
        if isinstance(error, tuple):  # the triple that stdlib logging takes
            error = error[1]
        if isinstance(error, BaseException):
            told = tell_error(error, self._shared.root)
            fields = {**fields, "error": told.error, "traceback": told.traceback}
        event = StepLogged(self._step, self._trace_id, level, str(message), fields)
        if self._thread:
            trio.from_thread.run_sync(self._shared.observers.tell, event)
        else:
            self._shared.observers.tell(event)


class Context:
    """What a handler gets as its second argument. It lives for one invocation.

    Attributes that are set on it stay on it. Every member also answers to its camelCase name.
    From a handler that runs in a thread, calls do their work and return the result; from an async
    handler they give something to await.
    """

    def __init__(
        self,
        shared: Shared,
        step: Step,
        *,
        trace_id: str,
        input: Any = None,
        trigger: TriggerInfo | None = None,
        resources: Any = None,
        hops: int = 0,
        thread: bool = False,
        access: Access | None = None,
    ) -> None:
        self._shared = shared
        self._step = step
        self._thread = thread
        self._access = access or Direct(shared, Origin(trace_id, hops + 1, step.name), step)
        self._input = input
        self._calls: list[Call[Any]] = []
        self._logger: Logger | None = None
        self._state: State | None = None
        self.trace_id = trace_id
        self.trigger = trigger
        #: what the step's ``lifespan(ctx)`` yielded, None without one
        self.resources = resources

    def __repr__(self) -> str:
        return f"<ctx of step {self._step.name!r}, trace {self.trace_id}>"

    def __getattr__(self, name: str) -> Any:
        other = alias(name)
        if other in self.__dict__ or (other != name and hasattr(type(self), other)):
            return getattr(self, other)
        if name in _LATER:
            raise AttributeError(f"ctx.{name} is not in this version of motia_trio", name=name)
        raise AttributeError(
            f"ctx has no {name!r}; it has enqueue, emit, state, streams, logger, trace_id, "
            "trigger, get_data(), is_http(), is_queue(), is_cron(), is_state(), is_stream(), "
            "flows, resources",
            name=name,
            obj=self,
        )

    @property
    def logger(self) -> Logger:
        """The logger of this invocation."""
        if self._logger is None:
            self._logger = Logger(self._shared, self._step.name, self.trace_id, thread=self._thread)
        return self._logger

    @property
    def flows(self) -> tuple[str, ...]:
        """The flows of the step."""
        return self._step.flows

    @property
    def state(self) -> State:
        """The state of the project."""
        if self._state is None:
            self._state = State("", self._access, self, **self._manner())
        return self._state

    @property
    def streams(self) -> Streams:
        """The streams: ``ctx.streams.chat``, or ``ctx.streams["chat"]``."""
        return Streams(lambda name: Stream(name, self._access, self, **self._manner()))

    def _manner(self) -> dict[str, Any]:
        shared = self._shared
        return {
            "now": shared.clock.now,
            "limit": shared.message_limit,
            "first_dialect": self._step.dialect == 1,
        }

    def enqueue(
        self,
        topic: Any,
        data: Any = ABSENT,
        *,
        group: str | None = None,
        delay: float | None = None,
        at: datetime | None = None,
        key: str | None = None,
        priority: int | None = None,
        expires: float | datetime | None = None,
    ) -> Any:
        """Publish ``({"topic", "data", …})``, ``(topic, data)``, or a list of the former.

        Gives the message id (a list of them for a list) once the messages are kept; in a
        transactional step, the id that it will have.

        ``group``: within it a fifo queue keeps the order. ``delay``: seconds until it is due;
        ``at``: the time, with a timezone. ``key``: the topic keeps one message of a key for a day,
        and another enqueue gives the id of that one. ``priority``: from -10 to 10, higher first.
        ``expires``: seconds, or a time with a timezone, after which it is a dead letter, not work.

        Raises:
            TypeError, ValueError: a form, a key or a value that does not fit.
            NotEncodable: the data has no JSON form; the error names the path.
            MessageTooLarge: the data is over ``message_limit``.
            StoreBroken: it could not be kept.
        """
        batch = outgoing(
            topic, data, group=group, delay=delay, at=at, key=key, priority=priority,
            expires=expires,
        )  # fmt: skip
        single = isinstance(topic, (str, Mapping))

        async def publish() -> str | list[str]:
            ids = await self._access.publish(batch)
            return ids[0] if single else ids

        return self.do(publish)

    emit = enqueue

    def get_data(self) -> Any:
        """The body of a request, the data of a message, None for cron."""
        if self.trigger is not None and self.trigger.type == "http":
            return self._input.body
        return self._input

    def is_http(self) -> bool:
        """Whether an HTTP request started this invocation."""
        return self._is("http")

    is_api = is_http

    def is_queue(self) -> bool:
        """Whether a message started this invocation."""
        return self._is("queue")

    def is_cron(self) -> bool:
        """Whether a time started this invocation."""
        return self._is("cron")

    def is_state(self) -> bool:
        """Whether a change of state started this invocation."""
        return self._is("state")

    def is_stream(self) -> bool:
        """Whether a change of a stream started this invocation."""
        return self._is("stream")

    def _is(self, kind: str) -> bool:
        return self.trigger is not None and self.trigger.type == kind

    @property
    def in_thread(self) -> bool:
        """Whether the handler runs in a thread, where calls do their work. The runtime's."""
        return self._thread

    def do(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T | Call[T]:
        """Do it now in a thread; give something to await elsewhere. The runtime's."""
        if self._thread:
            return trio.from_thread.run(make)
        call = Call(make)
        if len(self._calls) >= _KEPT_CALLS:  # a lifespan's context lives long
            self._calls = [call for call in self._calls if not call.begun]
        self._calls.append(call)
        return call

    def leave_thread(self) -> None:
        """From here on this invocation runs on the Trio thread. The runtime's."""
        self._thread = False
        self._logger = None

    def pending(self) -> bool:
        """Whether something was called and never awaited. The runtime's."""
        return any(not call.begun for call in self._calls)

    async def finish(self) -> None:
        """Do what was called and never awaited. The runtime's, at the end of an invocation."""
        for call in self._calls:
            if not call.begun:
                await call
