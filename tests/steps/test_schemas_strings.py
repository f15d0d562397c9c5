"""Queries and forms: strings are read as what the schema wants, whatever it was made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypedDict

from motia_trio.data import Data
from motia_trio.errors import DoesNotFit
from motia_trio.steps import compile_schema

KINDS = {
    "limit": {"type": "integer"},
    "price": {"type": "number"},
    "flag": {"type": "boolean"},
    "text": {"type": "string"},
    "tags": {"type": "array", "items": {"type": "string"}},
    "ids": {"type": "array", "items": {"type": "integer"}},
    "maybe": {"type": ["integer", "null"]},
    "auto": {"anyOf": [{"type": "integer"}, {"const": "auto"}]},
    "either": {"type": ["string", "integer"]},
    "level": {"enum": [1, 2, 3]},
    "day": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
    "few": {"oneOf": [{"type": "string", "pattern": "^x"}, {"$ref": "#/$defs/Numbers"}]},
    "far": {"$ref": "#/$defs/Far"},
}
QUERY = {
    "type": "object",
    "properties": KINDS,
    "$defs": {
        "Numbers": {"type": "array", "items": {"type": "number"}},
        "Far": {"allOf": [{"type": ["integer", "string"]}, {"type": ["integer", "null"]}]},
    },
}


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    limit: int = 0
    price: float = 0
    flag: bool = False
    text: str = ""
    tags: list[str] = []
    ids: list[int] = []
    maybe: int | None = None
    auto: int | Literal["auto"] = "auto"
    either: str | int = ""
    level: Literal[1, 2, 3] = 1
    day: str | None = None
    far: int = 0


READINGS: list[tuple[str, str | list[str], Any]] = [
    ("limit", "12", 12),
    ("limit", "-0", 0),
    ("limit", "9" * 30, int("9" * 30)),
    ("price", "1.5", 1.5),
    ("price", "-2e3", -2000.0),
    ("price", "3", 3),
    ("flag", "true", True),
    ("flag", "0", False),
    ("flag", "On", True),
    ("text", "12", "12"),
    ("text", "", ""),
    ("tags", "a", ["a"]),
    ("tags", ["a", "b"], ["a", "b"]),
    ("ids", ["1", "2"], [1, 2]),
    ("ids", "1", [1]),
    ("maybe", "", None),
    ("maybe", "null", None),
    ("maybe", "5", 5),
    ("auto", "5", 5),
    ("auto", "auto", "auto"),
    ("either", "5", "5"),
    ("level", "2", 2),
    ("far", "7", 7),
]


@pytest.mark.parametrize("kind", [QUERY, Strict], ids=["json schema", "class"])
@pytest.mark.parametrize(("name", "given", "read"), READINGS)
def test_a_string_is_read_as_what_the_schema_wants(
    kind: object, name: str, given: str | list[str], read: Any
) -> None:
    got = compile_schema(kind).check_strings({name: given})
    assert got[name] == read
    assert type(got[name]) in {type(read), float}


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("day", "2025-01-02", "2025-01-02"),
        ("day", "", None),
        ("few", "3", [3]),
        ("few", ["1.5", "2"], [1.5, 2]),
        ("few", "x3", "x3"),
        ("more", "5", "5"),
        ("more", ["5", "6"], ["5", "6"]),
    ],
)
def test_what_a_string_can_stay_it_stays(name: str, given: Any, read: Any) -> None:
    assert compile_schema(QUERY).check_strings({name: given}) == {name: read}


@pytest.mark.parametrize(
    "given",
    [
        {"limit": "1.5"},
        {"limit": "1_000"},
        {"limit": "٣"},
        {"limit": ""},
        {"limit": ["1", "2"]},
        {"price": "1e999"},
        {"price": "nan"},
        {"flag": "maybe"},
        {"ids": ["1", "x"]},
        {"level": "4"},
        {"auto": "manual"},
    ],
)
@pytest.mark.parametrize("kind", [QUERY, Strict], ids=["json schema", "class"])
def test_what_cannot_be_read_does_not_fit(kind: object, given: dict[str, Any]) -> None:
    with pytest.raises(DoesNotFit) as failed:
        compile_schema(kind).check_strings(given)
    (name,) = given
    assert {misfit.path.partition("[")[0] for misfit in failed.value.misfits} == {name}


def test_names_that_are_not_listed_are_read_by_what_is_said_of_them() -> None:
    schema = compile_schema(
        {
            "patternProperties": {"^n_": {"type": "integer"}},
            "additionalProperties": {"type": "boolean"},
        }
    )
    assert schema.check_strings({"n_a": "1", "b": "1"}) == {"n_a": 1, "b": True}


def test_what_several_parts_say_of_one_name_holds_together() -> None:
    schema = compile_schema(
        {
            "allOf": [{"$ref": "#/$defs/Page"}],
            "anyOf": [
                {"properties": {"id": {"type": "integer"}}, "required": ["id"]},
                {"properties": {"name": {"type": "string"}}, "required": ["name"]},
            ],
            "$defs": {"Page": {"properties": {"page": {"type": "integer"}}}},
        }
    )
    assert schema.check_strings({"page": "2", "id": "3"})["page"] == 2
    assert schema.check_strings({"page": "2", "name": "3"}) == {"page": 2, "name": "3"}


CIRCLE = {"$ref": "#/$defs/a"}


@pytest.mark.parametrize("several", [1, 3])
def test_a_reference_that_goes_in_a_circle_says_nothing(several: int) -> None:
    circle = {"anyOf": [CIRCLE] * several + [{"properties": {"b": CIRCLE}}]}
    schema = compile_schema({"properties": {"a": CIRCLE}, **CIRCLE, "$defs": {"a": circle}})
    assert schema.check_strings({"a": "1", "b": "1"}) == {"a": "1", "b": "1"}


def test_a_long_chain_of_references_is_no_harm() -> None:
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(2000)}
    schema = compile_schema(
        {"properties": {"a": {"$ref": "#/$defs/d0"}}, "$defs": {**chain, "d2000": {}}}
    )
    assert schema.check_strings({"a": "1"}) == {"a": "1"}


class Page(BaseModel):
    model_config = ConfigDict(extra="allow")
    page_size: int = Field(10, alias="pageSize")
    since: date | None = None


@dataclass
class Point:
    x: int
    y: int = 0


class Named(TypedDict, total=False):
    count: int


class Whole(RootModel[dict[str, int]]):
    pass


def test_of_a_class_a_query_has_the_fields_by_their_names() -> None:
    got = compile_schema(Page).check_strings({"pageSize": "5", "since": "2025-01-02", "more": "1"})
    assert type(got) is Data
    assert got == {"page_size": 5, "since": date(2025, 1, 2), "more": "1"}
    assert got.pageSize == 5
    assert compile_schema(Page).check_form({"pageSize": "5"}) == Page(pageSize=5)


@pytest.mark.parametrize(
    ("kind", "given", "got"),
    [
        (Point, {"x": "1"}, {"x": 1, "y": 0}),
        (Named, {"count": "1"}, {"count": 1}),
        (Whole, {"a": "1"}, {"a": 1}),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (Any, {"a": "1"}, {"a": "1"}),
        (True, {"a": "1"}, {"a": "1"}),
    ],
)
def test_a_query_is_a_mapping_whatever_the_schema_is(kind: Any, given: Any, got: Any) -> None:
    checked = compile_schema(kind).check_strings(given)
    assert type(checked) is Data
    assert checked == got


@pytest.mark.parametrize(
    ("kind", "takes"),
    [
        (QUERY, True),
        (Page, True),
        ({}, True),
        (list[int], False),
        ({"type": "string"}, False),
        (False, False),
    ],
)
def test_whether_a_schema_can_be_one_of_a_query_is_known(kind: object, takes: object) -> None:
    assert compile_schema(kind).takes_objects is takes


NAMES = st.sampled_from([*KINDS, "more"])
TEXTS = st.text(max_size=6) | st.sampled_from(["1", "-1.5", "true", "null", "", "auto", "x", "1e5"])


@settings(deadline=None)
@given(st.dictionaries(NAMES, TEXTS | st.lists(TEXTS, max_size=3)))
def test_whatever_is_sent_it_fits_or_is_told(values: dict[str, Any]) -> None:
    for kind in (QUERY, Strict):
        try:
            got = compile_schema(kind).check_strings(values)
        except DoesNotFit:
            continue
        assert set(values) - {"more", "few"} <= set(got)
