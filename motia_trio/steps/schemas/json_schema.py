"""JSON Schemas that are given as dicts, checked by jsonschema_rs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from enum import Enum
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Any

import jsonschema_rs
from pydantic_core import to_json

from motia_trio import codec
from motia_trio.data import wrap
from motia_trio.errors import DoesNotFit, Misfit, nearest
from motia_trio.steps.schemas.misfits import MASK, from_json_schema, misfit, words
from motia_trio.steps.schemas.references import is_recursive, references
from motia_trio.steps.schemas.schema import Schema, SchemaInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["JsonSchema"]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
# steps of a pattern that goes back, 10 ns each; past them a string counts as one that does not fit
_BACKTRACKS = 100_000
# jsonschema_rs tells no errors of values that are deeper, and on much deeper ones it would overrun
# the stack, where a schema refers to itself and so follows them down
_DEEPEST = 255
# an error costs 15 to 30 µs to tell, and jsonschema_rs tells all or one. So of a value with more
# parts than this only the first is told: to refuse a flood must not cost more than the flood
_MOST_PARTS = 2_000
_TOO_DEEP = Misfit("", "is nested too deeply to be checked")


class JsonSchema(Schema):
    """A JSON Schema of the draft that it names, of 2020-12 without one. Formats are asserted.

    The handler gets the value itself, with dicts as :class:`~motia_trio.data.Data`. Defaults in the
    schema are not filled in. Nothing is ever fetched: references lead to parts of the schema.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._schema: dict[str, Any] = _plain(given, "", 0)
        self._validator = _compile(self._schema)
        self._recursive = is_recursive(self._schema)
        self._alternatives = _mentions(self._schema, {"anyOf", "oneOf"})

    @property
    def json_schema(self) -> Mapping[str, Any]:
        """The schema, as it was given; what happened to that dict later is not in it."""
        return self._schema

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsonSchema) and self._schema == other._schema

    def __hash__(self) -> int:
        return hash(frozenset(self._schema))

    def __repr__(self) -> str:
        return f"<JSON Schema {to_json(self._schema).decode():.80}>"

    def check(self, value: Any) -> Any:
        """Give the value, if it fits."""
        if self._recursive and _deeper_than(value, _DEEPEST):
            raise DoesNotFit([_TOO_DEEP])
        looked_at, fits = value, self._fits(value)
        if fits is None:
            looked_at = _as_json(value)
            fits = self._fits(looked_at)
        if not fits:
            raise self._misfits(looked_at)
        return wrap(value)

    def check_json(self, raw: bytes) -> Any:
        """Give the decoded value, if it fits."""
        return self.check(codec.decode(raw))

    def _fits(self, value: Any) -> bool | None:
        """Whether a value fits. None: it cannot be told, for some part of it is no JSON value."""
        try:
            return self._validator.is_valid(value)
        except ValueError:
            return None

    def _misfits(self, value: Any) -> DoesNotFit:
        try:
            if _has_more_parts(value, _MOST_PARTS):
                return self._first_of_many(value)
            return from_json_schema(self._validator.iter_errors(value))
        except ValueError:  # to tell what does not fit, it would have to be taken apart
            return DoesNotFit([_TOO_DEEP])

    def _first_of_many(self, value: Any) -> DoesNotFit:
        rest = f"it has more than {_MOST_PARTS:,} parts, of which no more is told"
        if self._alternatives:  # each would be told with all that does not fit it
            return DoesNotFit([Misfit("", f"does not fit; {rest}")])
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            found = from_json_schema([error])
            return DoesNotFit([*found.misfits, Misfit("", rest)])
        raise RuntimeError("jsonschema_rs refused a value and took it")


def _as_json(value: Any) -> Any:
    """A value as the JSON that it would be. A file of a form is a string, as in OpenAPI."""
    try:
        return codec.decode(to_json(value, bytes_mode="base64", fallback=lambda _: ""))
    except (ValueError, RecursionError):
        raise DoesNotFit([_TOO_DEEP]) from None


def _compile(schema: dict[str, Any]) -> jsonschema_rs.Validator:
    _check_against_its_draft(schema)
    try:
        return jsonschema_rs.validator_for(
            schema,
            validate_formats=True,
            offline=True,
            mask=MASK,
            pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=_BACKTRACKS),
        )
    except jsonschema_rs.ValidationError as error:
        if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Referencing):
            raise SchemaInvalid(_of_reference(schema, error.message)) from None
        raise SchemaInvalid(str(misfit(error.instance_path, words(error)))) from None
    except ValueError as error:
        raise SchemaInvalid(str(error)) from None


def _check_against_its_draft(schema: dict[str, Any]) -> None:
    draft = schema.get("$schema", _DRAFT)
    if not isinstance(draft, str):
        raise SchemaInvalid(f"$schema: {draft!r:.80}: should be the address of a draft")
    errors = list(islice(_of_draft(draft).iter_errors(schema), 20))
    if errors:
        raise SchemaInvalid("; ".join(dict.fromkeys(map(_of_schema, errors))))


@lru_cache(maxsize=8)
def _of_draft(draft: str) -> jsonschema_rs.Validator:
    try:
        return jsonschema_rs.validator_for(
            {"$schema": draft, "$ref": draft}, validate_formats=True, offline=True, mask=MASK
        )
    except ValueError:
        raise SchemaInvalid(
            f"$schema: {draft!r:.80}: no such draft is known; leave it out for 2020-12"
        ) from None


def _of_schema(error: jsonschema_rs.ValidationError) -> str:
    """What is wrong in a schema, with what stands there."""
    path = misfit(error.instance_path, "").path
    text = to_json(error.instance).decode()
    text = text if len(text) <= 80 else text[:79] + "…"
    if error.instance_path[-1:] == ["type"] and error.kind.name in {"anyOf", "enum"}:
        close = nearest(str(error.instance), _TYPES)
        hint = f"; did you mean {close!r}?" if close else ""
        return f"{path}: {text}: no such type; there are {', '.join(_TYPES)}{hint}"
    return f"{path}: {text}: {words(error)}" if path else words(error)


def _of_reference(schema: dict[str, Any], reason: str) -> str:
    """A reference that leads nowhere. The library does not say where it stands, so it is sought."""
    for path, reference in references(schema):
        whole = reference.removeprefix("#")
        if f"{whole}'" not in reason and f"{whole.partition('#')[0]}'" not in reason:
            continue
        where = f"{path}.$ref" if path else "$ref"
        if reference.startswith("#"):
            return f"{where}: {reference!r} leads to nothing in the schema"
        return (
            f"{where}: {reference!r} leads out of the schema, and nothing is fetched; "
            "put what it means below $defs and refer to it as '#/$defs/…'"
        )
    return f"$ref: {reason}"


def _plain(value: Any, path: str, depth: int) -> Any:
    """A copy of a schema of JSON values alone."""
    if depth > _DEEPEST:
        raise SchemaInvalid(f"{path[:80]}…: is nested too deeply, or contains itself")
    if isinstance(value, Mapping):
        return dict(_plain_items(value, path, depth))
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
    if isinstance(value, Enum):
        return _plain(value.value, path, depth)
    if isinstance(value, float) and not math.isfinite(value):
        raise SchemaInvalid(f"{path}: {value}: has no JSON form")
    if value is None or isinstance(value, (bool, int, float, str)):
        return deepcopy(value)
    hint = ""
    if isinstance(value, type):
        hint = "; a JSON Schema names types as texts, such as 'integer', or give the class alone"
    raise SchemaInvalid(f"{path}: {value!r:.80}: is no part of a JSON Schema{hint}")


def _plain_items(value: Mapping[Any, Any], path: str, depth: int) -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if not isinstance(key, str):
            raise SchemaInvalid(f"{path or 'the schema'}: key {key!r:.80}: should be a string")
        text = key.value if isinstance(key, Enum) else key
        yield str(text), _plain(item, f"{path}.{key}" if path else str(key), depth + 1)


def _mentions(schema: Any, keys: set[str]) -> bool:
    unseen = [schema]
    while unseen:
        part = unseen.pop()
        if isinstance(part, dict):
            if not keys.isdisjoint(part):
                return True
            unseen += part.values()
        elif isinstance(part, list):
            unseen += part
    return False


def _levels(value: Any) -> Iterator[list[Any]]:
    """The containers of a decoded JSON value, level by level."""
    level = [value] if isinstance(value, (dict, list)) else []
    while level:
        yield level
        level = [
            item
            for part in level
            for item in (part.values() if isinstance(part, dict) else part)
            if isinstance(item, (dict, list))
        ]


def _deeper_than(value: Any, levels: int) -> bool:
    return next(islice(_levels(value), levels, None), None) is not None


def _has_more_parts(value: Any, most: int) -> bool:
    count = 0
    for level in _levels(value):
        for part in level:
            count += len(part)
            if count > most:
                return True
    return False
