"""What a stream is declared as: its name, what its items look like, and how long they stay."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - pydantic reads it
from typing import Annotated, Any

from attrs import evolve, frozen
from pydantic import Field

from motia_trio.data import alias
from motia_trio.errors import LoadFailed, Problem
from motia_trio.steps.explaining import read_config, unknown_keys
from motia_trio.steps.raw import Name, Raw
from motia_trio.steps.schemas import Schema, SchemaInvalid, compile_schema

__all__ = ["RawStreamFile", "StreamDeclaration", "parse_stream"]


class RawStreamFile(Raw):
    """The config of a stream file. Source: motia-contract §1, the keys of public stream files."""

    name: Name
    # pydantic models have a method of that name
    schema_: Annotated[Any, Field(alias="schema")] = None
    base_config: Any = None
    # what concerns clients
    on_join: Callable[..., Any] | None = None
    on_leave: Callable[..., Any] | None = None
    can_access: Callable[..., Any] | None = None


@frozen
class StreamDeclaration:
    """A stream: its name, what its items look like, and where it was declared."""

    name: str
    source: str
    schema: Schema | None = None
    warnings: tuple[str, ...] = ()

    def placed_at(self, source: str) -> StreamDeclaration:
        """Give the same stream with another ``source``."""
        return evolve(self, source=source)


def parse_stream(config: object, *, source: str) -> StreamDeclaration:
    """Make a stream of its config. ``source`` names the file in every error.

    Raises:
        LoadFailed: with every problem of this config, not the first alone.
    """
    raw = read_config(RawStreamFile, config, source, "stream")
    if raw.name.startswith("("):
        raise LoadFailed([Problem(source, f"name: {raw.name!r}: such names are the runtime's own")])
    schema = None
    if raw.schema_ is not None:
        try:
            schema = compile_schema(raw.schema_)
        except SchemaInvalid as error:
            raise LoadFailed([Problem(source, f"schema: {error}")]) from None
    hooks = [name for name in ("onJoin", "onLeave", "canAccess") if getattr(raw, alias(name))]
    return StreamDeclaration(
        name=raw.name,
        source=source,
        schema=schema,
        warnings=(
            *unknown_keys(raw),
            *(f"{name} is not called: no client can join in this version" for name in hooks),
        ),
    )
