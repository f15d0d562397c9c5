"""What is no schema is told when it is compiled, with where it is wrong and why."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from motia_trio.steps import SchemaInvalid, compile_schema


class Model(BaseModel):
    x: int


class Undefined(BaseModel):
    other: "Nowhere"  # type: ignore[name-defined]  # noqa: F821 - that is the point


def itself() -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    schema["properties"] = {"a": schema}
    return schema


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            {"type": "strin"},
            (
                'type: "strin": no such type; there are array, boolean, integer, null, number, '
                "object, string; did you mean 'string'?"
            ),
        ),
        (
            {"properties": {"a": {"minimum": "x"}}},
            'properties.a.minimum: "x": is not of type "number"',
        ),
        ({"required": "a"}, 'required: "a": is not of type "array"'),
        ({"pattern": "("}, 'pattern: "(": is not a "regex"'),
        ({"$ref": "#/$defs/No"}, "$ref: '#/$defs/No' leads to nothing in the schema"),
        ({"items": {"$ref": "#no"}}, "items.$ref: '#no' leads to nothing in the schema"),
        (
            {"$schema": "http://nope"},
            "$schema: 'http://nope': no such draft is known; leave it out for 2020-12",
        ),
        ({"$schema": 5}, "$schema: 5: should be the address of a draft"),
        ({"properties": {1: {}}}, "properties: key 1: should be a string"),
        ({1: 2}, "the schema: key 1: should be a string"),
        ({"minimum": math.nan}, "minimum: nan: has no JSON form"),
        (Undefined, "'Nowhere' is used in an annotation and is not defined in its module"),
        (list[Undefined], "'Nowhere' is used in an annotation and is not defined in its module"),
        (list["Nowhere"], "'Nowhere' is used in an annotation and is not defined in its module"),  # type: ignore[name-defined]  # noqa: F821
    ],
)
def test_a_schema_that_is_wrong_says_where_and_why(given: object, told: str) -> None:
    with pytest.raises(SchemaInvalid) as failed:
        compile_schema(given)
    assert str(failed.value) == told


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("Model", ["'Model'", "read the text of a schema first"]),
        (5, ["5", "a schema is a JSON Schema as a dict, a pydantic class, or a type"]),
        (1.5, ["1.5"]),
        ([Model], ["list[Something]"]),
        (Model(x=1), ["give the class Model, not an instance of it"]),
        (len, ["a function is none"]),
        (object(), ["Unable to generate pydantic-core schema for <object object"]),
        ({"type": int}, ["type: <class 'int'>", "'integer'"]),
        ({"properties": {"a": Model}}, ["properties.a", "is no part of a JSON Schema"]),
        (itself(), ["is nested too deeply, or contains itself"]),
    ],
)
def test_what_is_no_schema_says_what_one_is(given: object, words: list[str]) -> None:
    with pytest.raises(SchemaInvalid) as failed:
        compile_schema(given)
    for word in words:
        assert word in str(failed.value)


def test_everything_wrong_in_a_schema_is_told() -> None:
    with pytest.raises(SchemaInvalid) as failed:
        compile_schema({"type": "strin", "minimum": "x", "properties": {"a": {"required": 5}}})
    for path in ("type: ", "minimum: ", "properties.a.required: "):
        assert path in str(failed.value)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"$ref": "http://localhost:9/x.json"}, "$ref: 'http://localhost:9/x.json'"),
        ({"properties": {"a": {"$ref": "file:///etc/passwd"}}}, "properties.a.$ref: 'file:///"),
        ({"items": {"$ref": "other.json#/a"}}, "items.$ref: 'other.json#/a'"),
        ({"$id": "https://localhost/a/", "$ref": "b"}, "$ref: 'b'"),
        ({"$defs": {"a": {"$ref": "https://localhost/b"}}}, "$defs.a.$ref: 'https://localhost/b'"),
    ],
)
def test_a_reference_out_of_the_schema_is_refused_and_nothing_is_fetched(
    given: object, path: str
) -> None:
    with pytest.raises(SchemaInvalid) as failed:
        compile_schema(given)
    assert str(failed.value).startswith(path)
    assert "leads out of the schema, and nothing is fetched" in str(failed.value)


def test_what_only_looks_like_a_reference_is_none() -> None:
    schema = {"properties": {"$ref": {"type": "string"}}, "const": {"$ref": "http://localhost/x"}}
    compile_schema(schema)


def test_references_between_parts_with_ids_are_followed() -> None:
    schema = compile_schema(
        {
            "$id": "https://localhost/a",
            "properties": {"x": {"$ref": "b"}},
            "$defs": {"b": {"$id": "b", "type": "string"}},
        }
    )
    assert schema.check({"x": "a"})


@pytest.mark.parametrize(
    ("draft", "takes"),
    [
        (None, False),
        ("https://json-schema.org/draft/2020-12/schema", False),
        ("https://json-schema.org/draft/2019-09/schema", True),
        ("http://json-schema.org/draft-07/schema#", True),
        ("http://json-schema.org/draft-06/schema#", True),
        ("http://json-schema.org/draft-04/schema#", True),
    ],
)
def test_the_draft_is_the_one_that_the_schema_names(draft: str | None, takes: object) -> None:
    """Before 2020-12 a list of schemas could stand in ``items``, and now it is an error."""
    given = {"items": [{"type": "integer"}]} | ({"$schema": draft} if draft else {})
    if takes:
        assert compile_schema(given).check([1]) == [1]
    else:
        with pytest.raises(SchemaInvalid, match="items"):
            compile_schema(given)


class Deferred(BaseModel):
    model_config = ConfigDict(defer_build=True)
    x: int


def test_a_class_that_builds_late_is_built_when_it_is_compiled() -> None:
    assert compile_schema(list[Deferred]).check([{"x": 1}])[0].x == 1


def test_a_type_whose_own_code_raises_is_told() -> None:
    class Broken:
        @classmethod
        def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
            raise KeyError("oh")

    with pytest.raises(SchemaInvalid, match="KeyError: 'oh'"):
        compile_schema(Broken)


def test_a_schema_of_more_than_a_megabyte_compiles() -> None:
    one = {"type": "string", "description": "x" * 80}
    schema = {"properties": {f"p{number}": one for number in range(10_000)}}
    assert len(json.dumps(schema)) > 1_000_000
    assert compile_schema(schema).check({"p9999": "a"})


def test_jsonschema_rs_is_imported_only_for_a_schema_that_is_a_dict() -> None:
    program = """
import sys
from motia_trio import http, step
from motia_trio.steps import compile_schema
compile_schema(list[int]).check_strings
assert "jsonschema_rs" not in sys.modules
compile_schema({})
assert "jsonschema_rs" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
