"""What does not fit a schema is told all at once, in one shape, and at a bounded cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, RootModel, field_validator

from motia_trio.data import wrap
from motia_trio.errors import DoesNotFit, MalformedJson, Misfit
from motia_trio.steps import compile_schema
from tests.steps.orders import BOTH, Order, misfits


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
