"""JSON Schema in its drafts: from an older one to 2020-12, and from that to draft 07. Pure.

OpenAPI 3.1 takes 2020-12, AsyncAPI 3.0 takes draft 07. Source: the release notes of the drafts
(json-schema.org/draft/2020-12/release-notes, and those before).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urldefrag, urljoin

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Node", "modernise", "to_draft_07", "walk"]

#: a schema that is an object, below which everything is JSON
Node: TypeAlias = dict[str, Any]

# which keywords hold schemas; what stands below any other is a value, and no schema
_ONE = frozenset({
    "additionalItems", "additionalProperties", "contains", "contentSchema", "else", "if", "items",
    "not", "propertyNames", "then", "unevaluatedItems", "unevaluatedProperties",
})  # fmt: skip
_LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
_NAMED = frozenset({
    "$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties",
})  # fmt: skip
# what counts beside a reference before 2019-09; the rest is ignored there
_BESIDE_A_REFERENCE = frozenset({
    "$ref", "$schema", "$id", "$defs", "definitions", "title", "description", "default", "examples",
    "$comment",
})  # fmt: skip


def walk(root: Node) -> Iterator[tuple[tuple[str, ...], Node, str]]:
    """Give each schema within a schema: where it is in it, itself, and its base URI.

    What is changed in a schema before the next is asked for is walked as changed.
    """
    waiting: list[tuple[tuple[str, ...], Node, str]] = [((), root, "")]
    while waiting:
        pointer, node, base = waiting.pop()
        if isinstance(identity := node.get("$id"), str):
            base = urldefrag(urljoin(base, identity)).url
        yield pointer, node, base
        inner = [((*pointer, *where), child, base) for where, child in _children(node)]
        waiting.extend(reversed(inner))


def _children(node: Node) -> Iterator[tuple[tuple[str, ...], Node]]:
    for key, value in node.items():
        if isinstance(value, dict):
            if key in _ONE:
                yield (key,), value
            elif key in _NAMED:
                for name, item in value.items():
                    if isinstance(item, dict):
                        yield (key, name), item
        elif isinstance(value, list) and key in _LISTED:
            for index, item in enumerate(value):
                if isinstance(item, dict):
                    yield (key, str(index)), item


def modernise(root: Node) -> None:
    """Write a schema as 2020-12, in place, if it says that it is of an older draft.

    References that depend on who refers (``$dynamicRef``) become plain ones, which they are where
    a schema stands alone.
    """
    dialect = str(root.get("$schema", ""))
    old = any(f"draft-0{number}/" in dialect for number in (3, 4, 5, 6, 7))
    for _, node, _ in walk(root):
        for key in ("$dynamicRef", "$recursiveRef"):
            if (target := node.pop(key, None)) is not None:
                node.setdefault("$ref", target)
        if old:
            _from_before_2019(node)
        if old or "2019-09" in dialect:
            _items_as_in_2020(node)


def _from_before_2019(node: Node) -> None:
    if isinstance(node.get("id"), str):  # draft 04
        node.setdefault("$id", node.pop("id"))
    if isinstance(identity := node.get("$id"), str) and identity.startswith("#"):
        node["$anchor"] = node.pop("$id")[1:]
    if isinstance(node.get("$ref"), str):
        for key in [key for key in node if key not in _BESIDE_A_REFERENCE]:
            del node[key]
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(flag := node.get(exclusive), bool):  # draft 04
            del node[exclusive]
            if flag and bound in node:
                node[exclusive] = node.pop(bound)
    for name, needs in (node.pop("dependencies", None) or {}).items():
        keyword = "dependentRequired" if isinstance(needs, list) else "dependentSchemas"
        node.setdefault(keyword, {})[name] = needs


def _items_as_in_2020(node: Node) -> None:
    more = node.pop("additionalItems", None)
    if isinstance(node.get("items"), list):
        node["prefixItems"] = node.pop("items")
        if more is not None:
            node["items"] = more


def to_draft_07(root: Node) -> Node:
    """Write a schema of 2020-12 as draft 07, in place, and give it.

    What draft 07 has no word for (``unevaluatedProperties``, ``minContains``) stays, and says
    nothing there: the schema then allows more than it did.
    """
    for _, node, _ in walk(root):
        if "prefixItems" in node:
            more = node.pop("items", None)
            node["items"] = node.pop("prefixItems")
            if more is not None:
                node["additionalItems"] = more
        for keyword in ("dependentRequired", "dependentSchemas"):
            for name, needs in node.pop(keyword, {}).items():
                node.setdefault("dependencies", {})[name] = needs
        node.pop("discriminator", None)  # OpenAPI's; the schema says the same without it
        if "$ref" in node and len(node) > 1:  # what stands beside a reference is ignored
            node["allOf"] = [{"$ref": node.pop("$ref")}, *node.pop("allOf", [])]
    return root
