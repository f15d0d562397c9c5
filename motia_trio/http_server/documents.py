"""What an app tells of itself: OpenAPI for its routes, AsyncAPI for topics and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motia_trio import codec
from motia_trio.asyncapi import asyncapi_document
from motia_trio.events import AppWarned
from motia_trio.failures import tell_error
from motia_trio.http_server.responses import Response, error_response
from motia_trio.openapi import openapi_document
from motia_trio.steps import HttpTrigger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from motia_trio.app import App
    from motia_trio.runtime import Runtime
    from motia_trio.settings import Settings

__all__ = ["Document", "documents_of"]


class Document:
    """One document. It is made when it is first asked for."""

    def __init__(self, path: str, app: App, make: Callable[[App], dict[str, Any]]) -> None:
        self._path = path
        self._app = app
        self._make = make
        self._made: Response | None = None

    def answer(self, runtime: Runtime) -> Response:
        """Give it as an answer, or a 500 if it cannot be made."""
        if self._made is None:
            try:
                raw = codec.encode(self._make(self._app))
            except Exception as error:  # noqa: BLE001 - schemas are made by code of users
                told = tell_error(error, self._app.root)
                words = f"{self._path} cannot be made: {told.error} ({told.where})"
                runtime.observers.tell(AppWarned(words))
                return error_response(500, {"error": "Internal server error"})
            length = str(len(raw)).encode()
            kind = (b"content-type", b"application/json")
            self._made = Response(200, [kind, (b"content-length", length)], raw)
        return self._made


def documents_of(app: App, settings: Settings) -> Iterator[tuple[str, str, Document]]:
    """Give the routes of the documents. Where a step has the same route, it answers itself."""
    taken = {
        trigger.path.strip("/")
        for step in app.steps
        for trigger in step.triggers
        if isinstance(trigger, HttpTrigger) and trigger.method == "GET"
    }
    for path, make in (
        (settings.openapi_path, openapi_document),
        (settings.asyncapi_path, asyncapi_document),
    ):
        if path is not None and path.strip("/") not in taken:
            taken.add(path.strip("/"))
            yield "GET", path, Document(path, app, make)
