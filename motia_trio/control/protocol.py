"""What goes over the control socket: one JSON object a line, and one line of answer for each.

A request is ``{"v": 1, "op": "state.get", "params": {"group": "g", "key": "k"}}``. Its answer is
``{"v": 1, "result": …}`` or ``{"v": 1, "error": {"type": "ValueError", "message": "…"}}``. What may
be asked is in ``ops``. This is the client's side, which loads nothing but the standard library.
"""

from __future__ import annotations

import json
from typing import Any

from motia_trio.errors import MotiaTrioError

__all__ = ["VERSION", "Refused", "encode_request", "read_answer", "request_limit"]

VERSION = 1
# bytes that a request may have besides the JSON it carries
FRAME = 64 * 1024


class Refused(MotiaTrioError):
    """What was asked was not done. ``kind`` is the name of the error, the text is its message."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def request_limit(message_limit: int) -> int:
    """How many bytes a line may have, so that every message within the limit fits.

    Twice: what counts is the message as the service writes it, and another may write it longer.
    """
    return 2 * message_limit + FRAME


def encode_request(op: str, params: dict[str, Any]) -> bytes:
    """Write a request as a line.

    Raises:
        ValueError: NaN and infinity have no JSON form, half a surrogate pair no UTF-8.
    """
    request = {"v": VERSION, "op": op, "params": params}
    text = json.dumps(request, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode() + b"\n"


def read_answer(line: bytes) -> Any:
    """Give the result that is in a line of answer.

    Raises:
        Refused: the answer is an error.
        ValueError: it is no answer.
    """
    answer = json.loads(line)
    if isinstance(answer, dict) and "result" in answer:
        return answer["result"]
    try:
        error = answer["error"]
        refused = Refused(str(error["type"]), str(error["message"]))
    except (TypeError, KeyError):
        raise ValueError(f"no answer of the control protocol: {line[:80]!r}") from None
    raise refused
