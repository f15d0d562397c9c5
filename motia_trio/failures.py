"""What a raised error is told as: one line, the place in the user's code, and the traceback."""

from __future__ import annotations

import os
import sysconfig
import traceback
from pathlib import Path

from attrs import field, frozen

__all__ = ["Told", "leaves", "tell_error"]

_OURS = str(Path(__file__).parent) + os.sep
_LIBRARIES = tuple({
    path + os.sep
    for key in ("stdlib", "platstdlib", "purelib", "platlib")
    if (path := sysconfig.get_path(key))
})  # fmt: skip
# a traceback is kept with every failed attempt: a deep recursion must not fill the store
_LIMIT = 40


@frozen
class Told:
    """An error in words: ``error`` is one line; ``where`` is ``file:line in function``."""

    error: str
    where: str
    traceback: str = field(repr=False)


def leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group, at any depth; an error that is no group is its own only leaf."""
    found: list[BaseException] = []
    unseen = [error]
    while unseen:
        one = unseen.pop()
        if isinstance(one, BaseExceptionGroup):
            unseen.extend(reversed(one.exceptions))
        else:
            found.append(one)
    return found


def tell_error(error: BaseException, root: str = "") -> Told:
    """Put an error into words. Paths below ``root`` are told relative to it."""
    found = leaves(error)
    one = found[0] if len(found) == 1 else error
    kind = type(one).__name__
    text = _text(one)
    if one is error and len(found) > 1:
        text += ": " + "; ".join(f"{type(leaf).__name__}: {_text(leaf)}" for leaf in found[:5])
    notes = "".join(f" ({note})" for note in getattr(one, "__notes__", ()))
    line = " ".join(f"{kind}: {text}{notes}".split()) if text or notes else kind
    return Told(_writable(line), _writable(_where(found[0], error, root)), _writable(_trace(error)))


def _writable(text: str) -> str:
    """A text that can be written as UTF-8: what cannot is escaped, as in names of odd files."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as broken:  # noqa: BLE001 - the words of an error must not be another error
        return f"<its text raised {type(broken).__name__}>"


def _where(error: BaseException, group: BaseException, root: str) -> str:
    """The last frame in the user's own code, of the error or what it came from; or the last one."""
    last: traceback.FrameSummary | None = None
    chain: BaseException | None = error
    frame: traceback.FrameSummary | None = None
    seen: set[int] = set()
    while chain is not None and frame is None and id(chain) not in seen:
        seen.add(id(chain))
        frames = traceback.extract_tb(chain.__traceback__ or group.__traceback__)
        own = [f for f in frames if _is_own(f.filename)]
        frame = own[-1] if own else None
        last = last or (frames[-1] if frames else None)
        chain = leaves(chain.__cause__)[0] if chain.__cause__ is not None else None
    frame = frame or last
    if frame is None:
        return "unknown"
    name = frame.filename
    if root and name.startswith(root.rstrip(os.sep) + os.sep):
        name = os.path.relpath(name, root)
    return f"{name}:{frame.lineno} in {frame.name}"


def _is_own(filename: str) -> bool:
    """Whether a file is neither ours nor a library's."""
    return not filename.startswith((_OURS, *_LIBRARIES, "<"))


def _trace(error: BaseException) -> str:
    """The traceback without the frames through which the handler was called: ours, and Trio's."""
    tb = error.__traceback__
    while tb is not None and not _is_own(tb.tb_frame.f_code.co_filename):
        tb = tb.tb_next
    if tb is None:  # no line of the user's is in it
        tb = error.__traceback__
        while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_OURS):
            tb = tb.tb_next
    try:
        lines = traceback.format_exception(
            type(error), error, tb or error.__traceback__, limit=_LIMIT
        )
    except Exception as broken:  # noqa: BLE001 - as above
        return f"{type(error).__name__} (its traceback raised {type(broken).__name__})"
    return "".join(lines)
