"""The OpenAPI document of an app: valid, whole, and the same every time."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openapi_spec_validator import validate
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from motia_trio import App, LoadFailed, http, step
from motia_trio.openapi import openapi_document

T = TypeVar("T")
ROOT = Path(__file__).parents[1]


class Address(BaseModel):
    street: str


class Order(BaseModel):
    """What was ordered."""

    id: int
    to: Address
    note: str | None = None


class Tree(BaseModel):
    parts: list[Tree] = []


class Page(BaseModel, Generic[T]):
    items: list[T]
    next: str | None = None


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Pet(TypedDict):
    owner: Address


@dataclass
class Size:
    width: int = 1


class Elsewhere:
    """Another module, as far as names go."""

    class Address(BaseModel):
        lines: list[str]


PAIR = {
    "$schema": "http://json-schema.org/draft-07/schema#",
    "definitions": {"n": {"type": "integer"}},
    "type": "object",
    "properties": {
        "pair": {"type": "array", "items": [{"$ref": "#/definitions/n"}, {"$ref": "#"}]}
    },
    "dependencies": {"pair": ["id"]},
}
NESTED = {
    "$id": "https://shop.example/nested.json",
    "$defs": {"leaf": {"$anchor": "leaf", "type": "string"}},
    "type": "object",
    "properties": {"leaf": {"$ref": "nested.json#leaf"}},
}
KINDS = {
    "a nested model": Order,
    "a recursive model": Tree,
    "a generic model": Page[Order],
    "a union": Cat | Dog,
    "a union with a discriminator": Annotated[Cat | Dog, Field(discriminator="kind")],
    "a list of models": list[Order],
    "a typed dict": Pet,
    "a dataclass": Size,
    "a model of a name that is taken": Elsewhere.Address,
    "a dict in an older draft": PAIR,
    "a dict with an id": NESTED,
    "a dict": {"type": "object", "properties": {"n": {"type": "integer"}}},
    "text": str,
    "bytes": bytes,
    "anything": Any,
    "nothing else": {},
}


async def handler(req: Any) -> None: ...


def app_of(*triggers: Any, name: str = "TheStep", **about: Any) -> App:
    """An app of one step."""
    return App([step(*triggers, name=name, **about)(handler)], root="/srv/shop")


def document_of(*triggers: Any, **about: Any) -> dict[str, Any]:
    document = openapi_document(app_of(*triggers, **about))
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


# whole documents


def test_an_app_without_routes_has_a_valid_document() -> None:
    document = openapi_document(App([], root="/srv/shop"))
    validate(document)
    assert document["openapi"] == "3.1.0"
    assert document["info"] == {"title": "shop", "version": "1.0.0"}
    assert document["paths"] == {}


def test_title_and_version_can_be_given() -> None:
    document = openapi_document(app_of(http("GET", "/")), title="Kettles", version="2.1")
    assert document["info"] == {"title": "Kettles", "version": "2.1"}


def test_a_project_at_the_root_of_the_disk_has_a_title() -> None:
    assert openapi_document(App([], root="/"))["info"]["title"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_with_a_schema_of_each_kind_is_valid(kind: str) -> None:
    schema = KINDS[kind]
    document_of(
        http("POST", "/x/:id", body_schema=schema, response_schema={200: schema, 404: schema})
    )


def test_a_document_with_schemas_of_all_kinds_at_once_is_valid() -> None:
    schemas = list(KINDS.values())
    document = document_of(
        *(
            http("POST", f"/{index}", body_schema=schema, response_schema={"200": other})
            for index, (schema, other) in enumerate(zip(schemas, reversed(schemas), strict=True))
        )
    )
    names = document["components"]["schemas"]
    assert {"Order", "Address", "Address_2", "Tree", "Page_Order_", "Cat", "Pet", "Size"} <= set(
        names
    )
    assert "Order_2" not in names


@pytest.mark.parametrize(
    "folder", sorted(path.parent.name for path in ROOT.glob("examples/*/steps"))
)
def test_the_documents_of_the_examples_are_valid(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    document = openapi_document(App.from_directory(ROOT / "examples" / folder))
    validate(document)
    assert document["paths"]
    assert document["info"]["title"] == folder


def test_the_document_of_the_steps_in_motias_documents_is_valid(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    for path in sorted((ROOT / "tests/documents").glob("*_step.py")):
        shutil.copy(path, tmp_path / "steps")
        try:
            App.from_directory(tmp_path)
        except LoadFailed:  # some are there twice, some lack their handlers
            (tmp_path / "steps" / path.name).unlink()
    document = openapi_document(App.from_directory(tmp_path))
    validate(document)
    assert {"/hello", "/users/{id}", "/messages"} <= set(document["paths"])


def test_a_document_is_json_the_same_every_time_and_the_callers_to_change() -> None:
    app = app_of(
        *(http("POST", f"/{n}", body_schema=kind) for n, kind in enumerate(KINDS.values()))
    )
    first, second = openapi_document(app), openapi_document(app)
    text = json.dumps(second)
    assert json.dumps(first) == text
    first["components"]["headers"]["TraceId"].clear()
    first["components"]["responses"]["BadRequest"]["content"].clear()
    for schema in first["components"]["schemas"].values():
        schema.clear()
    assert json.dumps(openapi_document(app)) == text


def test_three_hundred_steps_take_well_under_a_second() -> None:
    steps = [
        step(
            http(
                "PUT", f"/{n}/:id", body_schema=Order, response_schema={200: Page[Order], 404: PAIR}
            ),
            name=f"Step{n}",
        )(handler)
        for n in range(300)
    ]
    app = App(steps)
    began = time.process_time()
    openapi_document(app)
    assert time.process_time() - began < 1


words = st.text(alphabet="ab:{}*-_. \u00e9%", max_size=6)
segments = st.one_of(
    words.filter(lambda w: not set(w) & set("{}*") and not w.startswith(":") and w.strip()),
    st.from_regex(r":[a-c]{1,2}", fullmatch=True),
    st.from_regex(r"\{[a-c]{1,2}\}", fullmatch=True),
)
paths = st.tuples(st.lists(segments, max_size=4), st.sampled_from(["", "*", "*rest"])).map(
    lambda parts: "/" + "/".join([*parts[0], *filter(None, [parts[1]])])
)
routes = st.lists(st.tuples(st.sampled_from(["GET", "POST", "DELETE", "HEAD", "OPTIONS"]), paths))


@given(routes)
def test_the_document_of_any_routes_is_valid_and_has_each_of_them(
    routes: list[tuple[str, str]],
) -> None:
    steps: list[Any] = []
    for method, path in routes:
        try:
            made = step(http(method, path), name=f"Step{len(steps)}")(handler)
            App([*steps, made])
        except LoadFailed:  # one parameter twice, or the same route twice
            continue
        steps.append(made)
    document = openapi_document(App(steps))
    validate(document)
    told = [operation for item in document["paths"].values() for operation in item.values()]
    assert sorted(each["operationId"] for each in told) == sorted(
        f"Step{n}" for n in range(len(steps))
    )


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
