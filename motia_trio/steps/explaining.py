"""What is wrong with a config, or odd in it, in words: file, key, value, and what was expected."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from motia_trio.errors import LoadFailed, Problem, nearest
from motia_trio.steps.raw import Raw, RawHandlerLimits, RawQueueLimits

__all__ = ["read_config", "unknown_keys"]

R = TypeVar("R", bound=Raw)


def read_config(kind: type[R], config: object, source: str, what: str = "step") -> R:
    """Read a config as people write it. ``what`` it is of.

    Raises:
        LoadFailed: with every problem of its form.
    """
    if not isinstance(config, (Mapping, BaseModel)):
        raise LoadFailed(
            [Problem(source, f"config must be a dict, not a {type(config).__qualname__}")]
        )
    try:
        return kind.model_validate(config)
    except ValidationError as error:
        raise LoadFailed(list(_explain(error, source, what))) from None


def unknown_keys(raw: Raw, path: str = "") -> Iterator[str]:
    """One warning for each key that no dialect has, with the known key that is nearest to it."""
    for key in raw.model_extra or {}:
        close = nearest(key, raw.spellings())
        hint = f"; did you mean {close!r}?" if close else _home_of(key)
        yield f"unknown key {path + key!r} is ignored{hint}"
    for name in type(raw).model_fields:
        value = getattr(raw, name)
        if isinstance(value, Raw):
            yield from unknown_keys(value, f"{path}{name}.")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, Raw):
                    yield from unknown_keys(item, f"{path}{name}[{index}].")


def _home_of(key: str) -> str:
    """Where a limit belongs that stands in the wrong place."""
    for home, limits in (("queue", RawQueueLimits), ("handler", RawHandlerLimits)):
        if key in limits.spellings() or key in limits.model_fields:
            return f"; it belongs into infrastructure.{home}"
    return ""


_TAGS = frozenset({"http", "queue", "cron", "state", "stream"})


def _explain(error: ValidationError, source: str, what: str) -> Iterator[Problem]:
    """Give pydantic's errors as ours. ``what`` the config is of."""
    for item in error.errors(include_url=False):
        path = ""
        for index, part in enumerate(item["loc"]):
            if isinstance(part, int):
                path += f"[{part}]"
            elif not (part in _TAGS and index == 2 and item["loc"][0] == "triggers"):
                path += f".{part}" if path else str(part)
        expected = item["msg"].removeprefix("Value error, ")
        if item["type"] == "missing":
            given = list(item["input"]) if isinstance(item["input"], Mapping) else []
            close = nearest(path.rpartition(".")[2], map(str, given))
            hint = f"; is {close!r} meant to be it?" if close else ""
            yield Problem(source, f"{path} is missing; every {_owner(path) or what} has one{hint}")
        elif item["type"] == "trigger_type":
            value = item["input"]
            if isinstance(value, Mapping) and "type" not in value:
                yield Problem(source, f"{path}.type is missing; {expected}")
                continue
            wrong = value.get("type") if isinstance(value, Mapping) else value
            yield Problem(source, f"{path}: {wrong!r}: {expected}")
        else:
            yield Problem(source, f"{path}: {_short(item['input'])}: {expected}")


def _owner(path: str) -> str:
    return "trigger of this type" if path.startswith("triggers[") else ""


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "…"
