"""The one place that knows JSON: values to bytes and back.

Reading is msgspec's, writing is pydantic_core's, because a handler may answer with whatever
pydantic can write (datetimes, UUIDs, Decimals, sets, enums, dataclasses, models; attrs objects are
added here). NaN and infinity have no JSON form and are refused by name of the path to them.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import deque
from collections.abc import Mapping
from enum import Enum
from itertools import islice
from typing import Any

import attrs
import msgspec
from pydantic import BaseModel
from pydantic_core import to_json

from motia_trio.data import Data, Nothing
from motia_trio.errors import MalformedJson, NotEncodable

__all__ = ["decode", "encode"]

_LONG_NUMBER = re.compile(rb"\d{300}")
# digits as "1", all else as "0": a long number shows as neighbours among every 128th byte
_DIGITS = bytes(49 if 48 <= byte <= 57 else 48 for byte in range(256))
# how deep the search goes for the part that cannot be written
_DEEPEST = 64

_decoder = msgspec.json.Decoder()


def decode(raw: bytes | bytearray | memoryview | str) -> Any:
    """Read one JSON value.

    Raises:
        MalformedJson: ``raw`` is not JSON, is not UTF-8, or is nested too deeply.
    """
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJson(str(error)) from None


def encode(value: object) -> bytes:
    """Write ``value`` as compact JSON.

    Raises:
        NotEncodable: some part has no JSON form; the error names the path to it.
    """
    try:
        raw = to_json(_plain(value), inf_nan_mode="constants", fallback=_fallback)
    except (TypeError, ValueError, RecursionError) as error:
        raise _explain(value, str(error)) from None
    if _may_hide_nan(raw, value) and (path := _not_finite(value, "$")):
        raise NotEncodable(path, "NaN and infinity have no JSON form; send null or a string")
    if _is_suspect(raw):  # NaN out of an iterator, or a number that no reader takes
        try:
            decode(raw)
        except MalformedJson as error:
            raise NotEncodable("$", f"what it would be is no JSON: {error}") from None
    return raw


def _plain(value: object) -> object:
    """The same with plain dicts for :class:`Data`, where a look shows some.

    pydantic takes eight times as long for a dict of a class of its own, and handlers pass on what
    they were given.
    """
    parts: Any = ()
    if type(value) is dict:
        parts = value.values()
    elif type(value) is list:
        parts = value
    if type(value) is not Data and Data not in map(type, islice(parts, _LOOKED_AT)):
        return value
    try:
        return _as_plain(value)
    except RecursionError:  # pydantic has words for it
        return value


# parts that are looked at: what is given on is few things, or all of one kind
_LOOKED_AT = 16
_CONTAINERS = frozenset({Data, dict, list})


def _as_plain(value: Any) -> Any:
    if type(value) is list:
        return [_as_plain(item) if type(item) in _CONTAINERS else item for item in value]
    return {
        key: _as_plain(item) if type(item) in _CONTAINERS else item for key, item in value.items()
    }


def _is_suspect(raw: bytes) -> bool:
    """Whether it may hold NaN, infinity, or a number that is longer than any reader takes."""
    if b"NaN" in raw or b"Infinity" in raw:
        return True
    return b"11" in raw[::128].translate(_DIGITS) and _LONG_NUMBER.search(raw) is not None


def _may_hide_nan(raw: bytes, value: object) -> bool:
    """Whether a look at every part is worth its time.

    pydantic writes the NaN of a model's field as null, whatever it is told. What msgspec can write
    holds no model, and it says so fast.
    """
    if b"NaN" in raw or b"Infinity" in raw:
        return True
    if b"null" not in raw:
        return False
    try:
        msgspec.json.encode(value)
    except (TypeError, ValueError, RecursionError):
        return True
    return False


def _fallback(value: object) -> object:
    if isinstance(value, Nothing):
        return None
    if attrs.has(type(value)):
        return attrs.asdict(value, recurse=False)  # type: ignore[arg-type]
    if hasattr(value, "__await__"):
        raise TypeError(f"{type(value).__qualname__} is something to await: is an await missing?")
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


def _children(value: object) -> list[tuple[str, object]]:
    """The parts of a value with the path step that leads to each."""
    if isinstance(value, BaseModel):
        value = {name: getattr(value, name) for name in type(value).model_fields}
    elif attrs.has(type(value)):
        value = attrs.asdict(value, recurse=False)  # type: ignore[arg-type]
    elif dataclasses.is_dataclass(value):
        value = {item.name: getattr(value, item.name) for item in dataclasses.fields(value)}
    elif isinstance(value, Enum):
        return [("", value.value)]
    if isinstance(value, Mapping):
        return [(f".{key}", item) for key, item in value.items()]
    if isinstance(value, (list, tuple, set, frozenset, deque)):
        return [(f"[{index}]", item) for index, item in enumerate(value)]
    return []


def _not_finite(value: object, path: str) -> str | None:
    """The path to the first float that is not finite, or None."""
    if isinstance(value, float):
        return None if math.isfinite(value) else path
    for step, item in _children(value):
        if found := _not_finite(item, path + step):
            return found
    return None


def _explain(value: object, reason: str) -> NotEncodable:
    """Find the smallest part of ``value`` that cannot be written."""
    path, above = "$", {id(value)}
    while True:
        for step, item in _children(value):
            try:
                to_json(item, fallback=_fallback)
            except (TypeError, ValueError, RecursionError) as error:
                path, value, reason = path + step, item, str(error)
                break
        else:
            return NotEncodable(path, reason.removeprefix("Error serializing to JSON: "))
        if id(value) in above:
            return NotEncodable(path, "it contains itself")
        if len(above) > _DEEPEST:
            return NotEncodable(path + "…", f"it is nested too deeply: {reason}")
        above.add(id(value))
