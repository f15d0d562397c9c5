"""From what people give as a schema to the one thing that checks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from pydantic import BaseModel, TypeAdapter

from motia_trio.steps.schemas.schema import Schema, SchemaInvalid
from motia_trio.steps.schemas.types import TypeSchema

__all__ = ["compile_schema", "schema_to_json_schema"]

_EXPECTED = (
    "a schema is a JSON Schema as a dict, a pydantic class, or a type such as list[Order], a "
    "dataclass or a TypedDict"
)


def compile_schema(given: object) -> Schema:
    """Make a schema of whatever says one. Source: motia-contract §1.

    * A JSON Schema as a dict, or True or False: the handler gets the value itself, as
      :class:`~motia_trio.data.Data`. The draft is the one of ``$schema``, 2020-12 otherwise;
      formats are asserted; defaults are not filled in; nothing is fetched.
    * A pydantic class: the handler gets an instance.
    * A pydantic ``TypeAdapter``, or anything that it takes (a dataclass, a TypedDict,
      ``list[Model]``): the handler gets what validation gives.

    Raises:
        SchemaInvalid: it is none of these, or what it says is wrong in itself.
    """
    if isinstance(given, Schema):
        return given
    if isinstance(given, bool):
        given = {} if given else {"not": {}}
    if isinstance(given, Mapping):
        # it loads jsonschema_rs, which takes 20 ms that a project without dicts need not wait
        from motia_trio.steps.schemas.json_schema import JsonSchema  # noqa: PLC0415

        return JsonSchema(given)
    if isinstance(given, TypeAdapter):
        return TypeSchema(given)
    _refuse_values(given)
    return TypeSchema(given)


def schema_to_json_schema(given: object) -> dict[str, Any]:
    """Give a schema of any kind as a JSON Schema. Source: Motia 1.0.4 has it by this name.

    Raises:
        SchemaInvalid: it is no schema.
    """
    return deepcopy(dict(compile_schema(given).json_schema))


def _refuse_values(given: object) -> None:
    """Turn away values where a type belongs: pydantic would take some of them for one."""
    shown = repr(given)
    shown = shown if len(shown) <= 80 else shown[:79] + "…"
    hint = ""
    if isinstance(given, BaseModel):
        hint = f"; give the class {type(given).__qualname__}, not an instance of it"
    elif isinstance(given, (list, tuple)):
        hint = "; a list of something is list[Something], or {'type': 'array', 'items': {…}}"
    elif isinstance(given, str):
        hint = "; read the text of a schema first; names of classes are not looked up"
    elif inspect.isroutine(given):
        hint = "; a function is none: what it validates may be a pydantic validator of a type"
    elif not isinstance(given, (bytes, int, float, complex, set, frozenset)):
        return
    raise SchemaInvalid(f"{shown}: {_EXPECTED}{hint}")
