"""What a step declares of its answers is checked: told of, and with a setting refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from motia_trio import http, step
from motia_trio.events import ResponseInvalid
from tests.http_server.wire import served
from tests.support import Notebook


class User(BaseModel):
    name: str
    age: int


USER = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}


def gives(answer: Any, schemas: Any) -> Any:
    """A step that gives an answer, under a declaration."""

    @step(http("GET", "/", response_schema=schemas), name="Gives")
    async def handler(req: Any) -> Any:
        return answer

    return handler


async def told(answer: Any, schemas: Any, **settings: Any) -> tuple[int, list[ResponseInvalid]]:
    notebook = Notebook()
    async with served(gives(answer, schemas), notebook=notebook, **settings) as (_, client):
        status = (await client.get("/")).status_code
    return status, notebook.of(ResponseInvalid)


@pytest.mark.parametrize("schema", [USER, User])
async def test_what_does_not_fit_is_told_with_the_details_and_still_sent(schema: Any) -> None:
    status, (event,) = await told({"status": 200, "body": {"name": 5}}, {200: schema})
    assert status == 200
    assert (event.step, event.status) == ("Gives", 200)
    assert sorted(misfit.path for misfit in event.misfits) == ["age", "name"]


@pytest.mark.parametrize("schema", [USER, User])
async def test_with_strict_responses_it_is_a_500(schema: Any) -> None:
    answer = {"status": 200, "body": {"name": 5}}
    status, (event,) = await told(answer, {"200": schema}, strict_responses=True)
    assert (status, event.status) == (500, 200)
    fits = {"status": 200, "body": User(name="a", age=1)}
    assert await told(fits, {200: schema}, strict_responses=True) == (200, [])


async def test_a_status_that_is_not_declared_is_not_checked() -> None:
    assert await told({"status": 404, "body": "x"}, {200: USER}, strict_responses=True) == (404, [])


async def test_a_text_is_the_string_that_it_is_and_bytes_are_not_looked_at() -> None:
    text = {"type": "string", "maxLength": 3}
    assert (await told({"status": 200, "body": "abc"}, {200: text}))[1] == []
    assert len((await told({"status": 200, "body": "abcd"}, {200: text}))[1]) == 1
    assert (await told({"status": 200, "body": b"abcd"}, {200: text}))[1] == []


async def test_a_text_that_is_said_to_be_json_and_is_not_does_not_fit() -> None:
    answer = {"status": 200, "body": "{", "headers": {"content-type": "application/json"}}
    _, (event,) = await told(answer, {200: USER})
    assert "is not JSON" in event.misfits[0].message


async def test_what_is_sent_while_it_is_made_is_not_checked() -> None:
    @step(http("GET", "/", response_schema={200: USER}), name="Streams")
    async def handler(req: Any) -> Any:
        return {"status": 200, "body": iter(["a"])}

    notebook = Notebook()
    async with served(handler, notebook=notebook, strict_responses=True) as (_, client):
        assert (await client.get("/")).text == "a"
    assert notebook.of(ResponseInvalid) == []
