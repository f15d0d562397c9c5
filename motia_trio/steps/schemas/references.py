"""References from one part of a JSON Schema to another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

__all__ = ["is_recursive", "references", "resolve"]

# what is found by its name instead of its place
_DYNAMIC = frozenset({"$dynamicRef", "$recursiveRef"})


def resolve(root: Mapping[str, Any], reference: object) -> Any:
    """Give the part that a reference such as ``#/$defs/Order`` leads to, or True for another kind.

    True is the schema of anything: what is named by an anchor or an ``$id`` is not looked up.
    """
    if not isinstance(reference, str) or not reference.startswith("#"):
        return True
    part: Any = root
    for step in unquote(reference[1:]).split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        if isinstance(part, Mapping) and key in part:
            part = part[key]
        elif isinstance(part, list) and key.isdecimal() and int(key) < len(part):
            part = part[int(key)]
        else:
            return True
    return part if reference == "#" or reference.startswith("#/") else True


def references(schema: Any) -> Iterator[tuple[str, str]]:
    """Every ``$ref`` below a schema, with its path."""
    unseen: list[tuple[str, Any]] = [("", schema)]
    while unseen:
        path, part = unseen.pop()
        if isinstance(part, Mapping):
            if isinstance(part.get("$ref"), str):
                yield path, part["$ref"]
            unseen += [(f"{path}.{key}" if path else key, item) for key, item in part.items()]
        elif isinstance(part, list):
            unseen += [(f"{path}[{index}]", item) for index, item in enumerate(part)]


def is_recursive(schema: Any) -> bool:
    """Whether some part may lead back to itself, so that it takes values of any depth.

    What cannot be told without looking names up counts as such.
    """
    done: set[int] = set()
    above: set[int] = set()

    def visit(part: Any) -> bool:
        if not isinstance(part, (Mapping, list)) or id(part) in done:
            return False
        if id(part) in above:
            return True
        above.add(id(part))
        items = part
        if isinstance(part, Mapping):
            items = list(part.values())
            if not _DYNAMIC.isdisjoint(part):
                return True
            if isinstance(part.get("$ref"), str):
                target = resolve(schema, part["$ref"])
                if target is True or visit(target):
                    return True
        if any(visit(item) for item in items):
            return True
        above.discard(id(part))
        done.add(id(part))
        return False

    try:
        return visit(schema)
    except RecursionError:  # a long chain of references: no circle was found on the way
        return True
