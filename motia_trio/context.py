"""``ctx``: what a handler may do besides returning, for the length of one invocation."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextvars import ContextVar
from inspect import isawaitable
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from attrs import frozen

from motia_trio.access import Direct
from motia_trio.actors import to_its_end
from motia_trio.asks import ASK_TIMEOUT, check_timeout
from motia_trio.data import alias
from motia_trio.events import Level, StepLogged
from motia_trio.failures import tell_error
from motia_trio.items import State, Streams, stream_of
from motia_trio.messages import Origin
from motia_trio.outgoing import ABSENT, outgoing
from motia_trio.steps import inspect_handler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from datetime import datetime

    from motia_trio.access import Access
    from motia_trio.items import Caller
    from motia_trio.shared import Shared
    from motia_trio.steps import Step, Trigger

__all__ = ["RUNNING", "Call", "Context", "Guards", "Logger", "TriggerInfo"]

T = TypeVar("T")

# what the kinds of triggers are also called
_OTHER_NAMES = {"http": "api", "queue": "event"}
_KINDS = {other: kind for kind, other in _OTHER_NAMES.items()}
#: the invocation that is running, in its task, its threads, and the tasks that it starts
RUNNING: ContextVar[Context] = ContextVar("motia_trio.RUNNING")
# calls that are remembered, so that what nobody awaited is done in the end
_KEPT_CALLS = 64


@frozen
class TriggerInfo:
    """Which trigger started this invocation. What does not apply to its type is None.

    ``scheduled_at`` is the wall time for which a schedule runs the step, in seconds.
    """

    type: str
    index: int
    path: str | None = None
    method: str | None = None
    topic: str | None = None
    expression: str | None = None
    scheduled_at: float | None = None

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

    __slots__ = ("_caller", "_shared", "_step", "_trace_id")

    def __init__(self, shared: Shared, step: str, trace_id: str, caller: Caller) -> None:
        self._shared = shared
        self._step = step
        self._trace_id = trace_id
        self._caller = caller

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
        if self._caller.in_thread:
            trio.from_thread.run_sync(self._shared.observers.tell, event)
        else:
            self._shared.observers.tell(event)


class Guards:
    """Tells what kind of trigger started an invocation. What they are given does not matter."""

    __slots__ = ("_ctx",)

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx

    def __getattr__(self, name: str) -> Callable[..., bool]:
        names = ("http", "api", "queue", "event", "cron", "state", "stream")
        if name not in names:
            raise AttributeError(f"ctx.is_ has no {name!r}; it has {', '.join(names)}", name=name)
        kind = _KINDS.get(name, name)
        trigger = self._ctx.trigger
        return lambda *_: trigger is not None and trigger.type == kind


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
        deadline: float = inf,
        access: Access | None = None,
    ) -> None:
        self._shared = shared
        self._step = step
        self._access = access or Direct(shared, Origin(trace_id, 1, step.name), step)
        #: what the handler is given. The runtime's
        self.input = input
        #: when the time is up, in seconds of Trio's clock: see :meth:`time_left`
        self.deadline = deadline
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
        raise AttributeError(
            f"ctx has no {name!r}; it has enqueue, emit, ask, state, streams, logger, trace_id, "
            "trigger, match(), get_data(), is_http(), is_queue(), is_cron(), is_state(), "
            "is_stream(), deadline, time_left(), flows, resources",
            name=name,
            obj=self,
        )

    @property
    def in_thread(self) -> bool:
        """Whether this is asked in a thread beside Trio's, where calls do their work."""
        return not trio.lowlevel.in_trio_run()

    @property
    def logger(self) -> Logger:
        """The logger of this invocation."""
        if self._logger is None:
            self._logger = Logger(self._shared, self._step.name, self.trace_id, self)
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
        return Streams(
            self._shared.streams,
            lambda declared: stream_of(declared, self._access, self, **self._manner()),
        )

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

    def ask(self, topic: str, data: Any = None, *, timeout: float | None = None) -> Any:
        """Publish a message, and give what the one step that listens to it returns.

        The message is durable and tried as any other. The answer is waited for, for ``timeout``
        seconds, and never longer than this invocation has; its handler is told how long
        (``ctx.deadline``), and is not cut short by it. A transactional step cannot ask, as its
        messages are kept when it ends.

        Raises:
            AskInvalid: no step listens to the topic, or several do, or this step is transactional.
            TimedOut: there was no answer in time.
            HandlerFailed: the message has become a dead letter, or the condition was not met.
            TypeError, ValueError, NotEncodable, MessageTooLarge, StoreBroken: as of ``enqueue``.
        """
        if not isinstance(topic, str):
            raise TypeError(f"ctx.ask takes (topic, data), not {topic!r:.80}")
        (message,) = outgoing(topic, data)
        seconds = None if timeout is None else check_timeout(timeout)

        async def ask() -> Any:
            now = trio.current_time()
            bound = inf if seconds is None else now + seconds
            if bound == self.deadline == inf:
                bound = now + ASK_TIMEOUT
            return await self._access.ask(message, min(bound, self.deadline))

        return self.do(ask)

    def match(self, handlers: Mapping[str, Callable[..., Any]]) -> Any:
        """Call the function for the kind of trigger that started this invocation.

        Keys are ``http`` (or ``api``), ``queue`` (or ``event``), ``cron``, ``state``, ``stream``,
        and ``default``. Each is called as a handler is: ``(input, ctx)``, ``(input)``, ``(ctx)`` or
        ``()``. Gives what it returns: at once in a thread, to be awaited elsewhere.

        Raises:
            ValueError: there is no function for it.
        """
        kind = "" if self.trigger is None else self.trigger.type
        names = (kind, _OTHER_NAMES.get(kind, kind), "default")
        found = next((handlers[name] for name in names if handlers.get(name) is not None), None)
        if found is None:
            raise ValueError(
                f"match: nothing for a trigger of type {kind!r}, and no 'default'; there are: "
                f"{', '.join(handlers)}"
            )
        called = inspect_handler(found, what="match", lone="ctx" if kind == "cron" else "input")
        arguments = called.arguments(self.input, self)
        if self.in_thread:
            result = found(*arguments)
            return trio.from_thread.run(to_its_end, result) if isawaitable(result) else result

        async def call() -> Any:
            result = found(*arguments)
            return await result if isawaitable(result) else result

        return self.do(call)

    def get_data(self) -> Any:
        """The body of a request, the data of a message, None for cron."""
        if self.trigger is not None and self.trigger.type == "http":
            return self.input.body
        return self.input

    def time_left(self) -> float:
        """Give the seconds until :attr:`deadline`: infinite without one, negative if it is over."""
        return self.deadline - self._shared.clock.trio_time()

    @property
    def is_(self) -> Guards:
        """The guards under the names that Motia 1.0 has for them: ``ctx.is_.queue(input)``."""
        return Guards(self)

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

    def do(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T | Call[T]:
        """Do it now in a thread; give something to await elsewhere. The runtime's."""
        if self.in_thread:
            return trio.from_thread.run(make)
        call = Call(make)
        if len(self._calls) >= _KEPT_CALLS:  # a lifespan's context lives long
            self._calls = [call for call in self._calls if not call.begun]
        self._calls.append(call)
        return call

    def pending(self) -> bool:
        """Whether something was called and never awaited. The runtime's."""
        return any(not call.begun for call in self._calls)

    async def finish(self) -> None:
        """Do what was called and never awaited. The runtime's, at the end of an invocation."""
        for call in self._calls:
            if not call.begun:
                await call
