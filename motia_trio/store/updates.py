"""The algebra of state updates: operations as users write them, and what a value is after them.

A *path* leads to one place in a JSON value. It is a dotted string (``"order.items.0"``) or a list
of literal segments (``["prices", "a.b"]``: for keys that have a dot in them or are empty); ``""``,
``[]`` or none is the whole value. In a dict a segment is a key, ``"0"`` too. In a list it is an
index, of digits alone; the index just behind the end is a place where nothing is yet. Where there
is None, there is nothing: a missing parent is made (a dict), a missing number is 0, a missing list
is empty.

Source: motia-contract §6. Motia itself goes one level deep and skips the rest with a warning; here
every level works, and what cannot be done is an error. Nothing here recurses: depth is no matter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from reprlib import Repr
from types import NoneType
from typing import Any, Literal, get_args

from attrs import frozen

from motia_trio.errors import MotiaTrioError, nearest

__all__ = ["Op", "UpdateInvalid", "apply_ops", "parse_ops"]

OpType = Literal["set", "merge", "append", "increment", "decrement", "remove"]

_TYPES: tuple[OpType, ...] = get_args(OpType)
_KEYS = ("type", "path", "value", "by")
_WITH_VALUE = ("set", "merge", "append")
_WITH_BY = ("increment", "decrement")
_repr = Repr()
_repr.maxstring = _repr.maxother = 60


class UpdateInvalid(MotiaTrioError, ValueError):
    """An update is no list of known operations, or one of them does not fit the value."""


@frozen
class Op:
    """One operation. :func:`parse_ops` makes it, and takes it again, also from its JSON form.

    ``value`` belongs to ``set``, ``merge`` and ``append``, ``by`` to ``increment`` and
    ``decrement``; else they are None. Whether a value has a JSON form is for the codec to say.
    """

    type: OpType
    path: tuple[str, ...] = ()
    value: Any = None
    by: int | float | None = None


def parse_ops(ops: object) -> tuple[Op, ...]:
    """Read one operation, or a sequence of them, as users write them.

    An operation is a mapping, or an object with attributes: ``type``, ``path`` (or none) and, by
    type, ``value`` (``set``, ``merge``, ``append``) or ``by`` (``increment``, ``decrement``; 1 if
    it is left out). A key that the type does not take may be there if it is None, so that one class
    can serve for all types. Source: motia-contract §6.

    Raises:
        UpdateInvalid: a type or key is unknown or missing, a dotted path has an empty segment
            (``"a..b"``), ``by`` is no finite number, or a ``merge`` has a value that is no mapping.
    """
    if isinstance(ops, Mapping) or hasattr(ops, "type"):
        return (_parse("ops[0]", ops),)
    if isinstance(ops, Sequence) and not isinstance(ops, (str, bytes, bytearray)):
        return tuple(_parse(f"ops[{index}]", op) for index, op in enumerate(ops))
    example = "{'type': 'set', 'path': 'a.b', 'value': 1}"
    raise UpdateInvalid(f"ops: {_shown(ops)}; expected an op such as {example}, or a list of ops")


def apply_ops(value: Any, ops: Sequence[Op]) -> Any:
    """Give what ``value`` is after all ``ops``, in their order. All or nothing.

    ``value`` and the values of ``ops`` are never changed; the result shares with them what it has
    in common. Dicts and lists on the way to a change are plain ones in the result. ``remove`` of an
    element closes the gap, of the whole value gives None, and of what is missing changes nothing.
    ``merge`` is shallow. Ints stay exact. Source: motia-contract §6.

    Raises:
        UpdateInvalid: a path leads through what is neither dict nor list, or past the end of a
            list; what it leads to is of the wrong type; or a sum is beyond a float.
    """
    for index, op in enumerate(ops):
        try:
            value = _apply(value, op)
        except UpdateInvalid as error:
            where = f"ops[{index}] ({op.type} {_place(op.path)})"
            raise UpdateInvalid(f"{where}: {error}") from None
    return value


def _parse(where: str, raw: object) -> Op:
    fields: dict[Any, Any] = {key: getattr(raw, key) for key in _KEYS if hasattr(raw, key)}
    if isinstance(raw, Mapping):
        fields = dict(raw)
    elif not fields:
        raise UpdateInvalid(f"{where}: {_shown(raw)}; expected an op, a dict or an object")
    kind = _type(where, fields)
    where = f"{where} ({kind})"
    path, value, by = _path(where, fields.pop("path", None)), None, None
    if kind in _WITH_VALUE:
        if "value" not in fields:
            raise UpdateInvalid(f"{where}: value is missing; if it is to be None, say so")
        value = fields.pop("value")
        if kind == "merge" and not isinstance(value, Mapping):
            raise UpdateInvalid(f"{where}: value: {_shown(value)}; expected a dict")
    if kind in _WITH_BY and not _is_number(by := fields.pop("by", 1)):
        raise UpdateInvalid(f"{where}: by: {_shown(by)}; expected a finite number")
    for key, item in fields.items():
        if item is not None:
            other = "by" if kind in _WITH_BY else "value" if kind in _WITH_VALUE else ""
            hint = f"; did you mean {other!r}?" if other else ""
            raise UpdateInvalid(f"{where}: {key}: {_shown(item)}; {kind} takes no {key}{hint}")
    return Op(kind, path, value, by)


def _type(where: str, fields: dict[Any, Any]) -> OpType:
    """Take the type out of the fields of an op, after a look at their names."""
    for key in fields:
        if key not in _KEYS:
            raise UpdateInvalid(f"{where}: unknown key {_short(key)}; {_meant(key, _KEYS)}")
    if "type" not in fields:
        raise UpdateInvalid(f"{where}: type is missing; expected one of {', '.join(_TYPES)}")
    given = fields.pop("type")
    if given not in _TYPES:
        raise UpdateInvalid(f"{where}: unknown type {_short(given)}; {_meant(given, _TYPES)}")
    return _TYPES[_TYPES.index(given)]  # the plain word, also where an enum was given


def _path(where: str, raw: object) -> tuple[str, ...]:
    if raw is None or raw == "":
        return ()
    segments = raw.split(".") if isinstance(raw, str) else raw
    if not isinstance(segments, (list, tuple)) or not all(isinstance(s, str) for s in segments):
        hint = "expected a dotted string or a list of strings, for an index '0'"
        raise UpdateInvalid(f"{where}: path: {_shown(raw)}; {hint}")
    if isinstance(raw, str) and "" in segments:
        raise UpdateInvalid(f"{where}: path {_short(raw)} has an empty segment; expected a list")
    return tuple(segments)


def _meant(word: object, known: Sequence[str]) -> str:
    close = nearest(word.lower(), known) if isinstance(word, str) else None
    return f"did you mean {close!r}?" if close else f"expected one of {', '.join(known)}"


def _apply(value: Any, op: Op) -> Any:
    """``value`` after ``op``: what lies on the way is copied, and put together from the end."""
    way: list[tuple[Any, Any]] = []  # each container on the way, and the key that leads on
    here = value
    for depth, segment in enumerate(op.path):
        container, key, there = _enter(here, segment, op, depth)
        if op.type == "remove" and not there:
            return value
        way.append((container, key))
        here = container[key] if there else None
    new = None
    if op.type != "remove":
        new = _changed(here, op)
    elif way:
        new, key = way.pop()
        del new[key]
    for container, key in reversed(way):
        if isinstance(container, list):
            container[key : key + 1] = [new]  # behind the end, this appends
        else:
            container[key] = new
        new = container
    return new


def _enter(here: Any, segment: str, op: Op, depth: int) -> tuple[Any, Any, bool]:
    """A copy of ``here``, the key that ``segment`` is in it, and whether something is there."""
    if here is None:
        return {}, segment, False
    if isinstance(here, Mapping):
        copy = dict(here)  # first: Data answers to aliases of its keys, its copy does not
        return copy, segment, segment in copy
    expected = "a dict or a list"
    if isinstance(here, list):
        digits = segment.isascii() and segment.isdigit()
        # no list has an index of more than 18 digits, and Python reads no more than 4300
        index = int(segment.lstrip("0")[:18] or "0") if digits else None
        if index is not None and (index <= len(here) or op.type == "remove"):
            return list(here), index, index < len(here)
        expected = f"an index from 0 to {len(here)}, not {_short(segment)}"
    raise UpdateInvalid(f"at {_place(op.path[:depth])} is {_shown(here)}; expected {expected}")


def _changed(old: Any, op: Op) -> Any:
    """What stands at the end of the path after ``op``, where ``old`` stood."""
    if op.type == "set":
        return op.value
    if op.type == "merge":
        if not isinstance(old, (Mapping, NoneType)):
            raise _unfit(old, "a dict")
        return {**(old or {}), **op.value}
    if op.type == "append":
        if not isinstance(old, (list, NoneType)):
            raise _unfit(old, "a list")
        return [*(old or []), op.value]
    number = 0 if old is None else old
    if not _is_number(number):
        raise _unfit(old, "a number")
    by = 1 if op.by is None else op.by
    try:
        new = number + by if op.type == "increment" else number - by
    except OverflowError:  # an int beyond all floats met a float
        new = math.inf
    if not _is_number(new):
        raise _unfit(old, f"less, as {_short(by)} more is beyond a float")
    return new


def _unfit(old: object, expected: str) -> UpdateInvalid:
    return UpdateInvalid(f"there is {_shown(old)}; expected {expected}")


def _is_number(value: Any) -> bool:
    """Whether this is a JSON number: neither a bool nor NaN nor infinity."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool)


def _place(path: tuple[str, ...]) -> str:
    if not path:
        return "the whole value"
    dotted = all(segment and "." not in segment for segment in path)
    return _short(".".join(path) if dotted else list(path))


def _shown(value: object) -> str:
    return f"{type(value).__qualname__} {_short(value)}"


def _short(value: object) -> str:
    try:
        return _repr.repr(value)
    except ValueError:  # an int of more digits than Python writes
        return "(too long to show)"
