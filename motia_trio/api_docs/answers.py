"""The answers that the HTTP edge gives by itself, as OpenAPI says it. Pure.

Source: motia-contract §4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motia_trio.steps import HttpTrigger

__all__ = ["HEADERS", "OWN_ANSWERS", "TRACE_ID", "OwnAnswer", "own_statuses", "reference_to"]

TRACE_ID = {"x-trace-id": {"$ref": "#/components/headers/TraceId"}}
RETRY_AFTER = {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}

#: what stands below ``components/headers``
HEADERS: dict[str, Any] = {
    "RetryAfter": {
        "description": "The number of seconds after which to ask again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 0},
    },
    "TraceId": {
        "description": "The id under which all that follows from this request is logged.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
    },
}


@frozen
class OwnAnswer:
    """An answer of ours: its name among the components, what it says, and its body."""

    name: str
    description: str
    schema: dict[str, Any]
    headers: dict[str, Any] = TRACE_ID

    def as_object(self) -> dict[str, Any]:
        """Give the Response Object."""
        return {
            "description": self.description,
            "headers": self.headers,
            "content": {"application/json": {"schema": self.schema}},
        }


def _body(*errors: str, **more: Any) -> dict[str, Any]:
    """The schema of a body of ours: what it says, and what it has beside that."""
    required = ["error", *(name for name in more if name != "details")]
    properties = {"error": {"type": "string", "enum": list(errors)}, **more}
    return {"type": "object", "required": required, "properties": properties}


_TRACED = {"traceId": {"type": "string"}}
_DETAILS = {
    "description": "What does not fit, and where.",
    "type": "array",
    "items": {
        "type": "object",
        "required": ["path", "message"],
        "properties": {"path": {"type": "string"}, "message": {"type": "string"}},
    },
}

#: by status
OWN_ANSWERS = {
    400: OwnAnswer(
        "BadRequest",
        "The body or the query cannot be read, or does not fit.",
        _body(
            "Invalid request body",
            "Invalid query parameters",
            "Malformed request body",
            details=_DETAILS,
        ),
    ),
    408: OwnAnswer("BodyTooSlow", "The body did not come in time.", _body("Request timed out")),
    413: OwnAnswer(
        "BodyTooLarge",
        "The body has more than `limit` bytes.",
        _body("Request body too large", limit={"type": "integer"}),
    ),
    415: OwnAnswer(
        "UnsupportedMediaType",
        "The body is in a form that is not understood.",
        _body("Unsupported media type", type={"type": "string"}),
    ),
    422: OwnAnswer(
        "ConditionNotMet",
        "The condition under which this is done is not met.",
        _body("Request condition not met", skipped={"const": True}),
    ),
    500: OwnAnswer("InternalError", "It failed.", _body("Internal server error", **_TRACED)),
    503: OwnAnswer(
        "Overloaded", "Too much is being done. Ask later.", _body("Overloaded"),
        {**TRACE_ID, **RETRY_AFTER},
    ),
    504: OwnAnswer("TimedOut", "It took too long.", _body("Timed out", **_TRACED)),
}  # fmt: skip


def own_statuses(trigger: HttpTrigger, *, takes_body: bool) -> Iterator[int]:
    """Give the statuses with which we may answer a request to a trigger ourselves."""
    if takes_body or trigger.query_params is not None:
        yield 400
    if takes_body:
        yield from (408, 413, 415)
    if trigger.condition is not None:
        yield 422
    yield from (500, 503, 504)


def reference_to(status: int) -> dict[str, str]:
    """Give the reference to our answer of a status."""
    return {"$ref": f"#/components/responses/{OWN_ANSWERS[status].name}"}
