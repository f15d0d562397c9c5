"""Queries and forms: strings are read as what a JSON Schema wants."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from math import isfinite
from typing import Any

from motia_trio.steps.schemas.references import resolve

__all__ = ["Strings"]

_ALL = frozenset({"null", "boolean", "integer", "number", "string", "array", "object"})
_INTEGER = re.compile(r"-?[0-9]{1,4000}")
_NUMBER = re.compile(r"-?[0-9]{1,4000}(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_STRING = frozenset({"string"})
# the words that pydantic takes for a boolean
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "on", "yes", "t", "y"), True),
    **dict.fromkeys(("false", "0", "off", "no", "f", "n"), False),
}
# how many names are remembered: those that clients make up must not fill the memory
_MOST_NAMES = 256
# how deep a look goes: what lies deeper may be anything
_DEEPEST = 32


class Strings:
    """Reads strings by one JSON Schema.

    What a string can stay, it stays: only where the schema takes no string, or not this one, it
    becomes a null (of ``""`` or ``null``), an integer, a number, a boolean, or a list. Where
    nothing fits it stays as it is, so that the check tells of it.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._known: dict[str, tuple[frozenset[str], frozenset[str]]] = {}

    def read(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Give the values, with the strings among them read."""
        return {name: self._read(name, value) for name, value in values.items()}

    @property
    def takes_objects(self) -> bool:
        """Whether the schema takes objects at all."""
        return "object" in _Look(self._schema).kinds(self._schema)

    def _read(self, name: str, value: Any) -> Any:
        kinds, of_items = self._wanted(name)
        if isinstance(value, list) and "array" in kinds:
            return [
                self._first(name, text, of_items, in_list=True) if isinstance(text, str) else text
                for text in value
            ]
        if not isinstance(value, str):
            return value
        if "array" in kinds and "string" not in kinds and "null" not in kinds:
            return [self._first(name, value, of_items, in_list=True)]
        read = self._first(name, value, kinds)
        if read is value and "array" in kinds and not self._fits(name, value):
            return [self._first(name, value, of_items, in_list=True)]
        return read

    def _wanted(self, name: str) -> tuple[frozenset[str], frozenset[str]]:
        """The kinds of value that may stand under a name, and those of its items, if a list."""
        if name in self._known:
            return self._known[name]
        look = _Look(self._schema)
        part = look.part(self._schema, name)
        wanted = look.kinds(part), look.kinds(look.part(part, None))
        if len(self._known) < _MOST_NAMES:
            self._known[name] = wanted
        return wanted

    def _first(self, name: str, text: str, kinds: frozenset[str], *, in_list: bool = False) -> Any:
        """The first reading of a string that fits, or the string."""
        if kinds in (_STRING, _ALL):
            return text
        readings = list(_readings(text, kinds))
        if len(readings) > 1:
            readings = [r for r in readings if self._fits(name, [r] if in_list else r)]
        return readings[0] if readings else text

    def _fits(self, name: str, value: Any) -> bool:
        """Whether a value has no misfit in its place; what else may be missing does not count."""
        if self._validator is None:
            return True
        found = self._validator.iter_errors({name: value})
        return all(error.instance_path[:1] != [name] for error in found)

    @cached_property
    def _validator(self) -> Any:
        """What tells readings apart, where there are several."""
        import jsonschema_rs  # noqa: PLC0415 - seldom needed, and it takes 20 ms

        try:
            return jsonschema_rs.validator_for(
                dict(self._schema), offline=True, validate_formats=True
            )
        except ValueError:  # of a type of pydantic's whose pattern only Python understands
            return None


def _readings(text: str, kinds: frozenset[str]) -> Iterator[Any]:
    if "string" in kinds:
        yield text
    if "null" in kinds and text in {"", "null"}:
        yield None
    if kinds & {"integer", "number"} and _INTEGER.fullmatch(text):
        yield int(text)
    elif "number" in kinds and _NUMBER.fullmatch(text) and isfinite(number := float(text)):
        yield number
    if "boolean" in kinds and text.lower() in _BOOLEANS:
        yield _BOOLEANS[text.lower()]


def _kind(value: object) -> str:
    if value is None or isinstance(value, (bool, str)):
        return {type(None): "null", bool: "boolean"}.get(type(value), "string")
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) else "number"
    return "array" if isinstance(value, list) else "object"


def _branches(schema: Mapping[str, Any]) -> Iterator[list[Any]]:
    """The alternatives of a schema: one list for each place where they stand."""
    for key in ("anyOf", "oneOf"):
        if isinstance(schema.get(key), list):
            yield schema[key]
    yield from ([each] for each in schema.get("allOf", []))


class _Look:
    """One look into a schema. It comes by each reference once, whatever circles they go in."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._kinds_of: dict[str, frozenset[str]] = {}
        self._parts_of: dict[tuple[str, str | None], Any] = {}

    def kinds(self, schema: Any, depth: int = 0) -> frozenset[str]:
        """The kinds of value that a schema takes, as far as can be told without a value."""
        if schema is False or (isinstance(schema, Mapping) and schema.get("not") == {}):
            return frozenset()
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            return _ALL
        kinds = _ALL
        if (given := schema.get("type")) is not None:
            kinds = frozenset([given] if isinstance(given, str) else given)
            if "number" in kinds:
                kinds |= {"integer"}
        if "enum" in schema:
            kinds &= frozenset(map(_kind, schema["enum"]))
        if "const" in schema:
            kinds &= {_kind(schema["const"])}
        if "$ref" in schema:
            kinds &= self._kinds_behind(schema["$ref"], depth)
        for branches in _branches(schema):
            kinds &= frozenset().union(*(self.kinds(each, depth + 1) for each in branches))
        return kinds

    def _kinds_behind(self, reference: str, depth: int) -> frozenset[str]:
        if reference not in self._kinds_of:
            self._kinds_of[reference] = _ALL  # what a circle says of itself
            target = resolve(self._root, reference)
            self._kinds_of[reference] = self.kinds(target, depth + 1)
        return self._kinds_of[reference]

    def part(self, schema: Any, name: str | None, depth: int = 0) -> Any:
        """The schema for the value under a name (None: for the items of a list)."""
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            return True
        parts: list[Any] = []
        if name is None:
            parts += [schema["items"]] if isinstance(schema.get("items"), Mapping) else []
        elif name in schema.get("properties", {}):
            parts.append(schema["properties"][name])
        else:
            parts += _unnamed(schema, name)
        if "$ref" in schema:
            parts.append(self._part_behind(schema["$ref"], name, depth))
        # a branch that takes no such value, or does not speak of it, does not say what to read
        container = "array" if name is None else "object"
        for branches in _branches(schema):
            fitting = [each for each in branches if container in self.kinds(each, depth + 1)]
            said = [self.part(each, name, depth + 1) for each in fitting]
            if said := [part for part in said if part is not True]:
                parts.append({"anyOf": said})
        parts = [part for part in parts if part is not True]
        return {"allOf": parts} if parts else True

    def _part_behind(self, reference: str, name: str | None, depth: int) -> Any:
        key = reference, name
        if key not in self._parts_of:
            self._parts_of[key] = True
            self._parts_of[key] = self.part(resolve(self._root, reference), name, depth + 1)
        return self._parts_of[key]


def _unnamed(schema: Mapping[str, Any], name: str) -> Iterator[Any]:
    """What is said of a name that is not among the properties."""
    found = False
    for pattern, part in schema.get("patternProperties", {}).items():
        try:
            found = re.search(pattern, name) is not None
        except re.error:  # a pattern that is JavaScript's alone
            continue
        if found:
            yield part
    if not found and isinstance(schema.get("additionalProperties"), Mapping):
        yield schema["additionalProperties"]
