"""JSON as this package reads and writes it."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import uuid
from collections import deque
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from motia_trio.codec import decode, encode
from motia_trio.data import wrap
from motia_trio.errors import MalformedJson, NotEncodable

if TYPE_CHECKING:
    from collections.abc import Callable

NAMES = st.text("abcdef_0", min_size=1, max_size=6)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=10)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), inner, max_size=4)
    ),
    max_leaves=20,
)


@settings(deadline=None)
@given(JSON)
def test_what_is_written_is_read_back_the_same(value: Any) -> None:
    assert repr(decode(encode(value))) == repr(value)  # repr: 1 is not True, and 0.0 is not -0.0


@settings(deadline=None)
@given(JSON)
def test_what_handlers_were_given_is_written_as_the_dicts_that_it_stands_for(value: Any) -> None:
    raw = encode(value)
    given = wrap(decode(raw))
    assert encode(given) == encode([given])[1:-1] == encode({"a": given})[5:-1] == raw


@settings(deadline=None)
@given(JSON)
def test_what_is_written_is_json_to_everybody_else(value: Any) -> None:
    assert json.loads(encode(value)) == value


@settings(deadline=None)
@given(JSON)
def test_what_everybody_else_writes_is_read(value: Any) -> None:
    assert decode(json.dumps(value)) == value
    assert decode(json.dumps(value, ensure_ascii=False).encode()) == value


def test_integers_of_any_size_stay_exact() -> None:
    numbers = [2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40]
    assert decode(encode(numbers)) == numbers


# NaN and infinity


@st.composite
def poisoned(draw: st.DrawFn) -> tuple[Any, str]:
    """A JSON value with one number that is not finite somewhere, and the path to it."""
    value: Any = draw(st.sampled_from([math.nan, math.inf, -math.inf]))
    path = ""
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["list", "tuple", "dict"]))
        if kind == "dict":
            name = draw(NAMES)
            others = draw(st.dictionaries(NAMES, SCALARS, max_size=3))
            others.pop(name, None)
            items = [*others.items(), (name, value)]
            value, path = dict(draw(st.permutations(items))), f".{name}{path}"
        else:
            before, after = draw(st.lists(SCALARS, max_size=3)), draw(st.lists(SCALARS, max_size=3))
            value, path = [*before, value, *after], f"[{len(before)}]{path}"
            value = tuple(value) if kind == "tuple" else value
    return value, "$" + path


@settings(deadline=None)
@given(poisoned())
def test_a_number_that_is_not_finite_is_refused_by_its_exact_path(case: tuple[Any, str]) -> None:
    value, path = case
    with pytest.raises(NotEncodable) as refused:
        encode(value)
    assert refused.value.path == path
    assert (
        str(refused.value) == f"{path}: NaN and infinity have no JSON form; send null or a string"
    )


@attrs.define
class Attrs:
    x: float


@dataclass
class Data:
    x: float


@dataclass(slots=True)
class SlottedData:
    x: float


class Tuple(NamedTuple):
    x: float


class Model(BaseModel):
    x: float


class NotANumber(enum.Enum):
    VALUE = math.nan


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Attrs(math.nan), "$.x"),
        (Data(math.inf), "$.x"),
        (Tuple(math.nan), "$[0]"),
        ({math.nan}, "$[0]"),
        ({"a": Attrs(Data([math.nan]))}, "$.a.x.x[0]"),  # type: ignore[arg-type]
        pytest.param(
            SlottedData(math.nan),
            "$.x",
        ),
        pytest.param(
            deque([1.0, math.nan]),
            "$[1]",
        ),
        pytest.param(
            {"a": NotANumber.VALUE},
            "$.a",
        ),
        pytest.param(
            {"a": Model(x=math.nan)},
            "$.a.x",
        ),
    ],
    ids=repr,
)
def test_a_number_that_is_not_finite_is_found_inside_objects(value: object, path: str) -> None:
    with pytest.raises(NotEncodable) as refused:
        encode(value)
    assert refused.value.path == path


def test_the_words_nan_and_infinity_are_text_like_any_other() -> None:
    value = {"NaN": ["Infinity", "-Infinity"], "n": "NaN"}
    assert decode(encode(value)) == value


# what else has a JSON form


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC), "2026-01-31T12:00:00Z"),
        (dt.date(2026, 1, 31), "2026-01-31"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (Decimal("1.50"), "1.50"),
        ({1}, [1]),
        ((1, 2), [1, 2]),
        (Colour.RED, "red"),
        (b"text", "text"),
        (Attrs(1.5), {"x": 1.5}),
        (Data(1.5), {"x": 1.5}),
        (SlottedData(1.5), {"x": 1.5}),
        (Tuple(1.5), [1.5]),
        (Model(x=1.5), {"x": 1.5}),
        ([{"a": Attrs(Model(x=1))}], [{"a": {"x": {"x": 1.0}}}]),  # type: ignore[arg-type]
        ({1: "int key"}, {"1": "int key"}),
    ],
    ids=repr,
)
def test_values_with_an_obvious_json_form_are_written_in_it(value: object, written: object) -> None:
    assert decode(encode(value)) == written


def test_output_is_compact_utf_8() -> None:
    assert encode({"a": [1, "ü"]}) == '{"a":[1,"ü"]}'.encode()


def loop() -> list[Any]:
    items: list[Any] = []
    items.append({"again": items})
    return items


@pytest.mark.parametrize(
    ("make", "path", "word"),
    [
        (object, "$", "object"),
        (lambda: {"a": [1, object()]}, "$.a[1]", "object"),
        (lambda: [Attrs(object())], "$[0].x", "object"),  # type: ignore[arg-type]
        (lambda: {"a": "\ud800"}, "$.a", "surrogates"),
        (lambda: {"a": b"\xff"}, "$.a", "utf-8"),
        (loop, "$[0].again", "contains itself"),
    ],
)
def test_a_part_without_a_json_form_is_named_by_its_path(
    make: Callable[[], object], path: str, word: str
) -> None:
    with pytest.raises(NotEncodable) as refused:
        encode(make())
    assert refused.value.path == path
    assert word in str(refused.value)


def test_one_object_in_two_places_is_no_loop() -> None:
    shared = {"x": 1}
    assert encode([shared, shared]) == b'[{"x":1},{"x":1}]'


def test_a_value_that_is_too_deep_is_refused_and_not_a_crash() -> None:
    value: Any = 1
    for _ in range(5000):
        value = [value]
    with pytest.raises(NotEncodable):
        encode(value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b"[1,]",
        b"NaN",
        b"Infinity",
        b"1e999",
        b"\xff",
        b'"\xff"',
        rb'"\ud800"',
        b"1 2",
        b"[" * 100_000,
    ],
    ids=lambda raw: repr(raw[:10]),
)
def test_what_is_not_json_is_malformed(raw: bytes) -> None:
    with pytest.raises(MalformedJson):
        decode(raw)


@settings(deadline=None)
@given(st.binary(max_size=30))
def test_no_bytes_do_worse_than_being_malformed(raw: bytes) -> None:
    try:
        value = decode(raw)
    except MalformedJson:
        return
    assert decode(encode(value)) == value
