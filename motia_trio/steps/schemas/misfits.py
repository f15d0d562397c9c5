"""What does not fit, in one shape: the errors of both libraries as paths and short messages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from motia_trio.errors import DoesNotFit, Misfit

if TYPE_CHECKING:
    import jsonschema_rs
    from pydantic_core import ErrorDetails, ValidationError

__all__ = ["MASK", "from_json_schema", "from_pydantic", "misfit", "words"]

#: what jsonschema_rs says in the place of the value
MASK = "it"
# past so many errors of pydantic's they are only counted: each costs a microsecond to tell
_MOST_ERRORS = 5_000
# how many misfits are listed; one more says how many there are besides
_LISTED = 50
_LONGEST = 200

_NOTHING: Any = object()
# pydantic names what it looked at ("Input should …"); in ours the path does
_SUBJECT = re.compile(r"[A-Z][A-Za-z]*( input)? should ")
# how pydantic names the ways that it tried, where that says nothing to who sent the value
_INNER_TAGS = ("function-", "lax-or-strict", "json-or-python")


def misfit(path: Iterable[str | int], message: str) -> Misfit:
    """Make a misfit of a path's steps and a message; both are cut at 200 characters."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return Misfit(_cut(text), _cut(message))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _listed(misfits: Iterator[Misfit]) -> DoesNotFit:
    """The first of them, each once, and how many more there are."""
    each_once = iter(dict.fromkeys(misfits))
    listed = list(islice(each_once, _LISTED))
    if more := sum(1 for _ in each_once):
        listed.append(Misfit("", f"{more} more {'does' if more == 1 else 'do'} not fit"))
    return DoesNotFit(listed)


# pydantic's


def from_pydantic(error: ValidationError, value: Any) -> DoesNotFit:
    """Tell pydantic's errors about a decoded value."""
    count = error.error_count()
    if count > _MOST_ERRORS:
        return DoesNotFit([Misfit("", f"{count} parts do not fit, which is too many to list")])
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return _listed(_of_pydantic(each, value) for each in found)


def _of_pydantic(error: ErrorDetails, value: Any) -> Misfit:
    is_missing = error["type"].startswith("missing")
    path: list[str | int] = []
    tags: list[str] = []
    for index, step in enumerate(error["loc"]):
        item = _child(value, step)
        if item is not _NOTHING:
            value = item
            path.append(step)
        elif is_missing and index == len(error["loc"]) - 1:
            path.append(step)
        elif not str(step).startswith(_INNER_TAGS):  # a way that was tried, of several
            tags.append("a key" if step == "[key]" else str(step))
    message = "is required" if is_missing else _pydantic_words(error)
    return misfit(path, f"as {', '.join(tags)}: {message}" if tags else message)


def _child(value: Any, step: str | int) -> Any:
    if isinstance(value, dict):
        return dict.get(value, step, _NOTHING)
    if isinstance(value, Sequence) and isinstance(step, int) and 0 <= step < len(value):
        return _NOTHING if isinstance(value, str) else value[step]
    return _NOTHING


def _pydantic_words(error: ErrorDetails) -> str:
    if error["type"] == "extra_forbidden":
        return "is not expected"
    message = error["msg"]
    if error["type"] in {"value_error", "assertion_error"}:  # the words of a validator
        return message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if "recursion limit exceeded" in message:
        return "is nested too deeply to be checked"
    short = _SUBJECT.sub("should ", message, count=1)
    return short[:1].lower() + short[1:] if short[1:2].islower() else short


# jsonschema_rs's


def from_json_schema(errors: Iterable[jsonschema_rs.ValidationError]) -> DoesNotFit:
    """Tell the errors of a validator that was told to mask values with :data:`MASK`."""
    return _listed(told for error in errors for told in _of_json_schema(error, 0))


def _of_json_schema(error: jsonschema_rs.ValidationError, above: int) -> Iterator[Misfit]:
    """Tell one error, by the path below the value that is ``above`` steps from the root."""
    path, kind = error.instance_path[above:], error.kind
    if kind.name == "required":
        yield misfit([*path, kind.as_dict()["property"]], "is required")
    elif kind.name in {"additionalProperties", "unevaluatedProperties"}:
        for name in kind.as_dict()["unexpected"]:
            yield misfit([*path, name], "is not expected")
    elif kind.name == "propertyNames":
        name = kind.as_dict()["error"].instance
        yield misfit([*path, str(name)], f"as a name: {words(kind.as_dict()['error'])}")
    else:
        yield misfit(path, words(error))


def words(error: jsonschema_rs.ValidationError) -> str:
    """Say what is wrong with a value, without the value."""
    name, details = error.kind.name, error.kind.as_dict()
    if name == "falseSchema":
        return "is not expected"
    if name in {"anyOf", "oneOf"}:
        return _alternatives(details["context"], len(error.instance_path))
    if name == "const":
        return f"is not {_json(details['expected_value'])}"
    if name == "not":
        if details["schema"] == {}:  # it is how `false` is written out
            return "is not expected"
        return f"must not fit {_json(details['schema'])}"
    if name == "unevaluatedItems":  # what it lists are values, and not where they are
        return f"has {len(details['unexpected'])} items more than are expected"
    if name == "contains":
        return "has too few or too many of the items that it must contain"
    if name == "required":
        return f"{details['property']} is required"
    if name == "pattern" and "pattern" not in details:  # the engine gave up
        return "takes too long to be matched with its pattern"
    message = error.message.removeprefix(f"{MASK} ")
    return message[:1].lower() + message[1:]


def _alternatives(context: list[list[Any]], above: int) -> str:
    """Say what is wrong with each alternative; there is nothing wrong with those that fit."""
    if fitting := sum(1 for errors in context if not errors):
        return f"fits {fitting} alternatives, and must fit one alone"
    reasons: dict[str, None] = {}
    for errors in context:
        for told in islice(_of_json_schema(errors[0], above), 1):
            reasons[f"{told.path} {told.message}".strip()] = None
    return f"fits no alternative: {'; '.join(reasons)}"


def _json(value: object) -> str:
    return to_json(value).decode()
