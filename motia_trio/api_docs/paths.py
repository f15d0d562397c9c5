"""From the paths of routes to the templates of OpenAPI. Pure."""

from __future__ import annotations

from typing import Any, TypeAlias
from urllib.parse import quote, unquote

from attrs import define, evolve, field, frozen

from motia_trio.api_docs.names import unique

__all__ = ["Parameter", "PathItem", "Paths"]

# a segment that is written, or None where any may stand
Shape: TypeAlias = tuple[str | None, ...]


@frozen
class Parameter:
    """A parameter of a path: its name in the document, and that which its step knows it by."""

    name: str
    own: str
    takes_slashes: bool = False

    def as_object(self) -> dict[str, Any]:
        """Give the Parameter Object."""
        schema: dict[str, Any] = {"type": "string"}
        words = [] if self.name == self.own else [f"`{self.own}` in the step."]
        if self.takes_slashes:
            words.append("All that follows: it may have slashes in it, or be empty.")
        else:
            schema["minLength"] = 1
        told = {"description": " ".join(words)} if words else {}
        return {"name": self.name, "in": "path", "required": True, **told, "schema": schema}


@define
class PathItem:
    """The operations of one template, by method in small letters."""

    names: tuple[str, ...]
    operations: dict[str, dict[str, Any]] = field(factory=dict)


class Paths:
    """The templates of all routes.

    To OpenAPI ``/users/{id}`` and ``/users/{name}`` are one path, so routes that differ in names
    alone share the template of the first. A rest that takes slashes has no word there. It is a
    parameter like others; where that is taken by a route for one segment, it is two, or more.
    Routes with a rest are to be added last.
    """

    def __init__(self) -> None:
        self._items: dict[Shape, PathItem] = {}

    def add(self, path: str, method: str) -> tuple[PathItem, list[Parameter]]:
        """Give the place for the operation of a route, and the parameters of its path."""
        segments = path.removeprefix("/").removesuffix("/").split("/")
        shape = [None if _is_open(segment) else _written(segment) for segment in segments]
        own = [_name(segment) for segment in segments if _is_open(segment)]
        takes_slashes = segments[-1].startswith("*")
        while True:
            item = self._items.setdefault(tuple(shape), PathItem(_told_apart(own)))
            if not takes_slashes or method not in item.operations:
                break
            shape.append(None)
            own.append(own[-1])
        parameters = [Parameter(*names) for names in zip(item.names, own, strict=True)]
        if takes_slashes:
            parameters[-1] = evolve(parameters[-1], takes_slashes=True)
        return item, parameters

    def as_object(self) -> dict[str, Any]:
        """Give the Paths Object, in the order in which the paths were added."""
        return {
            _template(shape, item.names): item.operations for shape, item in self._items.items()
        }


def _is_open(segment: str) -> bool:
    """Whether it is a parameter, or the rest."""
    return segment.startswith(("*", "{")) or (segment.startswith(":") and len(segment) > 1)


def _name(segment: str) -> str:
    return segment.strip("{}") if segment.startswith("{") else segment[1:] or "rest"


def _written(segment: str) -> str:
    """A segment as it is sent, however it was written; braces would be a parameter."""
    return quote(unquote(segment), safe="~!$&'()*+,;=:@")


def _told_apart(names: list[str]) -> tuple[str, ...]:
    told: list[str] = []
    for name in names:
        told.append(unique(name, told))
    return tuple(told)


def _template(shape: Shape, names: tuple[str, ...]) -> str:
    left = iter(names)
    return "".join(f"/{{{next(left)}}}" if part is None else f"/{part}" for part in shape)
