"""What may be asked over the control socket: every operation with its parameters."""

from __future__ import annotations

import reprlib
from math import inf
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
)

from motia_trio.control.protocol import VERSION
from motia_trio.errors import MotiaTrioError, nearest

__all__ = [
    "OPS",
    "ChosenLetters",
    "CronList",
    "CronRun",
    "DeadLettersDiscard",
    "DeadLettersGet",
    "DeadLettersList",
    "DeadLettersRedrive",
    "Enqueue",
    "LettersFilter",
    "Op",
    "RequestInvalid",
    "StateDelete",
    "StateGet",
    "StateList",
    "StateSet",
    "Status",
    "StoreBackup",
    "StoreInfo",
    "StoreVacuum",
    "parse_request",
]

# of dead letters, and of items, that one answer has at the most
LETTERS_AT_ONCE, ITEMS_AT_ONCE = 100, 1000
# of what is wrong with one request
_TOLD = 5
_HEX = frozenset("0123456789abcdef")
# shows a value that does not fit, whatever it is
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60


class RequestInvalid(MotiaTrioError):
    """A request of the control protocol that does not fit it."""


def _letter_id(text: str) -> str:
    if not (0 < len(text) <= 16) or not set(text) <= _HEX or int(text, 16) >= 1 << 63:
        raise ValueError("an id of a dead letter is 16 hex digits")
    return text


def _absolute(path: str) -> str:
    if not Path(path).is_absolute():
        raise ValueError("must be an absolute path: the service may be in another folder")
    return path


def _trace_id(text: str) -> str:
    if len(text) != 32 or not set(text) <= _HEX:
        raise ValueError("32 lower-case hex digits")
    return text


LetterId = Annotated[str, AfterValidator(_letter_id)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
TraceId = Annotated[str, AfterValidator(_trace_id)]


class Op(BaseModel):
    """An operation. It is given up after ``within`` seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    within: ClassVar[float] = 20.0


class Status(Op):
    """How the service and its steps are."""


class Enqueue(Op):
    """Publish a message."""

    topic: str
    data: Any = None
    group: str | None = None
    delay: float | None = None
    at: Annotated[AwareDatetime | None, Field(strict=False)] = None
    key: str | None = None
    priority: int | None = None
    expires: float | None = None
    trace_id: TraceId | None = None


class LettersFilter(Op):
    """Which dead letters: those that fit all of it. ``older_than`` is in seconds."""

    step: str | None = None
    topic: str | None = None
    older_than: Seconds | None = None
    after: LetterId = "0"
    limit: Annotated[int, Field(ge=1, le=LETTERS_AT_ONCE)] = LETTERS_AT_ONCE


class DeadLettersList(LettersFilter):
    """Tell dead letters, without their payloads and tracebacks."""


class DeadLettersGet(Op):
    """Tell all of one dead letter."""

    id: LetterId


class ChosenLetters(LettersFilter):
    """Some dead letters: of the ``ids``, if given, those that fit the filters."""

    ids: Annotated[list[LetterId], Field(max_length=LETTERS_AT_ONCE)] | None = None


class DeadLettersRedrive(ChosenLetters):
    """Have dead letters handled again."""


class DeadLettersDiscard(ChosenLetters):
    """Forget dead letters."""


class CronList(Op):
    """Tell every schedule of every step."""


class CronRun(Op):
    """Run a step's cron trigger now: the only one, or by its index or expression."""

    step: str
    trigger: int | str | None = None


class StateGet(Op):
    """Give a value."""

    group: str
    key: str


class StateSet(Op):
    """Keep a value."""

    group: str
    key: str
    value: Any
    ttl: float | None = None


class StateDelete(Op):
    """Remove a key."""

    group: str
    key: str


class StateList(Op):
    """Tell the groups, or the keys and values of one. ``after`` is the last one of before."""

    group: str | None = None
    after: str = ""
    limit: Annotated[int, Field(ge=1, le=ITEMS_AT_ONCE)] = ITEMS_AT_ONCE


class StoreInfo(Op):
    """Tell how the store's file is."""

    within: ClassVar[float] = 25.0


class StoreVacuum(Op):
    """Make the store's file smaller."""

    within: ClassVar[float] = inf


class StoreBackup(Op):
    """Copy the store to a new file."""

    within: ClassVar[float] = inf

    target: Annotated[str, AfterValidator(_absolute)]


OPS: dict[str, type[Op]] = {
    "status": Status,
    "enqueue": Enqueue,
    "dead_letters.list": DeadLettersList,
    "dead_letters.get": DeadLettersGet,
    "dead_letters.redrive": DeadLettersRedrive,
    "dead_letters.discard": DeadLettersDiscard,
    "cron.list": CronList,
    "cron.run": CronRun,
    "state.get": StateGet,
    "state.set": StateSet,
    "state.delete": StateDelete,
    "state.list": StateList,
    "store.info": StoreInfo,
    "store.vacuum": StoreVacuum,
    "store.backup": StoreBackup,
}


def parse_request(request: Any) -> Op:
    """Give the operation that a request asks for.

    Raises:
        RequestInvalid: it is none; says what does not fit.
    """
    if not isinstance(request, dict):
        raise RequestInvalid("a request is an object with v, op and params")
    version = request.get("v")
    if version != VERSION:
        raise RequestInvalid(
            f"v = {_short.repr(version)}: this service speaks version {VERSION} of the control "
            "protocol; use the motia_trio that runs it"
        )
    if unknown := sorted(request.keys() - {"v", "op", "params"}):
        raise RequestInvalid(f"a request has v, op and params, and no {_short.repr(unknown[0])}")
    name, params = request.get("op"), request.get("params", {})
    if not isinstance(name, str) or name not in OPS:
        close = nearest(str(name)[:80], OPS)
        hint = f"did you mean {close!r}?" if close else f"known: {', '.join(OPS)}"
        raise RequestInvalid(f"unknown op {_short.repr(name)}; {hint}")
    if not isinstance(params, dict):
        raise RequestInvalid(f"{name}: params is an object, not {_short.repr(params)}")
    try:
        return OPS[name](**params)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False)
        words = "; ".join(_explain(problem) for problem in problems[:_TOLD])
        raise RequestInvalid(f"{name}: {words}") from None


def _explain(problem: Any) -> str:
    where = ".".join(map(str, problem["loc"]))[:80]
    if problem["type"] == "missing":
        return f"{where} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{where}: no such parameter"
    return (
        f"{where} = {_short.repr(problem['input'])}: {problem['msg'].removeprefix('Value error, ')}"
    )
