"""Schemas of many steps as the components of one document."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import Enum
from typing import Any, Generic, Literal, TypeVar

import jsonschema_rs
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter
from typing_extensions import TypedDict

from motia_trio.api_docs import Schemas

T = TypeVar("T")


class Street(BaseModel):
    name: str


class Person(BaseModel):
    """Somebody."""

    name: str
    street: Street | None = None


class Tree(BaseModel):
    size: int
    parts: list[Tree] = []


class Page(BaseModel, Generic[T]):
    items: list[T]


class Colour(Enum):
    RED = "red"


class Car(BaseModel):
    kind: Literal["car"]
    colour: Colour


class Boat(BaseModel):
    kind: Literal["boat"]


class Vehicle(TypedDict):
    thing: Car | Boat


def another_person() -> type[BaseModel]:
    """A model of the same name that is another."""

    class Person(BaseModel):
        age: int

    return Person


def schema_of(kind: Any) -> dict[str, Any]:
    return TypeAdapter(kind).json_schema()


def check(placed: Any, schemas: Schemas) -> Callable[[Any], bool]:
    """What a schema says as it stands in the document."""
    document = {"components": {"schemas": schemas.components}, "allOf": [placed]}
    return jsonschema_rs.Draft202012Validator(document).is_valid


def test_a_model_and_those_within_it_are_components_under_their_names() -> None:
    schemas = Schemas()
    assert schemas.add(schema_of(Person), "Body") == {"$ref": "#/components/schemas/Person"}
    assert list(schemas.components) == ["Person", "Street"]
    assert "$defs" not in schemas.components["Person"]
    fits = check({"$ref": "#/components/schemas/Person"}, schemas)
    assert fits({"name": "Ada", "street": {"name": "Main"}})
    assert not fits({"name": "Ada", "street": {}})


def test_what_is_defined_alike_is_there_once_wherever_it_stands() -> None:
    schemas = Schemas()
    for kind in (Person, list[Person], Page[Person], dict[str, Street], Person):
        schemas.add(schema_of(kind), "Body")
    assert list(schemas.components) == ["Page_Person_", "Person", "Street"]


def test_different_models_of_one_name_are_told_apart() -> None:
    schemas = Schemas()
    first = schemas.add(schema_of(Person), "Body")
    second = schemas.add(schema_of(list[another_person()]), "Body")  # type: ignore[misc]
    third = schemas.add(schema_of(another_person()), "Body")
    assert first == {"$ref": "#/components/schemas/Person"}
    assert second["items"] == third == {"$ref": "#/components/schemas/Person_2"}
    assert list(schemas.components["Person_2"]["properties"]) == ["age"]


def test_models_that_are_alike_but_for_what_they_refer_to_are_told_apart() -> None:
    schemas = Schemas()
    text, number = {"type": "string"}, {"type": "integer"}
    for leaf in (text, number, text):
        schema = {"$defs": {"A": {"items": {"$ref": "#/$defs/B"}}, "B": leaf}, "$ref": "#/$defs/A"}
        schemas.add(schema, "Body")
    assert list(schemas.components) == ["A", "A_2", "B", "B_2"]
    assert schemas.components["A_2"] == {"items": {"$ref": "#/components/schemas/B_2"}}


def test_a_recursive_model_refers_to_its_component() -> None:
    schemas = Schemas()
    assert schemas.add(schema_of(Tree), "Body") == {"$ref": "#/components/schemas/Tree"}
    parts = schemas.components["Tree"]["properties"]["parts"]
    assert parts["items"] == {"$ref": "#/components/schemas/Tree"}


def test_a_discriminators_mapping_leads_to_components_too() -> None:
    kind = TypeAdapter[Any](list[Car | Boat]).json_schema()
    kind["items"] = {
        "discriminator": {"propertyName": "kind", "mapping": {"car": "#/$defs/Car"}},
        "oneOf": kind["items"]["anyOf"],
    }
    schemas = Schemas()
    placed = schemas.add(kind, "Body")
    mapping = placed["items"]["discriminator"]["mapping"]
    assert mapping == {"car": "#/components/schemas/Car"}
    assert list(schemas.components) == ["Boat", "Car", "Colour"]


def test_a_schema_without_a_title_stands_where_it_is_used() -> None:
    schemas = Schemas()
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    assert schemas.add(schema, "Body") == schema
    assert schemas.components == {}


def test_a_schema_that_refers_to_itself_is_a_component_under_the_name_that_is_given() -> None:
    schemas = Schemas()
    linked = {"type": "object", "properties": {"next": {"$ref": "#"}, "same": {"$ref": "#/type"}}}
    placed = schemas.add(linked, "ListBody")
    assert placed == {"$ref": "#/components/schemas/ListBody"}
    found = schemas.components["ListBody"]["properties"]
    assert found["next"] == placed
    # it leads to no schema, and is left as it was
    assert found["same"] == {"$ref": "#/type"}


def test_ids_anchors_and_relative_references_lead_to_the_same_places() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://shop.example/schemas/order.json",
        "type": "object",
        "properties": {
            "by_pointer": {"$ref": "#/$defs/count"},
            "by_anchor": {"$ref": "#amount"},
            "by_address": {"$ref": "https://shop.example/schemas/order.json#/$defs/count"},
            "by_file": {"$ref": "order.json#amount"},
            "by_id": {"$ref": "item.json"},
            "in_another": {"$ref": "item.json#/$defs/count"},
            "outside": {"$ref": "other.json#/x"},
        },
        "$defs": {
            "count": {"$anchor": "amount", "type": "integer"},
            "item": {
                "$id": "item.json",
                "properties": {"n": {"$ref": "#/$defs/count"}},
                "$defs": {"count": {"type": "boolean"}},
            },
        },
    }
    schemas = Schemas()
    placed = schemas.add(schema, "Body")
    told = {name: each["$ref"] for name, each in placed["properties"].items()}
    start = "#/components/schemas"
    assert told == {
        **dict.fromkeys(("by_pointer", "by_anchor", "by_address", "by_file"), f"{start}/count"),
        "by_id": f"{start}/item",
        "in_another": f"{start}/item/$defs/count",
        "outside": "https://shop.example/schemas/other.json#/x",
    }
    item = schemas.components["item"]
    assert item["properties"]["n"] == {"$ref": f"{start}/item/$defs/count"}
    text = json.dumps([placed, schemas.components])
    assert not any(word in text for word in ('"$id"', '"$schema"', '"$anchor"'))


def test_what_is_no_schema_is_left_as_it_is() -> None:
    schema = {
        "$defs": {"a": {"type": "string"}},
        "type": "object",
        "properties": {"$ref": {"$ref": "#/$defs/a"}, "$id": {"const": {"$ref": "#/$defs/a"}}},
        "default": {"$ref": "#/$defs/a"},
        "enum": [{"$id": "x"}],
    }
    placed = Schemas().add(schema, "Body")
    assert placed["properties"]["$ref"] == {"$ref": "#/components/schemas/a"}
    assert placed["properties"]["$id"] == {"const": {"$ref": "#/$defs/a"}}
    assert (placed["default"], placed["enum"]) == ({"$ref": "#/$defs/a"}, [{"$id": "x"}])


def test_the_schema_that_is_given_is_not_changed() -> None:
    schema = schema_of(Person)
    before = json.dumps(schema)
    Schemas().add(schema, "Body")
    assert json.dumps(schema) == before


def test_an_older_draft_is_written_as_the_newest() -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-04/schema#",
        "id": "https://shop.example/pair.json",
        "type": "object",
        "properties": {
            "pair": {"type": "array", "items": [{"type": "string"}], "additionalItems": False},
            "n": {"minimum": 1, "exclusiveMinimum": True, "maximum": 9, "exclusiveMaximum": False},
            "m": {"$ref": "pair.json#/properties/n", "maximum": 2},
        },
        "dependencies": {"n": ["m"], "m": {"required": ["pair"]}},
    }
    schemas = Schemas()
    fits = check(schemas.add(schema, "Body"), schemas)
    assert fits({"pair": ["a"], "n": 2, "m": 9})  # beside a reference nothing counts in draft 04
    assert not fits({"pair": ["a", 1]})
    assert not fits({"n": 1, "m": 2, "pair": []})
    assert not fits({"n": 2})
    assert not fits({"m": 2})


names = st.sampled_from(["A", "B", "C", "a b", "A/~%"])


@st.composite
def definitions(draw: st.DrawFn) -> dict[str, Any]:
    """A schema whose definitions refer to each other."""
    defined = draw(st.lists(names, min_size=1, max_size=4, unique=True))
    targets = st.sampled_from([*(f"#/$defs/{quoted(name)}" for name in defined), "#"])

    def part() -> dict[str, Any]:
        fields = draw(st.dictionaries(st.sampled_from("xyz"), targets, max_size=2))
        schema: dict[str, Any] = {"properties": {name: {"$ref": to} for name, to in fields.items()}}
        schema["type"] = draw(st.sampled_from(["object", "string", "integer"]))
        return schema

    return {**part(), "$defs": {name: part() for name in defined}}


def quoted(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1").replace("%", "%25").replace(" ", "%20")


values = st.recursive(
    st.sampled_from(["s", 1]), lambda inner: st.dictionaries(st.sampled_from("xyz"), inner)
)


@given(st.lists(definitions(), min_size=1, max_size=4), values)
def test_every_schema_means_in_the_document_what_it_meant_alone(
    given: list[dict[str, Any]], value: Any
) -> None:
    schemas = Schemas()
    placed = [schemas.add(schema, f"Body{index}") for index, schema in enumerate(given)]
    for schema, found in zip(given, placed, strict=True):
        alone = jsonschema_rs.Draft202012Validator(schema).is_valid(value)
        assert check(found, schemas)(value) == alone


def test_a_typed_dict_and_a_field_are_named_as_pydantic_names_them() -> None:
    schemas = Schemas()
    schemas.add(schema_of(Vehicle), "Body")

    class Priced(BaseModel):
        price: int = Field(gt=0, title="What it costs")

    schemas.add(schema_of(Priced), "Body")
    assert list(schemas.components) == ["Boat", "Car", "Colour", "Priced", "Vehicle"]
