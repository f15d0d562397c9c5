"""``/openapi.json`` and ``/asyncapi.json``: served by the edge, moved and stopped by settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motia_trio import http, queue, step
from motia_trio.events import AppWarned
from motia_trio.http_server import documents
from tests.http_server.wire import served
from tests.support import Notebook

if TYPE_CHECKING:
    import pytest


@step(http("GET", "/hello"), queue("topic"), name="Hello")
async def hello(req: Any) -> Any:
    return {"status": 200, "body": "hi"}


async def test_the_documents_are_served() -> None:
    async with served(hello) as (_, client):
        answer = await client.get("/openapi.json")
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.json()["openapi"].startswith("3.1")
        assert "/hello" in answer.json()["paths"]
        assert (await client.get("/asyncapi.json")).json()["asyncapi"].startswith("3.0")
        head = await client.head("/openapi.json")
        assert (head.content, int(head.headers["content-length"])) == (b"", len(answer.content))
        assert (await client.post("/openapi.json")).status_code == 405


async def test_a_setting_moves_or_stops_them() -> None:
    async with served(hello, openapi_path="/docs/api.json", asyncapi_path="") as (_, client):
        assert (await client.get("/docs/api.json")).status_code == 200
        assert (await client.get("/openapi.json")).status_code == 404
        assert (await client.get("/asyncapi.json")).status_code == 404


async def test_a_route_of_ones_own_wins() -> None:
    @step(http("GET", "/openapi.json"), name="Mine")
    async def mine() -> Any:
        return {"status": 200, "body": {"mine": True}}

    @step(http("GET", "/*rest"), name="Rest")
    async def rest() -> Any:
        return {"status": 200, "body": "rest"}

    async with served(mine, rest) as (_, client):
        assert (await client.get("/openapi.json")).json() == {"mine": True}
        assert "asyncapi" in (await client.get("/asyncapi.json")).json()
        assert (await client.get("/other.json")).text == "rest"


async def test_each_is_made_once_and_only_when_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[object] = []

    def make(app: Any) -> Any:
        made.append(app)
        return {"n": len(made)}

    monkeypatch.setattr(documents, "openapi_document", make)
    async with served(hello) as (rt, client):
        assert made == []
        assert (await client.get("/openapi.json")).json() == {"n": 1}
        assert (await client.get("/openapi.json")).json() == {"n": 1}
        assert made == [rt.app]


async def test_one_that_cannot_be_made_is_a_500_and_said_in_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(app: Any) -> Any:
        raise ValueError("odd schema")

    monkeypatch.setattr(documents, "openapi_document", make)
    notebook = Notebook()
    async with served(hello, notebook=notebook) as (_, client):
        answer = await client.get("/openapi.json")
        assert (answer.status_code, answer.json()) == (500, {"error": "Internal server error"})
    warned = [event.message for event in notebook.of(AppWarned)]
    assert any("/openapi.json cannot be made: ValueError: odd schema" in text for text in warned)
