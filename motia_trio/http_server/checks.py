"""Whether answers are what their step declares. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motia_trio import codec
from motia_trio.errors import DoesNotFit, MalformedJson, Misfit
from motia_trio.events import ResponseInvalid

if TYPE_CHECKING:
    from motia_trio.http_server.responses import Response
    from motia_trio.steps import Step
    from motia_trio.steps.schemas import Schema

__all__ = ["misfits_of"]


def misfits_of(
    schema: Schema, response: Response, step: Step, trace_id: str
) -> ResponseInvalid | None:
    """Give what an answer has that does not fit the schema for its status, None if it fits.

    A text counts as the string that it is, and no body as null. Bytes of a type that is neither are
    not looked at.
    """
    kind = dict(response.headers).get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind == b"application/json" or kind.endswith(b"+json"):
        raw = response.body
    elif kind.startswith(b"text/"):
        raw = codec.encode(response.body.decode("utf-8", "replace"))
    elif response.body:
        return None
    else:
        raw = b"null"  # there is none, as {204: None} has it
    try:
        schema.check_json(raw)
    except DoesNotFit as error:
        misfits = error.misfits
    except MalformedJson as error:  # a text that the handler says is JSON
        misfits = (Misfit("", f"is not JSON: {error}"),)
    else:
        return None
    return ResponseInvalid(step.name, step.source, trace_id, response.status, misfits)
