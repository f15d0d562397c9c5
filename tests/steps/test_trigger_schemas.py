"""The schemas in a config: compiled when the step is loaded, and every wrong one told."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from motia_trio.errors import LoadFailed
from motia_trio.steps import (
    HttpTrigger,
    QueryDoc,
    QueueTrigger,
    Step,
    compile_schema,
    http,
    parse_step,
    queue,
)


async def handler(input: Any, ctx: Any) -> None: ...


def parse(**config: Any) -> Step:
    return parse_step({"name": "A", **config}, handler, source="steps/a_step.py")


def problems(**config: Any) -> list[str]:
    with pytest.raises(LoadFailed) as failed:
        parse(**config)
    return [str(problem).removeprefix("steps/a_step.py: ") for problem in failed.value.problems]


class Model(BaseModel):
    x: int


class QueryParam(BaseModel):
    name: str
    description: str


SCHEMA = {"type": "object"}


def test_schemas_are_compiled_when_the_step_is_loaded() -> None:
    step = parse(
        triggers=[
            http(
                "POST", "/a", body_schema=SCHEMA, query_params=Model, response_schema={"200": Model}
            ),
            queue("t", input=list[Model]),
        ]
    )
    first, second = step.triggers
    assert isinstance(first, HttpTrigger)
    assert isinstance(second, QueueTrigger)
    assert first.body_schema == compile_schema(SCHEMA)
    assert first.query_params == compile_schema(Model)
    assert first.response_schema == {200: compile_schema(Model)}
    assert second.input_schema == compile_schema(list[Model])


def test_a_trigger_without_schemas_has_none() -> None:
    (trigger,) = parse(triggers=[http("GET", "/a")]).triggers
    assert isinstance(trigger, HttpTrigger)
    assert (trigger.body_schema, trigger.query_params, trigger.query_docs) == (None, None, ())
    assert trigger.response_schema == {}


def test_what_is_given_in_several_places_is_compiled_once() -> None:
    step = parse(subscribes=["a", "b"], input=SCHEMA, triggers=[queue("c", input=SCHEMA)])
    schemas = [t.input_schema for t in step.triggers if isinstance(t, QueueTrigger)]
    assert len(schemas) == 3
    assert len({id(schema) for schema in schemas}) == 1


def test_every_schema_that_is_wrong_is_told_with_its_key() -> None:
    wrong = {"type": "strin"}
    told = problems(
        triggers=[
            http("POST", "/a", body_schema=wrong, query_params=wrong, response_schema={200: wrong}),
            queue("t", input="Model"),
            {"type": "cron", "expression": "never"},
        ]
    )
    for start in (
        'triggers[0].bodySchema: type: "strin": no such type',
        'triggers[0].queryParams: type: "strin"',
        'triggers[0].responseSchema[200]: type: "strin"',
        "triggers[1].input: 'Model': a schema is",
        "triggers[2].expression",
    ):
        assert any(text.startswith(start) for text in told), start
    assert len(told) == 5


def test_in_the_first_dialect_the_key_is_the_steps_own_and_told_once() -> None:
    told = problems(
        type="api", path="/", method="GET", bodySchema=5, subscribes=["a", "b"], input=6
    )
    assert [text.partition(":")[0] for text in told] == ["bodySchema", "input"]


@pytest.mark.parametrize(
    "given",
    [
        [{"name": "page", "description": "which"}, {"name": "size"}],
        ({"name": "page", "description": "which"}, {"name": "size", "description": None}),
        [QueryParam(name="page", description="which"), QueryParam(name="size", description="")],
    ],
)
def test_query_parameters_that_are_only_described_are_kept_for_documents(given: Any) -> None:
    (trigger,) = parse(type="api", path="/", method="GET", queryParams=given).triggers
    assert isinstance(trigger, HttpTrigger)
    assert trigger.query_params is None
    assert trigger.query_docs == (QueryDoc("page", "which"), QueryDoc("size"))


def test_one_description_may_stand_alone() -> None:
    (trigger,) = parse(triggers=[http("GET", "/", query_params={"name": "page"})]).triggers
    assert isinstance(trigger, HttpTrigger)
    assert trigger.query_docs == (QueryDoc("page"),)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([{"nam": "page"}], "queryParams[0]: {'nam': 'page'}: expected {'name': …"),
        (["page"], "queryParams[0]: 'page': expected {'name': …"),
        ({"page": "which"}, "queryParams: {'page': 'which'}: expected a JSON Schema of an object"),
        ({"type": "string"}, "queryParams: a query is an object of its names, and this takes none"),
        (list[int], "queryParams: a query is an object of its names, and this takes none"),
        (5, "queryParams: 5: a schema is"),
    ],
)
def test_query_parameters_that_are_neither_are_told(given: Any, told: str) -> None:
    (found,) = problems(type="api", path="/", method="GET", queryParams=given)
    assert found.startswith(told)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"ok": SCHEMA}, "responseSchema: 'ok': expected a status such as 200 or '200' as key"),
        ({"2XX": SCHEMA}, "responseSchema: '2XX': expected a status"),
        ({"default": SCHEMA}, "responseSchema: 'default': expected a status"),
        ({True: SCHEMA}, "responseSchema: True: expected a status"),
        ({99: SCHEMA}, "responseSchema: 99: expected a status"),
        ({"9" * 9999: SCHEMA}, "responseSchema: '999"),
        ({200: SCHEMA, "200": SCHEMA}, "responseSchema[200]: is given twice"),
        (SCHEMA, "responseSchema: 'type': expected a status"),
        (Model, "responseSchema: <class"),
    ],
)
def test_responses_that_are_not_by_status_are_told(given: Any, told: str) -> None:
    (found,) = problems(type="api", path="/", method="GET", responseSchema=given)
    assert found.startswith(told)


def test_a_status_without_a_body_has_the_schema_of_null() -> None:
    (trigger,) = parse(triggers=[http("GET", "/", response_schema={204: None})]).triggers
    assert isinstance(trigger, HttpTrigger)
    assert trigger.response_schema[204].json_schema == {"type": "null"}
