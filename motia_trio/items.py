"""``ctx.state`` and ``ctx.streams``: groups of keys of JSON values, durable.

Source of the methods and of what they give: motia-contract §6 and §7.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import trio
from attrs import evolve

from motia_trio import codec
from motia_trio.data import Nothing, alias
from motia_trio.errors import DoesNotFit, UnknownStream, ValueTooLarge
from motia_trio.store import Clear, Place, Put, Remove, Update, check_name, parse_ops
from motia_trio.stream_events import channel_of, event_json

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence

    from motia_trio.access import Access
    from motia_trio.steps import Schema, StreamDeclaration
    from motia_trio.store import Change, Item, Write

__all__ = [
    "Caller",
    "Collection",
    "Ready",
    "State",
    "Stream",
    "Streams",
    "ToAwait",
    "Unwrapping",
    "stream_of",
]

T = TypeVar("T")


class ToAwait:
    """Something to await, which says so where it is taken for what it will give."""

    __slots__ = ()

    def _say(self, *_: object) -> Any:
        raise TypeError("this is a result to await: is an await missing?")

    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __call__ = _say

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what Python itself asks for
            raise AttributeError(name)
        raise AttributeError(
            f"no {name!r} here: this is a result to await: is an await missing?", name=name
        )


class Ready(ToAwait, Generic[T]):
    """A result that is there already. Awaiting it gives it, and is no checkpoint."""

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value = value

    def __await__(self) -> Generator[Any, Any, T]:
        return self._value
        yield  # type: ignore[unreachable]  # what makes it a generator


class Caller(Protocol):
    """Who calls a collection: on the Trio thread, or in a thread where calls do their work."""

    @property
    def in_thread(self) -> bool:
        """Whether a call does its work and gives the result, rather than something to await."""
        ...

    def do(self, make: Callable[[], Coroutine[Any, Any, T]]) -> Any:
        """Do it now in a thread; give something to await elsewhere."""
        ...


class Unwrapping(dict[str, Any]):
    """A value as the first dialect gets it: ``["data"]`` is itself where it has no such key.

    Source: half of the public steps that read state unwrap it this way (motia-contract §5).
    """

    __slots__ = ()

    def __missing__(self, key: str) -> Any:
        if key == "data":
            return self
        raise KeyError(key)

    def get(self, key: str, default: Any = None, /) -> Any:
        """Give the value of a key, or ``default``."""
        return self[key] if key in self or key == "data" else default


class Collection:
    """Groups of keys of JSON values. Names are strings of up to 512 bytes.

    Calls from a handler in a thread do their work and give the result; elsewhere they give
    something to await. What is written is durable when the call returns, unless the step is
    transactional. Every method also answers to its camelCase name.
    """

    __slots__ = (
        "_access", "_caller", "_first_dialect", "_keep", "_limit", "_now", "_schema", "_space",
        "_ttl",
    )  # fmt: skip

    def __init__(
        self,
        space: str,
        access: Access,
        caller: Caller,
        *,
        now: Callable[[], float],
        limit: int,
        first_dialect: bool = False,
        schema: Schema | None = None,
        ttl: float | None = None,
        keep: int | None = None,
    ) -> None:
        self._space = space
        self._access = access
        self._caller = caller
        self._now = now
        self._limit = limit
        self._first_dialect = first_dialect
        self._schema = schema
        self._ttl = ttl
        self._keep = keep

    def __getattr__(self, name: str) -> Any:
        other = alias(name)
        if other != name and not other.startswith("_") and hasattr(type(self), other):
            return getattr(self, other)
        names = [each for each in dir(type(self)) if not each.startswith("_")]
        raise AttributeError(
            f"{self._what()} has no {name!r}; it has {', '.join(names)}", name=name, obj=self
        )

    def __repr__(self) -> str:
        return f"<{self._what()}>"

    def _what(self) -> str:
        return f"stream {self._space!r}" if self._space else "state"

    # reads

    def get(self, group: str, key: str) -> Any:
        """Give the value of a key, None without one. Does not wait.

        A step of the first dialect gets a dict that answers ``["data"]`` with itself, and for
        nothing something falsy that answers ``["data"]`` with None.
        """
        if self._caller.in_thread:
            return trio.from_thread.run_sync(self._get, group, key)
        return Ready(self._get(group, key))

    def list(self, group: str) -> Any:
        """Give the values of a group, in the order of their keys. Does not wait."""
        return self._look(self._list, check_name("group", group))

    get_group = list  # noqa: A003 - the method above

    def keys(self, group: str) -> Any:
        """Give the keys of a group, in order. Does not wait."""
        return self._look(self._keys, check_name("group", group))

    def list_groups(self) -> Any:
        """Give the names of the groups that have a key, in order. Does not wait."""
        return self._look(self._groups)

    def _look(self, read: Callable[..., T], *args: Any) -> T | Ready[T]:
        if self._caller.in_thread:
            return trio.from_thread.run_sync(read, *args)
        return Ready(read(*args))

    def _get(self, group: str, key: str) -> Any:
        if type(group) is not str or type(key) is not str:
            self._place(group, key)
        try:
            # a plain tuple is as good as a Place, and made in a tenth of the time
            item = self._access.read((self._space, group, key))  # type: ignore[arg-type]
        except UnicodeEncodeError:
            item = None
        if item is None:  # what is there has a name that may be
            self._place(group, key)
        if self._first_dialect and self._space == "":
            return _unwrapping(item)
        return None if item is None else codec.decode(item.value)

    def _list(self, group: str) -> Any:
        found = self._access.items(self._space, group)
        return [codec.decode(item.value) for item in found.values()]

    def _keys(self, group: str) -> Any:
        return [*self._access.items(self._space, group)]

    def _groups(self) -> Any:
        return [*self._access.groups(self._space)]

    # writes

    def set(self, group: str, key: str, value: Any, ttl: float | None = None) -> Any:
        """Keep a value, for ``ttl`` seconds if given. Gives ``{"new_value", "old_value"}``.

        In a stream that has a ``ttl`` of its own, that holds where none is given. Where a stream's
        group has ``max_items`` already, a new item makes the oldest go, in the same step.

        Raises:
            NotEncodable: the value has no JSON form; the error names the path.
            ValueTooLarge: it is over ``message_limit``.
            DoesNotFit: it is an item of a stream, and does not fit its schema.
        """
        place = self._place(group, key)
        raw = codec.encode(value)
        if len(raw) > self._limit:
            raise ValueTooLarge(
                f"{self._what()} {group!r}, {key!r}: {len(raw)} bytes are over the limit of "
                f"{self._limit}; raise message_limit, or keep the value in parts"
            )
        self._check(raw)
        expires_at = self._expiry(self._ttl if ttl is None else _seconds(ttl))
        return self._do(Put(place, raw, expires_at, keep=self._keep), self._both)

    def delete(self, group: str, key: str) -> Any:
        """Remove a key, and give the value it had (None: there was none)."""
        return self._do(Remove(self._place(group, key)), _old)

    def update(self, group: str, key: str, ops: Any) -> Any:
        """Apply operations to the value of a key, all or none, as one step.

        ``ops`` are ``{"type": "increment", "path": "n", "by": 2}`` and the like: set, merge,
        increment, decrement, append, remove. Gives ``{"new_value", "old_value"}``.

        Raises:
            UpdateInvalid: an operation is unknown, or does not fit the value.
            ValueTooLarge: the value would be over ``message_limit``.
            DoesNotFit: it would not fit the stream's schema.
        """
        # as JSON has it: what has no such form is told here, and what is changed later is not kept
        parsed = [evolve(op, value=codec.decode(codec.encode(op.value))) for op in parse_ops(ops)]
        check = None if self._schema is None else self._check
        write = Update(
            self._place(group, key),
            parsed,
            self._limit,
            check,
            keep=self._keep,
            expires_at=self._expiry(self._ttl),
        )
        return self._do(write, self._both)

    def clear(self, group: str) -> Any:
        """Remove every key of a group, and give how many there were."""
        return self._do(Clear(self._space, check_name("group", group)), len)

    def _expiry(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._now() + ttl

    def _check(self, raw: bytes) -> None:
        """Refuse an item that does not fit the schema."""
        if self._schema is None:
            return
        try:
            self._schema.check_json(raw)
        except DoesNotFit as error:
            error.add_note(f"an item of {self._what()} has to fit its schema")
            raise

    def _place(self, group: str, key: str) -> Place:
        return Place(self._space, check_name("group", group), check_name("key", key))

    def _do(self, write: Write, tell: Callable[[Sequence[Change]], Any]) -> Any:
        async def keep() -> Any:
            changes = await self._access.write(write)
            return tell([change for change in changes if _is_of(change, write)])

        return self._caller.do(keep)

    def _both(self, changes: Sequence[Change]) -> Any:
        new, old = (
            (_decoded(changes[-1].new), _decoded(changes[-1].old)) if changes else (None,) * 2
        )
        if self._first_dialect and self._space:
            return new
        return {"new_value": new, "old_value": old}


class State(Collection):
    """The state of the project: ``ctx.state`` and ``rt.state``."""

    __slots__ = ()


class Stream(Collection):
    """The items of one stream, and those who follow them. Items are durable as state is."""

    __slots__ = ()

    def send(self, channel: str | Mapping[str, Any], event: Mapping[str, Any]) -> Any:
        """Tell those who follow a group, or one item of it, of an event. It is not kept.

        ``channel`` is the group, or ``{"groupId": …, "id"?: …}``; ``event`` is ``{"type": …,
        "data": …}``. Steps with a stream trigger that fits get it, too, durably. In a transactional
        step it is sent when all is kept.

        Raises:
            TypeError, ValueError: a form or a name that does not fit.
            NotEncodable: the data has no JSON form; the error names the path.
            ValueTooLarge: the event is over ``message_limit``.
            StoreBroken: the messages for the steps could not be kept; nothing was sent.
        """
        group, key = channel_of(channel)
        raw = event_json(event, self._limit)

        async def send() -> None:
            await self._access.send(self._space, group, key, raw)

        return self._caller.do(send)

    def presence(self, group: str) -> Any:
        """Give the number of connections that follow a group, or an item of it. Does not wait."""
        return self._look(self._access.presence, self._space, check_name("group", group))


class Streams:
    """The streams that are declared: ``ctx.streams.chat`` or ``ctx.streams["chat"]``.

    ``in`` and iteration are over their names. Asking for another is an
    :class:`~motia_trio.UnknownStream`.
    """

    __slots__ = ("_declared", "_make")

    def __init__(
        self,
        declared: Mapping[str, StreamDeclaration],
        make: Callable[[StreamDeclaration], Stream],
    ) -> None:
        self._declared = declared
        self._make = make

    def __getitem__(self, name: str) -> Stream:
        if check_name("stream", name).startswith("("):  # where the runtime keeps its own
            raise ValueError(
                f"a stream's name does not begin with '(': {name!r:.80}; such are not for streams"
            )
        if (declared := self._declared.get(name)) is None:
            raise UnknownStream(name, self._declared)
        return self._make(declared)

    def __getattr__(self, name: str) -> Stream:
        if name.startswith("_"):
            raise AttributeError(name)
        return self[name]

    def __contains__(self, name: object) -> bool:
        return name in self._declared

    def __iter__(self) -> Iterator[str]:
        return iter(self._declared)

    def __dir__(self) -> Iterator[str]:
        return iter(self._declared)


def stream_of(declared: StreamDeclaration, access: Access, caller: Caller, **manner: Any) -> Stream:
    """Make a stream of its declaration; ``manner`` are the other keywords of a collection."""
    return Stream(
        declared.name,
        access,
        caller,
        schema=declared.schema,
        ttl=declared.ttl,
        keep=declared.max_items,
        **manner,
    )


def _unwrapping(item: Item | None) -> Any:
    if item is None:
        return Nothing()
    value = codec.decode(item.value)
    return Unwrapping(value) if isinstance(value, dict) else value


def _is_of(change: Change, write: Write) -> bool:
    """Whether a change is what a write was for, and not of an older item that went with it."""
    if change.expired:
        return False
    return isinstance(write, Clear) or change.place == write.place


def _decoded(raw: bytes | None) -> Any:
    return None if raw is None else codec.decode(raw)


def _old(changes: Sequence[Change]) -> Any:
    return _decoded(changes[-1].old) if changes else None


def _seconds(ttl: object) -> float:
    try:
        if isinstance(ttl, (int, float)) and not isinstance(ttl, bool):
            seconds = float(ttl)
            if isfinite(seconds) and seconds > 0:
                return seconds
    except OverflowError:
        pass
    raise ValueError(f"ttl is a number of seconds over 0, not {ttl!r:.80}")
