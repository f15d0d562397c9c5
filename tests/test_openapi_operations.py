"""The operations of an OpenAPI document: what a request may be, and what may be answered."""

from __future__ import annotations

import json
import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate
from pydantic import BaseModel, Field

from motia_trio import App, http, step
from motia_trio.openapi import openapi_document


class Address(BaseModel):
    street: str


class Order(BaseModel):
    id: int
    to: Address
    note: str | None = None


async def handler(req: Any) -> None: ...


def document_of(*triggers: Any, **about: Any) -> dict[str, Any]:
    """The document of an app of one step."""
    app = App([step(*triggers, name="TheStep", **about)(handler)])
    document = openapi_document(app)
    validate(document)
    return document


def operation_of(*triggers: Any, **about: Any) -> dict[str, Any]:
    """The one operation of a step with one route."""
    (item,) = document_of(*triggers, **about)["paths"].values()
    (operation,) = item.values()
    found: dict[str, Any] = operation
    return found


def content_of(schema: Any) -> dict[str, Any]:
    """In what forms an answer of a schema goes out, and its schema in each."""
    operation = operation_of(http("GET", "/x", response_schema={200: schema}))
    content: dict[str, Any] = operation["responses"]["200"]["content"]
    return content


# operations


def test_a_step_tells_its_name_its_description_and_its_flows() -> None:
    app = App([
        step(http("GET", "/a"), name="ListOrders", flows=["orders", "shop"])(handler),
        step(
            http("GET", "/b"),
            name="show order",
            description="Tells how an order is.\nAnd more.",
            flows="orders",
        )(handler),
    ])  # fmt: skip
    document = openapi_document(app)
    first, second = document["paths"]["/a"]["get"], document["paths"]["/b"]["get"]
    assert (first["operationId"], first["summary"]) == ("ListOrders", "List orders")
    assert "description" not in first
    assert second["operationId"] == "show_order"
    assert second["summary"] == "Tells how an order is."
    assert second["description"] == "Tells how an order is.\nAnd more."
    assert (first["tags"], second["tags"]) == (["orders", "shop"], ["orders"])
    assert document["tags"] == [{"name": "orders"}, {"name": "shop"}]


def test_operation_ids_are_told_apart() -> None:
    app = App([
        step(http("GET", "/a"), http("POST", "/a"), http("GET", "/b"), name="Two")(handler),
        step(http("GET", "/c"), name="a b")(handler),
        step(http("GET", "/d"), name="a_b")(handler),
        step(http("GET", "/e"), name="\u00fcber")(handler),
    ])  # fmt: skip
    document = openapi_document(app)
    validate(document)
    told = [each["operationId"] for item in document["paths"].values() for each in item.values()]
    assert told == ["Two_get", "Two_post", "Two_get_2", "a_b", "a_b_2", "_ber"]


def test_head_is_not_listed_for_a_get_route() -> None:
    assert list(document_of(http("GET", "/x"))["paths"]["/x"]) == ["get"]


# requests


def test_a_body_is_required_unless_nothing_fits_its_schema_too() -> None:
    body = operation_of(http("POST", "/x", body_schema=Order))["requestBody"]
    reference = {"$ref": "#/components/schemas/Order"}
    assert body == {"required": True, "content": {"application/json": {"schema": reference}}}
    optional = operation_of(http("POST", "/x", body_schema=Order | None))["requestBody"]
    assert optional["required"] is False


def test_in_the_first_dialect_no_body_is_an_empty_object() -> None:
    for needed, required in (([], False), (["a"], True)):
        schema = {"type": "object", "properties": {"a": {}}, "required": needed}
        config = {"name": "S", "type": "api", "path": "/x", "method": "POST", "bodySchema": schema}
        app = App([step(config, handler)])
        body = openapi_document(app)["paths"]["/x"]["post"]["requestBody"]
        assert body["required"] is required


def test_an_object_of_plain_values_may_come_as_a_form() -> None:
    class Login(BaseModel):
        name: str
        stay: bool = False
        age: int | None = None

    types = operation_of(http("POST", "/x", body_schema=Login))["requestBody"]["content"]
    assert list(types) == ["application/json", "application/x-www-form-urlencoded"]


def test_an_object_with_a_file_comes_as_a_multipart_form() -> None:
    class Upload(BaseModel):
        name: str
        file: bytes

    types = operation_of(http("POST", "/x", body_schema=Upload))["requestBody"]["content"]
    assert list(types) == ["multipart/form-data"]


def test_a_body_without_a_schema_may_be_anything() -> None:
    assert operation_of(http("PATCH", "/x"))["requestBody"] == {
        "required": False,
        "content": {"application/json": {"schema": {}}},
    }
    assert "requestBody" not in operation_of(http("GET", "/x"))
    assert "requestBody" not in operation_of(http("DELETE", "/x"))
    assert "requestBody" in operation_of(http("DELETE", "/x", body_schema=Order))


def test_each_field_of_a_typed_query_is_a_parameter() -> None:
    class Search(BaseModel):
        text: str = Field(description="What to look for")
        limit: int = Field(10, le=100)
        tag: list[str] = []
        before: int | None = None
        near: Address | None = None

    given = operation_of(http("GET", "/x/:id", query_params=Search))["parameters"]
    assert [each["name"] for each in given] == ["id", "text", "limit", "tag", "before", "near"]
    path, text, limit, tag, before, near = given
    assert path == {
        "name": "id", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1},
    }  # fmt: skip
    assert text == {
        "name": "text", "in": "query", "required": True, "description": "What to look for",
        "schema": {"title": "Text", "type": "string"},
    }  # fmt: skip
    assert (limit["required"], limit["schema"]["maximum"]) == (False, 100)
    assert tag["schema"]["type"] == "array"
    assert before["schema"] == {"title": "Before", "type": "integer"}  # no query can send a null
    assert near["schema"] == {"$ref": "#/components/schemas/Address"}


def test_a_query_that_is_documented_alone_is_texts() -> None:
    described = [{"name": "page", "description": "Which page"}, {"name": "size", "description": ""}]
    given = operation_of(http("GET", "/x", query_params=described))["parameters"]
    text = {"type": "string"}
    assert given == [
        {"name": "page", "in": "query", "description": "Which page", "schema": text},
        {"name": "size", "in": "query", "schema": text},
    ]


def test_a_query_that_is_no_plain_object_is_one_parameter_spread_over_the_query() -> None:
    schema = {"type": "object", "anyOf": [{"required": ["a"]}, {"required": ["b"]}]}
    (given,) = operation_of(http("GET", "/x", query_params=schema))["parameters"]
    assert (given["style"], given["explode"]) == ("form", True)
    assert given["schema"] == schema


# answers


def statuses(*triggers: Any) -> list[str]:
    return list(operation_of(*triggers)["responses"])


def test_a_route_lists_what_the_step_declares_and_what_is_answered_for_it() -> None:
    plain = ["500", "503", "504"]
    body = ["400", "408", "413", "415"]
    ok = {200: str}
    assert statuses(http("GET", "/x", response_schema=ok)) == ["200", *plain]
    assert statuses(http("POST", "/x", response_schema=ok)) == ["200", *body, *plain]
    query = http("GET", "/x", query_params=Order, response_schema=ok)
    assert statuses(query) == ["200", "400", *plain]
    conditional = http("GET", "/x", condition=lambda input: True, response_schema=ok)
    assert statuses(conditional) == ["200", "422", *plain]


@given(st.sets(st.integers(100, 599), min_size=1))
def test_every_declared_status_is_listed(declared: set[int]) -> None:
    route = http("POST", "/x", response_schema={str(status): Order for status in declared})
    assert {str(status) for status in declared} <= set(statuses(route))
    assert "default" not in statuses(route)


def test_a_step_that_declares_nothing_may_answer_with_any_status() -> None:
    assert statuses(http("GET", "/x")) == ["500", "503", "504", "default"]


def test_an_answer_that_the_step_gives_and_we_do_too_is_either() -> None:
    route = http("POST", "/x", body_schema=Order, response_schema={400: Order, 503: {}})
    told = operation_of(route)["responses"]
    either = told["400"]["content"]["application/json"]["schema"]["anyOf"]
    assert either[0] == {"$ref": "#/components/schemas/Order"}
    assert "Malformed request body" in either[1]["properties"]["error"]["enum"]
    assert "Retry-After" in told["503"]["headers"]


def test_an_answer_without_content_has_none() -> None:
    told = operation_of(http("DELETE", "/x", response_schema={204: {}, 304: {}}))["responses"]
    assert "content" not in told["204"]
    assert "content" not in told["304"]


def test_answers_are_told_in_the_form_in_which_they_go_out() -> None:
    assert list(content_of(Order)) == ["application/json"]
    assert list(content_of(list[str])) == ["application/json"]
    assert list(content_of(str)) == ["application/json", "text/*"]
    assert list(content_of(str | None)) == ["application/json", "text/*"]
    assert list(content_of(bytes)) == ["application/octet-stream"]
    assert list(content_of({})) == ["*/*"]


def test_every_answer_has_a_trace_id_and_what_is_overloaded_says_when_to_come_again() -> None:
    document = document_of(http("POST", "/x", response_schema={200: Order}))
    answers = document["components"]["responses"]
    own = document["paths"]["/x"]["post"]["responses"]["200"]
    for answer in (own, *answers.values()):
        assert "x-trace-id" in answer["headers"]
    assert [name for name, each in answers.items() if "Retry-After" in each["headers"]] == [
        "Overloaded"
    ]
    for name in re.findall(r'"#/components/responses/(\w+)"', json.dumps(document)):
        assert name in answers
