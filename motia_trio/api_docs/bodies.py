"""What a schema tells of the body, or the query, that it is for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motia_trio.api_docs.drafts import Node
    from motia_trio.api_docs.schemas import Schemas

__all__ = ["JSON", "answer_types", "query_parameters", "request_types", "takes_nothing"]

JSON = "application/json"
_BRANCHES = ("anyOf", "oneOf")
# what a field of a form can be read as
_PLAIN = frozenset({"string", "integer", "number", "boolean", "null"})


def request_types(schema: Node, schemas: Schemas) -> tuple[str, ...]:
    """Give the content types in which a body of this schema may come.

    An object of plain values may come as a form, too; one with a file in it can come as that alone.
    """
    found = schemas.resolve(schema)
    fields = found.get("properties")
    if not fields or found.get("type") != "object":
        return (JSON,)
    types = {kind for field in fields.values() for kind in _types(field, schemas)}
    if "binary" in types:
        return ("multipart/form-data",)
    return (JSON, "application/x-www-form-urlencoded") if types <= _PLAIN else (JSON,)


def answer_types(schema: Node, schemas: Schemas) -> tuple[str, ...]:
    """Give the content types in which an answer of this schema goes out.

    A str goes as a text, bytes as such, all else as JSON. Source: motia-contract §4.
    """
    types = set(_types(schema, schemas))
    if types == {"binary"}:
        return ("application/octet-stream",)
    if "any" in types:
        return ("*/*",)
    if "string" in types:
        return (JSON, "text/*")
    return (JSON,)


def _types(schema: Any, schemas: Schemas, depth: int = 8) -> Iterator[str]:
    """The types of what fits a schema: JSON's, ``any`` or ``binary``."""
    if isinstance(schema, bool):
        yield "any"
        return
    found = schemas.resolve(schema)
    if "type" in found:
        types = found["type"] if isinstance(found["type"], list) else [found["type"]]
        for kind in types:
            yield "binary" if kind == "string" and found.get("format") == "binary" else kind
        return
    if depth and (branches := [b for key in _BRANCHES for b in found.get(key, ())]):
        for branch in branches:
            yield from _types(branch, schemas, depth - 1)
        return
    for part in found.get("allOf", ()) if depth else ():
        kinds = set(_types(part, schemas, depth - 1))
        if "any" not in kinds:
            yield from kinds
            return
    if "const" in found or "enum" in found:
        values = [found["const"]] if "const" in found else found["enum"]
        yield from (_type_of(value) for value in values)
        return
    yield "object" if "properties" in found else "any"


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, (str, bool, int, float)):
        return "string" if isinstance(value, str) else "number"
    return "object"


def takes_nothing(schema: Node, schemas: Schemas, nothing: object) -> bool:
    """Tell whether a request may have no body at all: ``nothing`` is what is checked then."""
    if nothing is None:
        return bool({"null", "any"} & set(_types(schema, schemas)))
    found = schemas.resolve(schema)
    takes_objects = bool({"object", "any"} & set(_types(found, schemas)))
    return takes_objects and not found.get("required")


def query_parameters(schema: Node, schemas: Schemas) -> Iterator[dict[str, Any]]:
    """Give the Parameter Objects of a query: one for each field of the schema.

    A schema that is no plain object is one parameter, whose fields are spread over the query.
    """
    found = schemas.resolve(schema)
    fields = found.get("properties")
    if not fields or any(key in found for key in (*_BRANCHES, "allOf", "if", "not")):
        yield {"name": "query", "in": "query", "style": "form", "explode": True, "schema": schema}
        return
    required = found.get("required", ())
    for name, field in fields.items():
        told = _without_null(field) if isinstance(field, dict) else field
        about = {}
        if isinstance(told, dict) and "description" in told:
            about["description"] = told.pop("description")
        parameter = {"name": name, "in": "query", "required": name in required, **about}
        yield {**parameter, "schema": told}


def _without_null(schema: Node) -> Node:
    """A field that may be left out, as pydantic writes it, without the null no query can send."""
    kept = [b for b in schema.get("anyOf", ()) if b != {"type": "null"}]
    if len(kept) == len(schema.get("anyOf", ())):
        return dict(schema)
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    if rest.get("default", ...) is None:
        del rest["default"]
    return {**rest, **kept[0]} if len(kept) == 1 else {**rest, "anyOf": kept}
