"""The HTTP triggers of an app as an OpenAPI 3.1 document. Pure.

Source: the OpenAPI Specification 3.1.1; motia-contract §4 for what is answered.
"""

from __future__ import annotations

from copy import deepcopy
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from motia_trio.api_docs import (
    HEADERS,
    JSON,
    OWN_ANSWERS,
    TRACE_ID,
    Paths,
    Schemas,
    answer_types,
    describe,
    identifier,
    info_of,
    own_statuses,
    query_parameters,
    reference_to,
    request_types,
    tags_of,
    takes_nothing,
    unique,
)
from motia_trio.steps import HttpTrigger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from motia_trio.app import App
    from motia_trio.steps import Step
    from motia_trio.steps.schemas import Schema

__all__ = ["openapi_document"]

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_WITHOUT_CONTENT = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
_KNOWN = frozenset(HTTPStatus)


def openapi_document(
    app: App, *, title: str | None = None, version: str = "1.0.0"
) -> dict[str, Any]:
    """Give the OpenAPI 3.1 document of an app's HTTP triggers: a dict that is JSON.

    The same app gives the same document. ``title`` is the project's folder if not given,
    ``version`` is of the project's interface. Apps that are mounted are not in it.
    """
    document = _Document()
    for step, trigger in _routes(app):
        document.add(step, trigger)
    made = {
        "openapi": "3.1.0",
        "info": info_of(app, title, version),
        "tags": tags_of(flow for step, _ in _routes(app) for flow in step.flows),
        "paths": document.paths.as_object(),
        "components": document.components(),
    }
    return deepcopy(made)  # the caller's to change


def _routes(app: App) -> list[tuple[Step, HttpTrigger]]:
    """The routes in the order of the steps; those that take all that follows are last."""
    routes = [
        (step, trigger)
        for step in app.steps
        for trigger in step.triggers
        if isinstance(trigger, HttpTrigger)
    ]
    return sorted(routes, key=lambda route: "/*" in route[1].path)


class _Document:
    """What is gathered while the routes are gone through."""

    def __init__(self) -> None:
        self.paths = Paths()
        self._schemas = Schemas()
        self._ids: set[str] = set()
        self._statuses: set[int] = set()

    def components(self) -> dict[str, Any]:
        answers = [OWN_ANSWERS[status] for status in sorted(self._statuses)]
        return {
            "schemas": self._schemas.components,
            "responses": {answer.name: answer.as_object() for answer in answers},
            "headers": HEADERS,
        }

    def add(self, step: Step, trigger: HttpTrigger) -> None:
        method = trigger.method.lower()
        item, parameters = self.paths.add(trigger.path, method)
        operation: dict[str, Any] = {"operationId": self._id(step, method), **describe(step)}
        if step.flows:
            operation["tags"] = list(dict.fromkeys(step.flows))
        given = [*(each.as_object() for each in parameters), *self._query(trigger)]
        if given:
            operation["parameters"] = given
        body = self._body(step, trigger)
        if body is not None:
            operation["requestBody"] = body
        operation["responses"] = self._responses(step, trigger, takes_body=body is not None)
        item.operations[method] = operation

    def _id(self, step: Step, method: str) -> str:
        """The step's name; with the method, if it has several routes."""
        name = identifier(step.name)
        if sum(isinstance(trigger, HttpTrigger) for trigger in step.triggers) > 1:
            name = f"{name}_{method}"
        name = unique(name, self._ids)
        self._ids.add(name)
        return name

    def _query(self, trigger: HttpTrigger) -> Iterator[dict[str, Any]]:
        if trigger.query_params is not None:
            schema = self._schemas.add(trigger.query_params.json_schema, "query", whole=True)
            yield from query_parameters(schema, self._schemas)
        for told in trigger.query_docs:
            about = {"description": told.description} if told.description else {}
            yield {"name": told.name, "in": "query", **about, "schema": {"type": "string"}}

    def _body(self, step: Step, trigger: HttpTrigger) -> dict[str, Any] | None:
        """The Request Body Object; None for a request that should have none."""
        if trigger.body_schema is None:
            if trigger.method not in _WITH_BODY:
                return None
            return {"required": False, "content": {JSON: {"schema": {}}}}
        schema = self._schemas.add(trigger.body_schema.json_schema, f"{identifier(step.name)}Body")
        types = request_types(schema, self._schemas)
        nothing: dict[str, Any] | None = {} if step.dialect == 1 else None
        return {
            "required": not takes_nothing(schema, self._schemas, nothing),
            "content": {kind: {"schema": schema} for kind in types},
        }

    def _responses(
        self, step: Step, trigger: HttpTrigger, *, takes_body: bool
    ) -> dict[str, dict[str, Any]]:
        """The Responses Object: what the step declares, and what we answer ourselves.

        A step that declares nothing may answer with any status.
        """
        found = {
            status: self._response(step, status, schema)
            for status, schema in trigger.response_schema.items()
            if 100 <= status <= 599
        }
        for status in own_statuses(trigger, takes_body=takes_body):
            self._statuses.add(status)
            found[status] = (
                _either(found[status], status) if status in found else reference_to(status)
            )
        responses = {str(status): found[status] for status in sorted(found)}
        if not trigger.response_schema:
            responses["default"] = {"description": "What the step answers.", "headers": TRACE_ID}
        return responses

    def _response(self, step: Step, status: int, schema: Schema) -> dict[str, Any]:
        phrase = HTTPStatus(status).phrase if status in _KNOWN else f"Status {status}"
        response: dict[str, Any] = {"description": phrase, "headers": TRACE_ID}
        if status not in _WITHOUT_CONTENT and schema.json_schema != {"type": "null"}:
            placed = self._schemas.add(
                schema.json_schema, f"{identifier(step.name)}Response{status}"
            )
            types = answer_types(placed, self._schemas)
            response["content"] = {kind: {"schema": placed} for kind in types}
        return response


def _either(declared: dict[str, Any], status: int) -> dict[str, Any]:
    """An answer that the step gives, and we do, too."""
    ours = OWN_ANSWERS[status]
    content = dict(declared.get("content", {}))
    schemas = [content[JSON]["schema"]] if JSON in content else []
    content[JSON] = {"schema": {"anyOf": [*schemas, ours.schema]} if schemas else ours.schema}
    return {"description": declared["description"], "headers": ours.headers, "content": content}
