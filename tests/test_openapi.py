"""The OpenAPI document of an app: valid, whole, and the same every time."""

from __future__ import annotations

import json
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
