"""Which trace a request belongs to. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from motia_trio.messages import new_trace_id

if TYPE_CHECKING:
    from motia_trio.data import Data

__all__ = ["trace_id_of"]

# W3C trace context: a trace id of zeros is not one, version ff is none, version 00 ends here, and
# a later one may have more behind a dash
_TRACEPARENT = re.compile(
    r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?"
)
_TRACE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


def trace_id_of(headers: Data) -> str:
    """Give the trace that the caller began, or a new one.

    A W3C ``traceparent`` counts, and else an ``x-trace-id`` of up to 64 letters, digits, ``-`` and
    ``_``. What is malformed is as if it was not there.
    """
    given: str | None = dict.get(headers, "traceparent")
    if given is not None:
        found = _TRACEPARENT.fullmatch(given.strip())
        if found is not None and (found[1] != "00" or found[3] is None):
            return found[2]
    given = dict.get(headers, "x-trace-id")
    if given is not None and _TRACE_ID.fullmatch(given) is not None:
        return str(given)
    return new_trace_id()
