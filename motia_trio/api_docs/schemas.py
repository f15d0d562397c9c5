"""The JSON Schemas of many steps, put together below ``components/schemas`` of one document. Pure.

A schema comes whole: its definitions are in it, and its references begin at its own root. In a
document all references begin at the document's root, and what several schemas define alike is
there once. Source: JSON Schema 2020-12, core §8 and §9; OpenAPI 3.1, Schema Object.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, TypeAlias
from urllib.parse import quote, unquote, urljoin

from motia_trio.api_docs.drafts import Node, modernise, walk
from motia_trio.api_docs.names import identifier, unique

__all__ = ["Schemas"]

Pointer: TypeAlias = tuple[str, ...]

PLACE = "#/components/schemas/"
_DEFINITIONS = ("$defs", "definitions")
# what says where a schema is, and what it is written in; in a document the document says it
_PLACES = ("$schema", "$id", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary")
_ROOT: Pointer = ()


class Schemas:
    """The schemas of one document, each under a name of its own."""

    def __init__(self) -> None:
        self._placed: dict[str, Any] = {}
        self._names: dict[tuple[str, ...], str] = {}

    def add(self, schema: Mapping[str, Any], name: str, *, whole: bool = False) -> Node:
        """Give a schema as it is to stand in the document: as a reference, or itself.

        What has a title, or refers to itself, is placed among the components, as are all the
        definitions that are used; the rest stands where it is used. ``name`` is for a component
        that has none. ``whole`` gives the schema itself in any case.
        """
        parts = _Parts(schema, name)
        placed = parts.uses(_ROOT)
        if parts.is_titled and not whole:
            placed.setdefault(_ROOT)
        names: dict[Pointer, str] = {}
        new: list[Pointer] = []
        for part in placed:
            known = parts.fingerprint(part)
            if known not in self._names:
                self._names[known] = unique(parts.name_of(part), self._placed)
                self._placed[self._names[known]] = {}
                new.append(part)
            names[part] = self._names[known]
        parts.move(names)
        self._placed.update((names[part], parts.content(part)) for part in new)
        if _ROOT in names and not whole:
            return {"$ref": PLACE + names[_ROOT]}
        itself: Node = parts.content(_ROOT)
        return itself

    def resolve(self, schema: Node) -> Node:
        """Follow references to components, until there is a schema that is none."""
        seen: set[str] = set()
        while isinstance(target := schema.get("$ref"), str) and target not in seen:
            seen.add(target)
            found = self._placed.get(target.removeprefix(PLACE))
            schema = found if isinstance(found, dict) else {}
        return schema

    @property
    def components(self) -> dict[str, Any]:
        """What is to stand below ``components/schemas``, in the order of the names."""
        return {name: self._placed[name] for name in sorted(self._placed)}


class _Parts:
    """A schema as its root and its definitions, which are told apart by where they are in it."""

    def __init__(self, schema: Mapping[str, Any], name: str) -> None:
        self._root: Node = _plain(schema)
        self._name = name
        modernise(self._root)
        # of each part, what refers to what: the object and key that do, and where they lead
        self._references: dict[Pointer, list[tuple[Node, str, Pointer]]] = {}
        self._settle()
        self._texts: dict[Pointer, str] = {}

    def _settle(self) -> None:
        """Find where each reference leads; take out what names places."""
        nodes = list(walk(self._root))
        bases: dict[str, Pointer] = {"": _ROOT}
        anchors: dict[tuple[str, str], Pointer] = {}
        for pointer, node, base in nodes:
            if isinstance(node.get("$id"), str):
                bases.setdefault(base, pointer)
            for key in ("$anchor", "$dynamicAnchor"):
                if isinstance(node.get(key), str):
                    anchors[base, node[key]] = pointer
        for pointer, node, base in nodes:
            for holder, key in _reference_places(node):
                target = _target(holder[key], base, bases, anchors)
                if target is None or not _is_there(self._root, target):
                    holder[key] = urljoin(base, holder[key]) if base else holder[key]
                    continue
                holder[key] = _written("#", target)
                found = self._references.setdefault(_part_of(pointer), [])
                found.append((holder, key, target))
        for _, node, _ in nodes:
            for key in _PLACES:
                node.pop(key, None)

    @property
    def is_titled(self) -> bool:
        """Whether the root has a name of its own, and is more than a name for something else."""
        title = self._root.get("title")
        return isinstance(title, str) and title.strip() != "" and "$ref" not in self._root

    def name_of(self, part: Pointer) -> str:
        """The name that a part asks for."""
        if part:
            return identifier(part[1])
        return identifier(self._root["title"] if self.is_titled else self._name)

    def content(self, part: Pointer) -> Any:
        """A part without what is a part of its own; a definition may be a bool."""
        if part:
            return self._root[part[0]][part[1]]
        return {key: value for key, value in self._root.items() if key not in _DEFINITIONS}

    def uses(self, part: Pointer) -> dict[Pointer, None]:
        """The parts that one refers to, directly or not; itself only if it does so, too."""
        found: dict[Pointer, None] = {}
        waiting = [part]
        while waiting:
            for _, _, target in self._references.get(waiting.pop(), ()):
                if (used := _part_of(target)) not in found:
                    found[used] = None
                    waiting.append(used)
        return found

    def fingerprint(self, part: Pointer) -> tuple[str, ...]:
        """What is equal for parts that have one name and mean the same."""
        return (self.name_of(part), *sorted(map(self._text, {part, *self.uses(part)})))

    def _text(self, part: Pointer) -> str:
        if part not in self._texts:
            content = [self.name_of(part), self.content(part)]
            self._texts[part] = json.dumps(content, sort_keys=True)
        return self._texts[part]

    def move(self, names: Mapping[Pointer, str]) -> None:
        """Let the references lead to the components of these names."""
        for holder, key, target in chain.from_iterable(self._references.values()):
            if (part := _part_of(target)) in names:
                holder[key] = _written(PLACE + names[part], target[len(part) :])


def _plain(value: Any) -> Any:
    """A copy of JSON that was written in Python: mappings are dicts, sequences lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _part_of(pointer: Pointer) -> Pointer:
    """The part in which a place is: a definition of the root's, or the root."""
    is_defined = len(pointer) >= 2 and pointer[0] in _DEFINITIONS
    return pointer[:2] if is_defined else _ROOT


def _reference_places(node: Node) -> Iterator[tuple[Node, str]]:
    """Where references stand in a schema: pydantic writes them into discriminators, too."""
    if isinstance(node.get("$ref"), str):
        yield node, "$ref"
    discriminator = node.get("discriminator")
    mapping = discriminator.get("mapping") if isinstance(discriminator, dict) else None
    if isinstance(mapping, dict):
        yield from ((mapping, key) for key, value in mapping.items() if isinstance(value, str))


def _target(
    reference: str,
    base: str,
    bases: Mapping[str, Pointer],
    anchors: Mapping[tuple[str, str], Pointer],
) -> Pointer | None:
    """Where a reference leads within its schema, or None if it leads out of it."""
    address, _, fragment = reference.partition("#")
    home = urljoin(base, address) if address else base
    if home not in bases:
        return None
    fragment = unquote(fragment)
    if not fragment:
        return bases[home]
    if not fragment.startswith("/"):
        return anchors.get((home, fragment))
    steps = fragment[1:].split("/")
    return (*bases[home], *(step.replace("~1", "/").replace("~0", "~") for step in steps))


def _written(start: str, pointer: Pointer) -> str:
    """A reference that leads from a start along a pointer."""
    steps = (step.replace("~", "~0").replace("/", "~1") for step in pointer)
    return start + "".join("/" + quote(step, safe="~!$&'()*+,;=:@") for step in steps)


def _is_there(root: Any, pointer: Pointer) -> bool:
    at = root
    for step in pointer:
        if isinstance(at, dict) and step in at:
            at = at[step]
        elif isinstance(at, list) and step.isdecimal() and int(step) < len(at):
            at = at[int(step)]
        else:
            return False
    return isinstance(at, (dict, bool))
