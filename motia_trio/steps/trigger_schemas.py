"""The schemas in one step's config: each compiled once, and everything wrong gathered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from motia_trio.steps.model import QueryDoc
from motia_trio.steps.schemas import Schema, SchemaInvalid, compile_schema

__all__ = ["TriggerSchemas"]

# what tells a JSON Schema of a query from words about it
_TYPED = frozenset({
    "$defs", "$id", "$ref", "$schema", "additionalProperties", "allOf", "anyOf", "oneOf",
    "patternProperties", "properties", "required", "type",
})  # fmt: skip


class TriggerSchemas:
    """Compiles what the triggers of one step give as schemas.

    ``wrong`` has a sentence for each that is none, beginning with its key. ``key`` is where it
    stands, as ``triggers[0].bodySchema``.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        # by identity; the object is kept, so that its id stays its own
        self._compiled: dict[int, tuple[object, Schema | str]] = {}

    def schema(self, given: Any, key: str) -> Schema | None:
        """Compile a schema. None: there is none, or it is wrong."""
        if given is None:
            return None
        if id(given) not in self._compiled:
            try:
                self._compiled[id(given)] = given, compile_schema(given)
            except SchemaInvalid as error:
                self._compiled[id(given)] = given, str(error)
        compiled = self._compiled[id(given)][1]
        if isinstance(compiled, Schema):
            return compiled
        self._refuse(key, compiled)
        return None

    def query(self, given: Any, key: str) -> tuple[Schema | None, tuple[QueryDoc, ...]]:
        """Read query parameters: a schema that is checked, or words about each for documents."""
        if isinstance(given, (list, tuple)):
            return None, tuple(self._docs(given, key))
        if isinstance(given, Mapping) and not _TYPED.intersection(given) and "name" in given:
            return None, tuple(self._docs([given], key))
        if isinstance(given, Mapping) and not _TYPED.intersection(given):
            self._refuse(
                key,
                f"{given!r:.80}: expected a JSON Schema of an object (with 'type' or "
                "'properties'), a pydantic class, or a list of {'name': …, 'description': …}",
            )
            return None, ()
        schema = self.schema(given, key)
        if schema is not None and not schema.takes_objects:
            self._refuse(key, "a query is an object of its names, and this takes none")
            return None, ()
        return schema, ()

    def by_status(self, given: Any, key: str) -> dict[int, Schema]:
        """Read the schemas of responses; a status is written as int or as str."""
        if given is None:
            return {}
        if not isinstance(given, Mapping):
            self._refuse(key, f"{given!r:.80}: expected a dict of status to schema, {{200: …}}")
            return {}
        found: dict[int, Schema] = {}
        for status, item in given.items():
            number = _status(status)
            if number is None:
                self._refuse(key, f"{status!r:.80}: expected a status such as 200 or '200' as key")
                continue
            where = f"{key}[{number}]"
            if number in found:
                self._refuse(where, "is given twice")
            # None is a type to pydantic, the one of null: a response that has no body
            schema = compile_schema(None) if item is None else self.schema(item, where)
            if schema is not None:
                found[number] = schema
        return found

    def _docs(self, given: Any, key: str) -> Iterator[QueryDoc]:
        for index, item in enumerate(given):
            fields = item if isinstance(item, Mapping) else _Attributes(item)
            name, description = fields.get("name"), fields.get("description")
            if isinstance(name, str) and isinstance(description, (str, type(None))):
                yield QueryDoc(name, description or "")
            else:
                self._refuse(
                    f"{key}[{index}]",
                    f"{item!r:.80}: expected {{'name': …, 'description': …}}, both texts",
                )

    def _refuse(self, key: str, what: str) -> None:
        text = f"{key}: {what}"
        if text not in self.wrong:  # one key of the first dialect may be of several triggers
            self.wrong.append(text)


class _Attributes:
    """An object of somebody else's, such as Motia's QueryParam, asked as a mapping is."""

    def __init__(self, item: object) -> None:
        self._item = item

    def get(self, name: str) -> Any:
        return getattr(self._item, name, None)


def _status(given: object) -> int | None:
    if isinstance(given, str) and given.isascii() and given.isdecimal():
        given = int(given[:4])
    if isinstance(given, int) and not isinstance(given, bool) and 100 <= given <= 599:
        return int(given)
    return None
