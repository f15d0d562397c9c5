"""From a method and a path to a route. Compiled once; pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar
from urllib.parse import unquote

from attrs import define, field, frozen

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Match", "NoMethod", "Routes"]

T = TypeVar("T")


@frozen
class Match(Generic[T]):
    """A route that fits, with its path parameters, decoded."""

    target: T
    params: dict[str, str]


@frozen
class NoMethod:
    """The path has routes, but for other methods: these."""

    allowed: tuple[str, ...]


@frozen
class _Leaf(Generic[T]):
    target: T
    names: tuple[str, ...]


@define
class _Node(Generic[T]):
    """One segment of the paths that begin alike."""

    static: dict[str, _Node[T]] = field(factory=dict)
    param: _Node[T] | None = None
    leaves: dict[str, _Leaf[T]] = field(factory=dict)
    rest: dict[str, _Leaf[T]] = field(factory=dict)


class Routes(Generic[T]):
    """Routes of ``(method, path, target)``.

    A path has static segments, ``:id`` or ``{id}`` for one segment, and may end in ``*rest`` for
    all that follows. What is written wins over a parameter, and that over a rest. A trailing slash
    is ignored; case counts. HEAD is answered by a GET route where there is no HEAD route.
    """

    def __init__(self, routes: Iterable[tuple[str, str, T]]) -> None:
        self._root: _Node[T] = _Node()
        # paths without parameters, which most are, need no walk
        self._exact: dict[tuple[str, str], Match[T]] = {}
        for method, path, target in routes:
            self._add(method, path, target)

    def _add(self, method: str, path: str, target: T) -> None:
        node, names = self._root, list[str]()
        segments = _split(path)
        for index, segment in enumerate(segments):
            if (name := _parameter(segment)) is not None:
                names.append(name)
                node.param = node.param or _Node()
                node = node.param
            elif segment.startswith("*") and index == len(segments) - 1:
                node.rest[method] = _Leaf(target, (*names, segment[1:] or "rest"))
                return
            else:
                node = node.static.setdefault(unquote(segment), _Node())
        node.leaves[method] = _Leaf(target, tuple(names))
        if not names and "%" not in path:
            self._exact[method, "/" + "/".join(segments)] = Match(target, {})

    def find(self, method: str, path: str) -> Match[T] | NoMethod | None:
        """Find the route of a request. ``path`` is as it was sent: percent-encoded, no query."""
        if (found := self._exact.get((method, path))) is not None:
            return found
        segments = [unquote(segment) for segment in _split(path)]
        allowed: set[str] = set()
        leaf = self._walk(self._root, segments, 0, method, allowed)
        if leaf is None:
            if not allowed:
                return None
            if "GET" in allowed:
                allowed.add("HEAD")
            return NoMethod(tuple(sorted(allowed | {"OPTIONS"})))
        values = self._values
        return Match(leaf.target, dict(zip(leaf.names, values, strict=True)))

    def _walk(
        self, node: _Node[T], segments: list[str], index: int, method: str, allowed: set[str]
    ) -> _Leaf[T] | None:
        """The leaf for the segments from ``index`` on; notes other methods that would fit."""
        if index == len(segments):
            if (leaf := _of_method(node.leaves, method)) is not None:
                self._values: list[str] = []
                return leaf
            allowed.update(node.leaves)
        else:
            segment = segments[index]
            if (child := node.static.get(segment)) is not None:
                found = self._walk(child, segments, index + 1, method, allowed)
                if found is not None:
                    return found
            if node.param is not None and segment:
                found = self._walk(node.param, segments, index + 1, method, allowed)
                if found is not None:
                    self._values.insert(0, segment)
                    return found
        if node.rest:
            if (leaf := _of_method(node.rest, method)) is not None:
                self._values = ["/".join(segments[index:])]
                return leaf
            allowed.update(node.rest)
        return None


def _of_method(leaves: dict[str, _Leaf[T]], method: str) -> _Leaf[T] | None:
    found = leaves.get(method)
    return leaves.get("GET") if found is None and method == "HEAD" else found


def _split(path: str) -> list[str]:
    """The segments of a path; a trailing slash makes none."""
    trimmed = path.strip("/") if path.count("//") == 0 else path.removeprefix("/").removesuffix("/")
    return trimmed.split("/") if trimmed else []


def _parameter(segment: str) -> str | None:
    """The name in ``:name`` or ``{name}``, or None for what is written."""
    if segment.startswith(":") and len(segment) > 1:
        return segment[1:]
    if segment.startswith("{") and segment.endswith("}") and len(segment) > 2:
        return segment[1:-1]
    return None
