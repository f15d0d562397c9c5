"""Schemas of every kind: what fits, what the handler gets, and how all that does not fit is told."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Optional
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel, TypeAdapter, field_validator
from typing_extensions import TypedDict

from motia_trio.codec import decode, encode
from motia_trio.data import Data, wrap
from motia_trio.errors import DoesNotFit, MalformedJson, Misfit
from motia_trio.steps import compile_schema, schema_to_json_schema


class Item(BaseModel):
    name: str


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    count: int = 1
    items: list[Item] = []


ORDER = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "count": {"type": "integer", "default": 1},
        "items": {"type": "array", "items": {"$ref": "#/$defs/Item"}},
    },
    "required": ["text"],
    "additionalProperties": False,
    "$defs": {
        "Item": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        }
    },
}

BOTH = pytest.mark.parametrize("kind", [ORDER, Order, TypeAdapter(Order)], ids=repr)


def misfits(kind: object, value: object) -> list[tuple[str, str]]:
    with pytest.raises(DoesNotFit) as failed:
        compile_schema(kind).check(value)
    return [(misfit.path, misfit.message) for misfit in failed.value.misfits]


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


# what does not fit


@BOTH
def test_everything_that_does_not_fit_is_told_with_its_path(kind: object) -> None:
    value = {"count": "x", "items": [{"name": "a"}, {}, {"name": 5}], "more": 1}
    assert sorted(path for path, _ in misfits(kind, wrap(value))) == [
        "count",
        "items[1].name",
        "items[2].name",
        "more",
        "text",
    ]


@BOTH
def test_what_is_missing_and_what_is_too_much_are_told_in_the_same_words(kind: object) -> None:
    assert misfits(kind, {"more": 1}) in (
        [("text", "is required"), ("more", "is not expected")],
        [("more", "is not expected"), ("text", "is required")],
    )


@BOTH
def test_the_whole_value_has_an_empty_path(kind: object) -> None:
    ((path, message),) = misfits(kind, [1])
    assert path == ""
    assert message in {'is not of type "object"', "should be an object"}


@BOTH
def test_the_error_tells_the_first_few(kind: object) -> None:
    with pytest.raises(DoesNotFit) as failed:
        compile_schema(kind).check({"items": [{}] * 9, "text": "a"})
    assert str(failed.value).startswith("items[0].name: is required; items[1].name: is required; ")
    assert str(failed.value).endswith("; and 4 more")


@BOTH
def test_a_message_is_short_whatever_was_sent(kind: object) -> None:
    long = "x" * 100_000
    for value in ({long: 1, "text": long, "count": long}, {"text": [long]}, long):
        for path, message in misfits(kind, value):
            assert len(path) <= 200
            assert len(message) <= 200
            assert "xxxx" not in message
            assert "http" not in message


@BOTH
def test_fifty_misfits_are_listed_and_the_others_are_counted(kind: object) -> None:
    found = misfits(kind, {"text": "a", "items": [{}] * 60})
    assert found[49] == ("items[49].name", "is required")
    assert found[50] == ("", "10 more do not fit")
    assert len(found) == 51


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            {"items": {"type": "integer"}},
            '[0]: is not of type "integer"; it has more than 2,000 parts',
        ),
        ({"items": {"anyOf": [{"type": "integer"}]}}, "does not fit; it has more than 2,000 parts"),
        (list[int], "100000 parts do not fit"),
    ],
)
def test_a_flood_of_misfits_is_not_told_one_by_one(kind: object, told: str) -> None:
    """To tell a million would take jsonschema_rs 13 s and 1.4 GB."""
    with pytest.raises(DoesNotFit) as failed:
        compile_schema(kind).check(["x"] * 100_000)
    assert str(failed.value).startswith(told)


def nested(levels: int) -> Any:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


class Tree(RootModel["list[Tree]"]):
    pass


CIRCLES = [
    {"type": "array", "items": {"$ref": "#"}},
    {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}},
    {"$anchor": "top", "items": {"$ref": "#top"}},
    {"$dynamicAnchor": "top", "items": {"$dynamicRef": "#top"}},
]


@pytest.mark.parametrize("kind", [*CIRCLES, Tree, list])
def test_a_value_that_is_nested_too_deeply_does_not_fit_and_does_no_harm(kind: object) -> None:
    """jsonschema_rs alone overruns the stack, and the process is gone."""
    assert misfits(kind, nested(100_000)) == [("", "is nested too deeply to be checked")]
    with pytest.raises((DoesNotFit, MalformedJson)):
        compile_schema(kind).check_json(b"[" * 900 + b"]" * 900)
    assert compile_schema(kind).check_json(b"[" * 150 + b"]" * 150)


def test_a_deep_value_that_does_not_fit_is_refused_though_it_cannot_be_told_where() -> None:
    value = {"deep": nested(1_000)}
    schema = {"required": ["text"]}
    assert misfits(schema, value) == [("", "is nested too deeply to be checked")]
    assert compile_schema(schema).check({**value, "text": "a"})["text"] == "a"


def test_a_pattern_that_takes_forever_is_given_up() -> None:
    told = misfits({"properties": {"a": {"pattern": r"(a*)*\1c"}}}, {"a": "a" * 40})
    assert told == [("a", "takes too long to be matched with its pattern")]


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        ({"type": ["integer", "null"]}, "x", 'is not of types "null", "integer"'),
        ({"enum": ["a", "b"]}, 3, 'is not one of "a" or "b"'),
        ({"const": {"a": 1}}, 3, 'is not {"a":1}'),
        ({"minLength": 3}, "a", "is shorter than 3 characters"),
        ({"pattern": "^x$"}, "a", 'does not match "^x$"'),
        ({"format": "uuid"}, "a", 'is not a "uuid"'),
        ({"minimum": 3}, 1, "is less than the minimum of 3"),
        ({"uniqueItems": True}, [1, 1], "has non-unique elements"),
        ({"not": {"type": "integer"}}, 1, 'must not fit {"type":"integer"}'),
        (
            {"contains": {"type": "string"}},
            [1],
            "has too few or too many of the items that it must contain",
        ),
        (
            {"anyOf": [{"type": "string"}, {"required": ["x"]}]},
            {},
            'fits no alternative: is not of type "string"; x is required',
        ),
        (
            {"oneOf": [{"type": "integer"}, {"minimum": 1}]},
            5,
            "fits 2 alternatives, and must fit one alone",
        ),
    ],
)
def test_a_json_schemas_keywords_are_told_without_the_value(
    kind: object, value: object, told: str
) -> None:
    assert misfits(kind, value) == [("", told)]


@pytest.mark.parametrize(
    ("kind", "value", "path", "told"),
    [
        ({"properties": {"a": False}}, {"a": 1}, "a", "is not expected"),
        ({"unevaluatedProperties": False}, {"a": 1}, "a", "is not expected"),
        (
            {"prefixItems": [True], "unevaluatedItems": False},
            [1, 2, "a"],
            "",
            "has 2 items more than are expected",
        ),
        ({"prefixItems": [True], "items": False}, [1, 2], "[1]", "is not expected"),
        ({"dependentRequired": {"a": ["b"]}}, {"a": 1}, "b", "is required"),
        (
            {"propertyNames": {"maxLength": 1}},
            {"ab": 1},
            "ab",
            "as a name: is longer than 1 character",
        ),
    ],
)
def test_a_misfit_of_a_name_or_an_item_has_its_path(
    kind: object, value: object, path: str, told: str
) -> None:
    assert misfits(kind, value) == [(path, told)]


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    bone: str


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")] | None = None
    either: int | list[int] = 0
    numbers: dict[int, int] = {}
    pair: tuple[int, int] = (0, 0)
    even: int = Field(0, alias="isEven")

    @field_validator("even")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("Odd numbers are none of ours")
        if value < 0:
            raise AssertionError("below zero")
        return value


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"pet": {"kind": "cat"}}, [("pet.lives", "as cat: is required")]),
        (
            {"either": "x"},
            [
                (
                    "either",
                    "as int: should be a valid integer, unable to parse string as an integer",
                ),
                ("either", "as list[int]: should be a valid array"),
            ],
        ),
        (
            {"numbers": {"a": 1}},
            [
                (
                    "numbers.a",
                    "as a key: should be a valid integer, unable to parse string as an integer",
                )
            ],
        ),
        ({"pair": [1]}, [("pair[1]", "is required")]),
        ({"isEven": 3}, [("isEven", "Odd numbers are none of ours")]),
        ({"isEven": -2}, [("isEven", "below zero")]),
    ],
)
def test_pydantics_errors_lead_to_where_they_are_in_the_value(
    value: object, told: list[tuple[str, str]]
) -> None:
    assert misfits(Owner, value) == told


def test_misfits_are_values() -> None:
    with pytest.raises(DoesNotFit) as failed:
        compile_schema(Order).check({})
    assert failed.value.misfits == (Misfit("text", "is required"),)


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
    assert compile_schema(Owner).json_schema == Owner.model_json_schema(mode="validation")


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
