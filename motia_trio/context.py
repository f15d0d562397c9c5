"""``ctx``: what a handler may do besides returning, for the length of one invocation."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio
from attrs import frozen

from motia_trio import codec
from motia_trio.data import alias
from motia_trio.events import Level, StepLogged
from motia_trio.failures import tell_error
from motia_trio.router import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from motia_trio.shared import Shared
    from motia_trio.steps import Step, Trigger

__all__ = ["Call", "Context", "Logger", "TriggerInfo", "outgoing"]

T = TypeVar("T")

_ABSENT: Any = object()
_MESSAGE_KEYS = {
    "topic": "topic",
    "data": "data",
    "messageGroupId": "group",
    "message_group_id": "group",
    "delaySeconds": "delay",
    "delay_seconds": "delay",
}
_KEPT_CALLS = 64
# what the contract promises of ctx and this version does not have yet
_LATER = frozenset({"state", "streams", "match", "ask"})


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


def outgoing(
    topic: object,
    data: object = _ABSENT,
    *,
    group: str | None = None,
    delay: float | None = None,
) -> list[Outgoing]:
    """Make what is to be published of any of the forms that ``enqueue`` takes.

    ``(topic, data)``, ``({"topic": …, "data": …})`` or a list of the latter. ``delay`` in seconds.

    Raises:
        TypeError, ValueError: a form, a key or a value that does not fit.
        NotEncodable: the data has no JSON form.
    """
    if isinstance(topic, str):
        return [_one(topic, None if data is _ABSENT else data, group, delay)]
    if data is not _ABSENT or group is not None or delay is not None:
        raise TypeError("enqueue(message) takes no more arguments; they are keys of the message")
    messages = topic if isinstance(topic, Sequence) else [topic]
    return [_of_mapping(message) for message in messages]


def _of_mapping(message: object) -> Outgoing:
    if not isinstance(message, Mapping):
        raise TypeError(
            f"enqueue takes {{'topic': …, 'data': …}} or (topic, data), not {message!r:.80}"
        )
    fields: dict[str, Any] = {}
    for key, value in message.items():
        if key not in _MESSAGE_KEYS:
            raise ValueError(
                f"enqueue does not know the key {key!r}; it knows topic, data, messageGroupId "
                "and delaySeconds"
            )
        fields[_MESSAGE_KEYS[key]] = value
    if "topic" not in fields:
        raise ValueError(f"enqueue needs a topic: {message!r:.80}")
    return _one(fields["topic"], fields.get("data"), fields.get("group"), fields.get("delay"))


def _one(topic: object, data: object, group: object, delay: object) -> Outgoing:
    if not isinstance(topic, str) or not topic:
        raise ValueError(f"a topic is a non-empty string, not {topic!r}")
    if group is not None and not isinstance(group, str):
        raise ValueError(f"messageGroupId is a string, not {group!r}")
    if delay is not None:
        number = isinstance(delay, (int, float)) and not isinstance(delay, bool)
        if not number or not 0 <= delay < float("inf"):  # type: ignore[operator]
            raise ValueError(f"delaySeconds is a number of seconds from 0, not {delay!r}")
        try:
            delay = float(delay)  # type: ignore[arg-type]
        except OverflowError:
            raise ValueError("delaySeconds is more than there is time") from None
    return Outgoing(topic, codec.encode(data), group, delay)


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
    ) -> None:
        self._shared = shared
        self._step = step
        self._hops = hops
        self._thread = thread
        self._input = input
        self._calls: list[Call[Any]] = []
        self._logger: Logger | None = None
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
            f"ctx has no {name!r}; it has enqueue, emit, logger, trace_id, trigger, get_data(), "
            "is_http(), is_queue(), is_cron(), is_state(), is_stream(), flows, resources",
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

    def enqueue(
        self,
        topic: Any,
        data: Any = _ABSENT,
        *,
        group: str | None = None,
        delay: float | None = None,
    ) -> Any:
        """Publish ``({"topic", "data", …})``, ``(topic, data)``, or a list of the former.

        Gives the message id (a list of them for a list) once the messages are kept. ``delay`` is
        in seconds; ``group`` is the group within which a fifo queue keeps the order.

        Raises:
            TypeError, ValueError: a form, a key or a value that does not fit.
            NotEncodable: the data has no JSON form; the error names the path.
            MessageTooLarge: the data is over ``message_limit``.
        """
        batch = outgoing(topic, data, group=group, delay=delay)
        single = isinstance(topic, (str, Mapping))

        async def publish() -> str | list[str]:
            ids = await self._shared.router.publish(
                batch, trace_id=self.trace_id, sender=self._step, hops=self._hops + 1
            )
            return ids[0] if single else ids

        return self._do(publish)

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

    def _do(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T | Call[T]:
        """Do it now in a thread; give something to await elsewhere."""
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
