"""The mapping that handlers receive."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from motia_trio import codec
from motia_trio.data import Data, Request, alias, wrap
from motia_trio.errors import MalformedJson

# a name as people write them: words that begin with a letter
WORDS = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True), min_size=1, max_size=4)
KEYS = st.text("abAB_1", max_size=5)
VALUES = st.integers(0, 3)
DICTS = st.dictionaries(KEYS, VALUES, max_size=5)
JSON = st.recursive(
    st.none() | st.booleans() | VALUES | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)
MISSING = object()


def snake(words: list[str]) -> str:
    return "_".join(words)


def camel(words: list[str]) -> str:
    return words[0] + "".join(word.capitalize() for word in words[1:])


@given(WORDS)
def test_each_spelling_of_a_name_is_the_alias_of_the_other(words: list[str]) -> None:
    assert alias(snake(words)) == camel(words)
    assert alias(camel(words)) == snake(words)


@given(WORDS)
def test_leading_and_trailing_underscores_are_kept(words: list[str]) -> None:
    assert alias("_" + snake(words[:1])) == "_" + words[0]


@given(WORDS, VALUES)
def test_a_value_is_reached_by_both_spellings_in_every_way(words: list[str], value: int) -> None:
    for key in (snake(words), camel(words)):
        data = Data({key: value})
        for name in (snake(words), camel(words)):
            assert data[name] == value
            assert data.get(name) == value
            assert name in data
            if not hasattr(dict, name):
                assert getattr(data, name) == value


@given(DICTS)
def test_an_exact_key_wins_over_an_alias(fields: dict[str, int]) -> None:
    data = Data(fields)
    for key, value in fields.items():
        assert data[key] == value
        assert data.get(key) == value


@given(DICTS, KEYS)
def test_get_contains_and_subscription_agree(fields: dict[str, int], key: str) -> None:
    data = Data(fields)
    expected = fields.get(key, fields.get(alias(key), MISSING))
    assert data.get(key, MISSING) is expected
    assert (key in data) is (expected is not MISSING)
    if expected is MISSING:
        with pytest.raises(KeyError, match=repr(key).replace("\\", "")):
            data[key]
    else:
        assert data[key] is expected


@given(DICTS)
def test_it_is_a_dict_to_everything_that_takes_dicts(fields: dict[str, int]) -> None:
    data = Data(fields)
    assert isinstance(data, dict)
    assert data == fields
    assert dict(**data) == fields
    assert {**data, "more": 1} == {**fields, "more": 1}
    assert list(data.items()) == list(fields.items())
    assert json.loads(json.dumps(data)) == fields
    assert codec.decode(codec.encode(data)) == fields


def test_attributes_can_be_set_and_deleted() -> None:
    data = Data()
    data.order_id = 1
    assert data == {"order_id": 1}
    del data.order_id
    assert data == {}
    with pytest.raises(AttributeError, match="no 'order_id' here"):
        del data.order_id


def test_a_missing_attribute_says_what_there_is() -> None:
    with pytest.raises(AttributeError, match="no 'emial' here; there are: email, name"):
        Data({"email": 1, "name": 2}).emial  # noqa: B018
    with pytest.raises(AttributeError, match="no keys"):
        Data().emial  # noqa: B018


def test_keys_that_are_names_of_dict_methods_are_reached_by_subscription() -> None:
    data = Data({"items": [1], "get": 2})
    assert data["items"] == [1]
    assert list(data.items()) == [("items", [1]), ("get", 2)]


def test_a_key_that_is_no_string_is_no_error() -> None:
    data = Data({"a": 1})
    odd: Any = 5
    assert odd not in data
    assert data.get(odd) is None
    with pytest.raises(KeyError):
        data[odd]


def test_it_can_be_copied() -> None:
    data = wrap({"a": {"user_id": [1]}})
    twin = copy.deepcopy(data)
    assert type(twin) is Data
    assert twin == data
    assert twin.a.userId == [1]
    assert twin.a is not data.a


# wrap


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list) else value


def dicts(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    found = [each for item in inner for each in dicts(item)]
    return [value, *found] if isinstance(value, dict) else found


@settings(deadline=None)
@given(JSON)
def test_wrapping_changes_every_dict_and_no_value(value: Any) -> None:
    before = plain(value)
    wrapped = wrap(value)
    assert plain(wrapped) == before
    assert {type(each) for each in dicts(wrapped)} <= {Data}


def test_nested_objects_answer_to_attributes() -> None:
    data = wrap({"order": {"lineItems": [{"unit_price": 5}]}})
    assert data.order.line_items[0].unitPrice == 5


def test_whatever_the_codec_reads_can_be_wrapped() -> None:
    for depth in (500, 1000, 2000, 4000):
        try:
            value = codec.decode(b"[" * depth + b"]" * depth)
        except MalformedJson:
            return
        wrap(value)


# requests


def request() -> Request:
    return Request({"body": Data({"text": "hi"}), "path_params": Data({"id": "1"})}, b"raw")


def test_a_request_has_its_raw_body_beside_its_keys() -> None:
    req = request()
    assert req.raw_body == req.rawBody == req["raw_body"] == req.get("rawBody") == b"raw"
    assert "raw_body" not in list(req)
    assert json.loads(json.dumps(req)) == {"body": {"text": "hi"}, "path_params": {"id": "1"}}


def test_a_request_answers_to_every_spelling() -> None:
    req = request()
    assert req.body["text"] == req["body"].text == req.get("body").get("text") == "hi"
    assert req.path_params.id == req.get("pathParams", {}).get("id") == req.pathParams["id"] == "1"


def test_a_request_is_still_open_to_what_middleware_adds() -> None:
    req = request()
    req.user = "me"
    assert req["user"] == req.user == "me"


def test_a_copy_of_a_request_is_the_same_request() -> None:
    twin = copy.deepcopy(request())
    assert dict(twin) == dict(request())
    assert twin.raw_body == b"raw"
