"""What a stream is declared as: what its items look like, how long they stay, who may follow."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - pydantic reads it
from typing import Annotated, Any, Literal

from attrs import evolve, field, frozen
from pydantic import BeforeValidator, Field

from motia_trio.data import alias
from motia_trio.errors import LoadFailed, Problem, nearest
from motia_trio.steps.explaining import read_config, unknown_keys
from motia_trio.steps.hooks import Hook, inspect_hook
from motia_trio.steps.raw import Name, Raw, Seconds
from motia_trio.steps.schemas import Schema, SchemaInvalid, compile_schema

__all__ = ["RawStreamFile", "StreamDeclaration", "parse_stream"]

_HOOKS: tuple[Literal["canAccess", "onJoin", "onLeave"], ...] = ("canAccess", "onJoin", "onLeave")


def _number(value: object) -> object:
    """Pydantic takes True for 1, and nobody means that."""
    if isinstance(value, bool):
        raise ValueError("a number is expected")
    return value


class _RawBaseConfig(Raw):
    """``baseConfig``: where Motia keeps a stream's items."""

    storage_type: str = "default"
    # pydantic models have a method of that name
    schema_: Annotated[Any, Field(alias="schema")] = None
    # what makes a storage of one's own, and what the first one was called
    factory: Any = None
    property: Any = None


class RawStreamFile(Raw):
    """The config of a stream file. Source: motia-contract §1, the keys of public stream files."""

    name: Name
    schema_: Annotated[Any, Field(alias="schema")] = None
    base_config: _RawBaseConfig = _RawBaseConfig()
    # ours: seconds that an item stays, and how many of them a group has at the most
    ttl: Annotated[Seconds | None, BeforeValidator(_number)] = None
    max_items: Annotated[int | None, BeforeValidator(_number), Field(ge=1)] = None
    # what concerns clients
    on_join: Callable[..., Any] | None = None
    on_leave: Callable[..., Any] | None = None
    can_access: Callable[..., Any] | None = None


@frozen
class StreamDeclaration:
    """A stream: its name, where it was declared, and what holds for its items and its clients.

    ``ttl``: seconds that an item stays after it was made or set, if whoever does that says nothing
    else. ``max_items``: how many items a group has at the most; the oldest go. ``is_object``: a
    ``Stream("…")`` in some code declares it, and no file or program on purpose.
    """

    name: str
    source: str
    schema: Schema | None = None
    ttl: float | None = None
    max_items: int | None = None
    can_access: Hook | None = None
    on_join: Hook | None = None
    on_leave: Hook | None = None
    warnings: tuple[str, ...] = field(default=(), eq=False)
    is_object: bool = field(default=False, eq=False)

    @property
    def is_name_only(self) -> bool:
        """Whether it says that there is such a stream, and no more."""
        return evolve(self, name="", source="") == StreamDeclaration("", "")

    def placed_at(self, source: str) -> StreamDeclaration:
        """Give the same stream with another ``source``."""
        return evolve(self, source=source)


def parse_stream(config: object, *, source: str) -> StreamDeclaration:
    """Make a stream of its config. ``source`` names the file in every error.

    Raises:
        LoadFailed: with every problem of this config, not the first alone.
    """
    raw = read_config(RawStreamFile, config, source, "stream")
    problems: list[Problem] = []
    if (why := _misnamed(raw.name)) is not None:
        problems.append(Problem(source, f"name: {raw.name!r:.80}: {why}"))
    base = raw.base_config
    schema, key = raw.schema_, "schema"
    if schema is None:
        schema, key = base.schema_, "baseConfig.schema"
    compiled = None
    if schema is not None:
        try:
            compiled = compile_schema(schema)
        except SchemaInvalid as error:
            problems.append(Problem(source, f"{key}: {error}"))
    problems += [  # without it, anybody could follow
        Problem(source, f"unknown key {key!r}; did you mean {meant!r}?")
        for key in raw.model_extra or {}
        if (meant := nearest(key, _HOOKS)) is not None
    ]
    hooks: dict[str, Hook] = {}
    for name in _HOOKS:
        if (function := getattr(raw, alias(name))) is not None:
            try:
                hooks[alias(name)] = inspect_hook(name, function)
            except TypeError as error:
                problems.append(Problem(source, str(error)))
    if problems:
        raise LoadFailed(problems)
    return StreamDeclaration(
        name=raw.name,
        source=source,
        schema=compiled,
        ttl=raw.ttl,
        max_items=raw.max_items,
        can_access=hooks.get("can_access"),
        on_join=hooks.get("on_join"),
        on_leave=hooks.get("on_leave"),
        warnings=(*unknown_keys(raw), *_storage(base)),
    )


def _misnamed(name: str) -> str | None:
    """Why a stream cannot have a name, None if it can. The store has the same bounds."""
    if name.startswith("("):
        return "such names are the runtime's own"
    size = len(name.encode())  # pydantic has refused what is not writable so
    return f"it has {size} bytes, over the limit of 512" if size > 512 else None


def _storage(base: _RawBaseConfig) -> tuple[str, ...]:
    """What is said of a storage that there is not here."""
    if base.storage_type in {"default", "state"} and base.factory is None:
        return ()
    told = f"baseConfig: storageType {base.storage_type!r} has no effect here: "
    return (told + "the items are kept in the store, and a factory is not called",)
