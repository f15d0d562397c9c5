"""What can go wrong, named for the situation. Every message says what, which, and what to do."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "Abandoned",
    "AskInvalid",
    "Closed",
    "Conflict",
    "DoesNotFit",
    "HandlerFailed",
    "HandlerIgnoredCancel",
    "LoadFailed",
    "MalformedJson",
    "MessageTooLarge",
    "Misfit",
    "MotiaTrioError",
    "MountFailed",
    "NotEncodable",
    "Overloaded",
    "Problem",
    "SettingInvalid",
    "StepCrashed",
    "StepQuarantined",
    "StoreBroken",
    "StoreDamaged",
    "StoreLocked",
    "StoreTooNew",
    "TimedOut",
    "UnknownStream",
    "ValueTooLarge",
    "nearest",
]


# names of streams that one error lists
_STREAMS_TOLD = 20


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Give the known word that ``word`` was most likely meant to be, or None."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


class MotiaTrioError(Exception):
    """The base of every error that motia_trio raises on purpose."""


class Problem:
    """One thing that is wrong with one file: ``where`` it is and ``what`` it is."""

    __slots__ = ("what", "where")

    def __init__(self, where: str, what: str) -> None:
        self.where = where
        self.what = what

    def __repr__(self) -> str:
        return f"Problem({self.where!r}, {self.what!r})"

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class LoadFailed(MotiaTrioError):
    """Steps could not be loaded. ``problems`` lists every one found, not the first alone.

    ``loaded`` is what could be, of several files.
    """

    def __init__(self, problems: Sequence[Problem], loaded: Sequence[object] = ()) -> None:
        self.problems = tuple(problems)
        self.loaded = tuple(loaded)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SettingInvalid(MotiaTrioError):
    """A setting is unknown, or its value does not fit."""


class MountFailed(MotiaTrioError):
    """An application that is mounted in the HTTP edge could not start."""


class Closed(MotiaTrioError):
    """The runtime was used after its scope had been left (or before it was entered)."""


class Overloaded(MotiaTrioError):
    """A step cannot take another request now: its mailbox is full, or it is quarantined.

    ``retry_after`` is the number of seconds after which asking again makes sense.
    """

    def __init__(self, reason: str, retry_after: float = 1.0) -> None:
        self.retry_after = retry_after
        super().__init__(reason)


class TimedOut(MotiaTrioError):
    """A handler ran longer than its bound, or an answer did not come in time."""


class HandlerFailed(MotiaTrioError):
    """A handler raised while somebody waited for its answer. An observer was told what."""


class Abandoned(MotiaTrioError):
    """Who asked has left before there was an answer: the handler was cancelled."""


class AskInvalid(MotiaTrioError, ValueError):
    """An ask that can have no answer: nobody listens to its topic, or more than one step does."""


class StepCrashed(MotiaTrioError):
    """The actor of a step ended abnormally while it had this message or request in hand."""


class HandlerIgnoredCancel(MotiaTrioError):
    """A handler caught its cancellation again and again, and was abandoned."""


class StepQuarantined(MotiaTrioError):
    """A step crashed too often. Raised to the embedding program only when it asked for that."""


class MessageTooLarge(MotiaTrioError):
    """A message is larger than ``message_limit``."""


class ValueTooLarge(MotiaTrioError):
    """A value of state or of a stream is larger than ``message_limit``."""


class UnknownStream(MotiaTrioError, AttributeError, LookupError):
    """A ``stream`` was asked for that is not declared. ``declared``: the names of those that are.

    An AttributeError, too, so that ``hasattr(ctx.streams, "chat")`` says whether there is one.
    """

    def __init__(self, stream: str, declared: Iterable[str]) -> None:
        self.stream = stream
        self.declared = tuple(declared)
        close = nearest(stream, self.declared)
        told = ", ".join(map(repr, self.declared[:_STREAMS_TOLD]))
        if (more := len(self.declared) - _STREAMS_TOLD) > 0:
            told += f" and {more} more"
        name = f"{stream!r:.80}"
        super().__init__(
            f"no stream {name} is declared"
            + (f"; did you mean {close!r}?" if close else ";")
            + f" declared: {told or 'none'}. A file *_stream.py with config = {{'name': {name}}} "
            f"declares it, or App(streams=[{{'name': {name}}}]), or Stream({name}) in a step file"
        )


class Conflict(MotiaTrioError):
    """What a transaction had read was changed by another before it could be kept: run it again."""


class StoreBroken(MotiaTrioError, OSError):
    """The store could not keep or read something: a full disk, a read-only or a failing one.

    Nothing of the call was kept. The store goes on, and the same call may succeed later.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class StoreLocked(StoreBroken):
    """Another process, or another runtime of this one, has the store's file open."""


class StoreDamaged(StoreBroken):
    """The store's file is damaged, or is no store. It was left as it is."""


class StoreTooNew(StoreBroken):
    """The store's file was written by a newer motia_trio."""


class Misfit:
    """One thing in a value that its schema does not allow.

    ``path`` leads to it from the root: ``items[0].name``, empty for the whole value.
    """

    __slots__ = ("message", "path")

    def __init__(self, path: str, message: str) -> None:
        self.path = path
        self.message = message

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Misfit):
            return NotImplemented
        return (self.path, self.message) == (other.path, other.message)

    def __hash__(self) -> int:
        return hash((self.path, self.message))

    def __repr__(self) -> str:
        return f"Misfit({self.path!r}, {self.message!r})"

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class DoesNotFit(MotiaTrioError, ValueError):
    """A value does not fit its schema. ``misfits`` lists everything, not the first alone."""

    def __init__(self, misfits: Sequence[Misfit]) -> None:
        self.misfits = tuple(misfits)
        told = "; ".join(map(str, self.misfits[:5]))
        more = len(self.misfits) - 5
        super().__init__(told + (f"; and {more} more" if more > 0 else ""))


class NotEncodable(MotiaTrioError, ValueError):
    """A value has no JSON form. ``path`` leads to the part that has none."""

    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(f"{path}: {reason}")


class MalformedJson(MotiaTrioError, ValueError):
    """Bytes that should be JSON are not."""
