"""Schemas of every kind: what fits, what the handler gets, and how documents have them."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Optional
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter
from typing_extensions import TypedDict

from motia_trio.codec import decode, encode
from motia_trio.data import Data, wrap
from motia_trio.errors import DoesNotFit, MalformedJson
from motia_trio.steps import compile_schema, schema_to_json_schema
from tests.steps.orders import BOTH, ORDER, Item, Order, misfits

# what the handler gets


def test_with_a_json_schema_the_handler_gets_the_value_as_a_mapping() -> None:
    schema = compile_schema(ORDER)
    raw = b'{"text":"a","items":[{"name":"b"}]}'
    for got in (schema.check(json.loads(raw)), schema.check_json(raw)):
        assert type(got) is Data
        assert got["items"][0].name == "b"
        assert got == {"text": "a", "items": [{"name": "b"}]}  # no default is filled in


def test_a_mapping_that_is_one_already_is_given_as_it_is() -> None:
    value = wrap({"text": "a"})
    assert compile_schema(ORDER).check(value) is value


def test_with_a_pydantic_class_the_handler_gets_an_instance() -> None:
    for got in (
        compile_schema(Order).check({"text": "a", "items": [{"name": "b"}]}),
        compile_schema(Order).check_json(b'{"text":"a","items":[{"name":"b"}]}'),
    ):
        assert got == Order(text="a", items=[Item(name="b")])


@dataclass
class Point:
    x: int
    y: int = 0


class Named(TypedDict):
    name: str


@pytest.mark.parametrize(
    ("kind", "value", "got"),
    [
        (Point, {"x": 1}, Point(1)),
        (Named, {"name": "a"}, {"name": "a"}),
        (list[Item], [{"name": "a"}], [Item(name="a")]),
        (Optional[Item], None, None),  # noqa: UP045 - this form of it, too
        (Annotated[int, Field(ge=3)], 3, 3),
        (TypeAdapter(dict[str, int]), {"a": 1}, {"a": 1}),
        (dict, {"a": 1}, {"a": 1}),
        (RootModel[list[int]], [1], RootModel[list[int]]([1])),
        (None, None, None),
        (Any, [1], [1]),
        (True, [1], [1]),
    ],
)
def test_anything_that_a_type_adapter_takes_is_a_schema(kind: Any, value: Any, got: Any) -> None:
    schema = compile_schema(kind)
    assert schema.check(value) == got
    assert schema.check_json(encode(value)) == got


def test_plain_dicts_that_validation_gives_answer_to_attributes() -> None:
    named = compile_schema(list[Named]).check([{"name": "a"}])
    assert named[0].name == "a"


def test_false_is_a_schema_that_nothing_fits() -> None:
    nothing: object = False
    assert misfits(nothing, 5) == [("", "is not expected")]


def test_a_compiled_schema_is_a_schema() -> None:
    schema = compile_schema(ORDER)
    assert compile_schema(schema) is schema


# what fits as JSON fits as a decoded value


class Colour(enum.Enum):
    RED = "red"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    id: UUID
    at: datetime
    day: date
    colour: Colour
    pair: tuple[int, str]
    unique: set[int]
    price: Decimal
    by_number: dict[int, str]


STRICT = {
    "id": "b9f6f5d8-3f0b-4f9e-a1a1-5f3e1f4e1b11",
    "at": "2025-01-02T03:04:05Z",
    "day": "2025-01-02",
    "colour": "red",
    "pair": [1, "a"],
    "unique": [1, 2, 2],
    "price": "1.50",
    "by_number": {"1": "a"},
}


def test_strict_models_take_what_json_can_say() -> None:
    schema = compile_schema(Strict)
    got = schema.check(wrap(json.loads(json.dumps(STRICT))))
    assert got == schema.check_json(encode(STRICT))
    assert (got.colour, got.pair, got.unique) == (Colour.RED, (1, "a"), {1, 2})


class Loose(BaseModel):
    a: int | str | None = None
    b: float = 0
    c: list[int | bool] = []
    d: dict[str, UUID | str] = {}
    e: bool = False


LOOSE_AS_JSON = {
    "type": "object",
    "properties": {
        "a": {"type": ["integer", "string", "null"]},
        "b": {"type": "number"},
        "c": {"type": "array", "items": {"type": ["integer", "boolean"]}},
        "e": {"type": "boolean"},
    },
}

LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
)
JSON = st.recursive(
    LEAVES.filter(lambda value: value not in {float("inf"), float("-inf")}),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcdef"), inner, max_size=5)
    ),
    max_leaves=10,
)


def outcome(check: Callable[[Any], Any], value: Any) -> tuple[str, Any]:
    try:
        return "fits", check(value)
    except DoesNotFit as error:
        return "does not fit", error.misfits


@settings(deadline=None)
@given(JSON)
def test_a_decoded_value_and_its_bytes_are_judged_alike(value: Any) -> None:
    raw = encode(value)
    for kind in (Loose, LOOSE_AS_JSON, list[Item], ORDER, Order):
        schema = compile_schema(kind)
        assert outcome(schema.check, wrap(decode(raw))) == outcome(schema.check_json, raw)


@BOTH
@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b'{"text":NaN}', b'{"text":"a","count":1e999}', b"\xff", b'"\\ud800"', b"[1]x"],
)
def test_what_is_no_json_is_told_as_that(kind: object, raw: bytes) -> None:
    with pytest.raises(MalformedJson):
        compile_schema(kind).check_json(raw)


def test_integers_of_any_size_are_integers() -> None:
    for kind in ({"properties": {"n": {"type": "integer"}}}, dict[str, int]):
        assert compile_schema(kind).check_json(b'{"n":1180591620717411303424}') == {"n": 2**70}
        assert compile_schema(kind).check({"n": 2**70}) == {"n": 2**70}


# what is no JSON


def test_bytes_are_checked_as_the_text_that_they_would_be() -> None:
    assert compile_schema({"type": "string"}).check(b"\xff") == b"\xff"
    assert misfits(ORDER, b"x") == [("", 'is not of type "object"')]
    ((path, message),) = misfits(Order, b"x")
    assert (path, message) == ("", "should be a valid dictionary or instance of Order")


def test_dates_are_checked_as_the_text_that_they_would_be() -> None:
    kind = {"properties": {"at": {"type": "string", "format": "date-time"}}}
    value = {"at": datetime.fromisoformat("2025-01-02T03:04:05Z")}
    assert compile_schema(kind).check(value) == value


class File:
    """As a multipart form has it."""


class Upload(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    file: File
    count: int


def test_a_file_of_a_form_is_a_string_to_a_json_schema_and_itself_to_a_class() -> None:
    file = File()
    kind = {
        "properties": {
            "file": {"type": "string", "format": "binary"},
            "count": {"type": "integer"},
        },
        "required": ["file"],
    }
    assert compile_schema(kind).check_form({"file": file, "count": "3"}) == {
        "file": file,
        "count": 3,
    }
    got = compile_schema(Upload).check_form({"file": file, "count": "3"})
    assert (got.file, got.count) == (file, 3)
    assert misfits(kind, {"count": 1}) == [("file", "is required")]


# as documents have it


def test_a_json_schema_is_documented_as_it_was_given_whatever_happens_to_the_dict() -> None:
    given: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = compile_schema(given)
    given["properties"]["a"]["type"] = "integer"
    assert schema.json_schema["properties"] == {"a": {"type": "string"}}
    assert schema.check({"a": "x"}) == {"a": "x"}
    assert schema != compile_schema(given)


def test_a_class_is_documented_as_what_comes_in() -> None:
    assert compile_schema(Strict).json_schema == Strict.model_json_schema(mode="validation")


def test_what_has_no_json_schema_is_documented_as_anything() -> None:
    class Part(BaseModel):
        call: Callable[[], int]

    assert schema_to_json_schema(Part)["properties"]["call"] == {"title": "Call"}


def test_a_documented_schema_is_the_askers_own() -> None:
    schema = compile_schema(ORDER)
    schema_to_json_schema(schema)["properties"].clear()
    assert schema.json_schema == ORDER
    assert [schema_to_json_schema(given) for given in (True, False)] == [{}, {"not": {}}]


def test_schemas_of_equal_things_are_equal() -> None:
    assert compile_schema(ORDER) == compile_schema(dict(ORDER)) != compile_schema(Order)
    assert compile_schema(list[Item]) == compile_schema(list[Item]) != compile_schema(list[Order])
    assert len({compile_schema(ORDER), compile_schema(ORDER), compile_schema(Item)}) == 2
    assert "Order" in repr(compile_schema(Order))
    assert '"type":"object"' in repr(compile_schema(ORDER))
