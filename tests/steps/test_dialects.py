"""Every spelling of a config becomes one and the same step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from motia_trio.errors import LoadFailed
from motia_trio.policies import RetryPolicy
from motia_trio.steps import (
    CronTrigger,
    HttpTrigger,
    Limits,
    Publication,
    QueueTrigger,
    StateTrigger,
    Step,
    StreamTrigger,
    cron,
    http,
    parse_step,
    queue,
    state,
    stream,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motia_trio.errors import Problem


async def handler(input: Any, ctx: Any) -> None: ...


def parse(config: object, function: object = handler) -> Step:
    return parse_step(config, function, source="steps/a_step.py")


def problems(config: object, function: object = handler) -> list[str]:
    with pytest.raises(LoadFailed) as failed:
        parse(config, function)
    return [str(problem) for problem in failed.value.problems]


def only_trigger(config: dict[str, Any]) -> Any:
    (trigger,) = parse(config).triggers
    return trigger


# three dialects, one model

SAME: dict[str, list[dict[str, Any]]] = {
    "http": [
        {"name": "A", "type": "api", "path": "/a/:id", "method": "POST"},
        {"name": "A", "type": "http", "path": "/a/:id", "method": "post"},
        {"name": "A", "triggers": [{"type": "api", "path": "/a/:id", "method": "POST"}]},
        {"name": "A", "triggers": [{"type": "http", "path": "/a/:id", "method": "post"}]},
        {"name": "A", "triggers": [http("POST", "/a/:id")]},
    ],
    "queue": [
        {"name": "A", "type": "event", "subscribes": ["t"]},
        {"name": "A", "type": "event", "subscribes": "t"},
        {"name": "A", "type": "queue", "subscribes": ["t"]},
        {"name": "A", "subscribes": ["t"]},
        {"name": "A", "triggers": [{"type": "queue", "topic": "t"}]},
        {"name": "A", "triggers": [{"type": "event", "topic": "t"}]},
        {"name": "A", "triggers": [queue("t")]},
    ],
    "cron": [
        {"name": "A", "type": "cron", "cron": "@daily"},
        {"name": "A", "triggers": [{"type": "cron", "expression": "@daily"}]},
        {"name": "A", "triggers": [{"type": "cron", "cron": "@daily"}]},
        {"name": "A", "triggers": [cron("@daily")]},
    ],
    "state": [
        {"name": "A", "triggers": [{"type": "state", "groupId": "g", "key": "k"}]},
        {"name": "A", "triggers": [{"type": "state", "scope": "g", "key": "k"}]},
        {"name": "A", "triggers": [state(group_id="g", key="k")]},
    ],
    "stream": [
        {"name": "A", "triggers": [{"type": "stream", "streamName": "s", "itemId": "i"}]},
        {"name": "A", "triggers": [{"type": "stream", "stream_name": "s", "item_id": "i"}]},
        {"name": "A", "triggers": [stream("s", item_id="i")]},
    ],
}


@pytest.mark.parametrize("kind", SAME)
def test_the_dialects_give_one_and_the_same_trigger(kind: str) -> None:
    triggers = {repr(only_trigger(config)) for config in SAME[kind]}
    assert len(triggers) == 1
    assert only_trigger(SAME[kind][0]).kind == kind


@pytest.mark.parametrize(
    ("config", "dialect"),
    [
        (SAME["http"][0], 1),
        ({"name": "A", "type": "noop"}, 1),
        (SAME["http"][2], 2),
        (SAME["queue"][4], 2),
        (SAME["http"][3], 3),
        (SAME["http"][4], 3),
        (SAME["queue"][6], 3),
    ],
)
def test_the_step_remembers_its_dialect_for_the_one_quirk_that_needs_it(
    config: dict[str, Any], dialect: int
) -> None:
    assert parse(config).dialect == dialect


def test_first_dialect_keys_and_triggers_mix() -> None:
    step = parse(
        {
            "name": "A",
            "type": "api",
            "path": "/a",
            "method": "GET",
            "subscribes": ["x", "y"],
            "cron": "@hourly",
            "triggers": [{"type": "queue", "topic": "z"}, http("PUT", "/b")],
        }
    )
    assert [t.kind for t in step.triggers] == ["http", "queue", "queue", "cron", "queue", "http"]
    assert [t.topic for t in step.triggers if isinstance(t, QueueTrigger)] == ["x", "y", "z"]


FULL: dict[str, Any] = {
    "name": "Everything",
    "description": "d",
    "flows": ["f"],
    "type": "api",
    "path": "/first",
    "method": "PATCH",
    "body_schema": {"type": "object"},
    "query_params": [{"name": "q", "description": "d"}],
    "response_schema": {"200": {"type": "null"}, 404: {}},
    "subscribes": ["s"],
    "input": {"type": "string"},
    "emits": ["a", {"topic": "b", "label": "l", "conditional": True}],
    "enqueues": ["c"],
    "virtual_emits": ["v"],
    "virtual_enqueues": ["w"],
    "virtual_subscribes": ["x"],
    "include_files": ["y"],
    "infrastructure": {
        "handler": {"timeout": 7, "retries": 9, "backoff_rate": 3, "ram": 128, "machine_type": "m"},
        "queue": {"delay_seconds": 4, "backoff_delay_ms": 250},
    },
    "triggers": [
        {
            "type": "queue",
            "topic": "t",
            "infrastructure": {"queue": {"max_retries": 1, "visibility_timeout": 5}},
        },
        {"type": "http", "path": "/b", "method": "GET", "response_schema": {201: {}}},
        {"type": "cron", "expression": "@daily", "catch_up": True, "timezone": "Europe/Berlin"},
        {"type": "state", "group_id": "g"},
        {"type": "stream", "stream_name": "s", "group_id": "g", "item_id": "i"},
        {"type": "queue", "topic": "u", "config": {"backoff_type": "fixed", "concurrency": 2}},
    ],
}


def respelled(value: Any, data: st.DataObject) -> Any:
    if isinstance(value, dict):
        return {
            camel(key) if isinstance(key, str) and data.draw(st.booleans()) else key: respelled(
                item, data
            )
            for key, item in value.items()
        }
    return [respelled(item, data) for item in value] if isinstance(value, list) else value


def camel(key: str) -> str:
    head, *rest = key.split("_")
    return head + "".join(part.title() for part in rest)


@settings(deadline=None)
@given(st.data())
def test_every_key_may_be_written_in_camel_case_or_in_snake_case(data: st.DataObject) -> None:
    step = parse(respelled(FULL, data))
    assert step == parse(FULL)
    assert step.warnings == ()


# what the step says about itself


def test_a_step_keeps_what_it_says_about_itself() -> None:
    step = parse(FULL)
    assert (step.name, step.description, step.flows) == ("Everything", "d", ("f",))
    assert step.source == "steps/a_step.py"
    assert step.topics == ("a", "b", "c")
    assert step.publications[1] == Publication("b", "l", conditional=True)
    assert [p.topic for p in step.virtual_publications] == ["v", "w"]
    assert step.virtual_subscriptions == ("x",)
    assert step.placed_at("elsewhere.py").source == "elsewhere.py"


def test_response_schemas_are_kept_by_numeric_status() -> None:
    trigger = parse(FULL).triggers[0]
    assert isinstance(trigger, HttpTrigger)
    schemas = {status: each.json_schema for status, each in trigger.response_schema.items()}
    assert schemas == {200: {"type": "null"}, 404: {}}


def test_a_noop_step_has_no_triggers_and_needs_no_handler() -> None:
    step = parse({"name": "Drawn", "type": "noop", "virtualEmits": ["x"]}, None)
    assert step.triggers == ()
    assert step.handler is None


# limits


@pytest.mark.parametrize(
    ("kind", "timeout", "concurrency"),
    [
        ("http", 30, 100),
        ("queue", 900, 10),
        ("cron", 900, 1),
        ("state", 900, 10),
        ("stream", 900, 10),
    ],
)
def test_limits_default_by_kind(kind: str, timeout: float, concurrency: int) -> None:
    limits = only_trigger(SAME[kind][0]).limits
    assert limits == Limits(timeout=timeout, concurrency=concurrency)


QUEUE = {"type": "queue", "topic": "t"}


@pytest.mark.parametrize(
    ("extra", "limits"),
    [
        ({"infrastructure": {"handler": {"timeout": 10}}}, Limits(10, 10)),
        ({"infrastructure": {"queue": {"visibilityTimeout": 60}}}, Limits(60, 10)),
        (
            {"infrastructure": {"handler": {"timeout": 90}, "queue": {"visibilityTimeout": 60}}},
            Limits(60, 10),
        ),
        (
            {"infrastructure": {"queue": {"maxRetries": 5, "backoffType": "fixed"}}},
            Limits(900, 10, RetryPolicy(5, "fixed")),
        ),
        (
            {"infrastructure": {"handler": {"retries": 0, "backoffRate": 3}}},
            Limits(900, 10, RetryPolicy(0, rate=3)),
        ),
        ({"config": {"backoffDelayMs": 250}}, Limits(900, 10, RetryPolicy(delay=0.25))),
        ({"config": {"type": "fifo"}}, Limits(900, 100, fifo=True)),
        ({"config": {"type": "fifo", "concurrency": 3}}, Limits(900, 3, fifo=True)),
        ({"config": {"delaySeconds": 2}}, Limits(900, 10, delay=2)),
        ({"config": {"queue": {"maxRetries": 1}}}, Limits(900, 10, RetryPolicy(1))),
        ({"config": {"timeout": 3}}, Limits(3, 10)),
    ],
)
def test_limits_come_from_infrastructure_or_from_config(
    extra: dict[str, Any], limits: Limits
) -> None:
    assert only_trigger({"name": "A", "triggers": [{**QUEUE, **extra}]}).limits == limits


def test_limits_of_a_trigger_win_over_those_of_its_step() -> None:
    of_step = {"handler": {"timeout": 10}, "queue": {"maxRetries": 1, "delaySeconds": 1}}
    of_trigger = {"queue": {"maxRetries": 2}}
    step = parse(
        {
            "name": "A",
            "infrastructure": of_step,
            "triggers": [{**QUEUE, "infrastructure": of_trigger}, {**QUEUE, "topic": "u"}],
        }
    )
    first, second = (trigger.limits for trigger in step.triggers)
    assert (first.timeout, first.retry.max_retries, first.delay) == (10, 2, 1)
    assert (second.timeout, second.retry.max_retries, second.delay) == (10, 1, 1)


def test_a_visibility_timeout_does_not_bound_requests() -> None:
    config = {"path": "/", "method": "GET", "type": "api", "name": "A"}
    limits = only_trigger({**config, "infrastructure": {"queue": {"visibilityTimeout": 1}}}).limits
    assert limits.timeout == 30


def test_cloud_sizes_are_accepted_and_mean_nothing() -> None:
    sizes = {"ram": 128, "cpu": 1, "machineType": "cpu"}
    step = parse({"name": "A", "triggers": [QUEUE], "infrastructure": {"handler": sizes}})
    assert step == parse({"name": "A", "triggers": [QUEUE]})


# configs that are objects


class ApiTrigger(BaseModel):
    type: Literal["api"] = "api"
    path: str
    method: str


class Config(BaseModel):
    name: str
    triggers: list[ApiTrigger]
    flows: list[str] = ["f"]


def test_a_config_may_be_a_pydantic_object() -> None:
    config = Config(name="A", triggers=[ApiTrigger(path="/a", method="GET")])
    assert parse(config) == parse(
        {
            "name": "A",
            "flows": ["f"],
            "triggers": [{"type": "api", "path": "/a", "method": "GET"}],
        }
    )


class Sparse(Config):
    description: str | None = None
    enqueues: list[str] | None = None


def test_fields_that_a_pydantic_object_leaves_unset_are_not_given() -> None:
    config = Sparse(name="A", triggers=[ApiTrigger(path="/a", method="GET")])
    assert parse(config).topics == ()


class HandlerLimits(BaseModel):
    timeout: float


class Infrastructure(BaseModel):
    handler: HandlerLimits


def test_any_part_of_a_config_may_be_a_pydantic_object() -> None:
    parts = Infrastructure(handler=HandlerLimits(timeout=3))
    trigger = only_trigger({"name": "A", "triggers": [QUEUE], "infrastructure": parts})
    assert trigger.limits.timeout == 3


# what is wrong


def test_an_error_names_file_key_value_and_what_was_expected() -> None:
    found = problems({"name": "A", "triggers": [{"type": "api", "path": "users", "method": "GET"}]})
    assert found == ["steps/a_step.py: triggers[0].path: 'users': a path begins with '/': '/users'"]


def test_all_problems_of_a_config_are_reported_together() -> None:
    found = problems(
        {
            "triggers": [
                {"type": "apy", "path": "/"},
                {"type": "queue"},
                {**QUEUE, "infrastructure": {"handler": {"timeout": -1}}},
            ],
            "flows": 5,
        }
    )
    assert [text.split(": ")[1].split(" ")[0] for text in found] == [
        "name",
        "flows",
        "triggers[0]",
        "triggers[1].topic",
        "triggers[2].infrastructure.handler.timeout",
    ]
    assert all(text.startswith("steps/a_step.py: ") for text in found)


def test_problems_of_two_triggers_are_reported_together() -> None:
    bad = {"type": "api", "method": "GET", "responseSchema": {"ok": {}}}
    assert (
        len(problems({"name": "A", "triggers": [{**bad, "path": "/a"}, {**bad, "path": "/b"}]}))
        == 2
    )


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"triggers": [QUEUE]}, ["name is missing"]),
        ({"name": "", "triggers": [QUEUE]}, ["name: ''", "at least 1 character"]),
        ({"name": 5, "triggers": [QUEUE]}, ["name: 5", "string"]),
        ({"name": "A"}, ["neither triggers nor type", "noop"]),
        ({"name": "A", "type": "api"}, ["needs path and method"]),
        ({"name": "A", "type": "api", "path": "/"}, ["needs method"]),
        ({"name": "A", "type": "event"}, ["needs subscribes"]),
        ({"name": "A", "type": "cron"}, ["needs cron"]),
        ({"name": "A", "type": "apy"}, ["type: 'apy'", "'api'"]),
        ({"name": "A", "triggers": [{"type": "qeue"}]}, ["triggers[0]: 'qeue'", "queue, event"]),
        ({"name": "A", "triggers": ["queue"]}, ["triggers[0]: 'queue'"]),
        ({"name": "A", "triggers": [{"type": "queue"}]}, ["triggers[0].topic is missing"]),
        (
            {"name": "A", "triggers": [{"type": "api", "path": "/", "method": "GIVE"}]},
            ["triggers[0].method: 'GIVE'", "'GET'"],
        ),
        (
            {"name": "A", "triggers": [{**QUEUE, "condition": "x > 1"}]},
            ["triggers[0].condition: 'x > 1'", "callable"],
        ),
        (
            {"name": "A", "triggers": [{**QUEUE, "config": {"concurrency": 0}}]},
            ["triggers[0].config.concurrency: 0", "greater than or equal to 1"],
        ),
        (
            {"name": "A", "triggers": [{**QUEUE, "config": {"timeout": float("inf")}}]},
            ["config.timeout: inf", "finite"],
        ),
    ],
)
def test_a_wrong_config_is_told_in_words(config: dict[str, Any], words: list[str]) -> None:
    (told,) = problems(config)
    for word in words:
        assert word in told


@pytest.mark.parametrize("config", [None, [], "name", 5])
def test_a_config_that_is_no_mapping_is_told_so(config: object) -> None:
    (told,) = problems(config)
    assert f"config must be a dict, not a {type(config).__name__}" in told


def test_triggers_without_a_handler_are_refused() -> None:
    (told,) = problems({"name": "A", "triggers": [QUEUE]}, None)
    assert "step 'A' has triggers but no handler" in told


def test_a_handler_that_cannot_be_called_is_refused() -> None:
    (told,) = problems({"name": "A", "triggers": [QUEUE]}, "handler")
    assert "handler must be a function, not a str" in told


def test_a_lifespan_that_cannot_be_called_is_refused() -> None:
    lifespan: Any = 5
    with pytest.raises(LoadFailed, match="lifespan must be"):
        parse_step({"name": "A", "triggers": [QUEUE]}, handler, source="s", lifespan=lifespan)


def test_an_unknown_key_is_a_warning_with_the_nearest_known_one() -> None:
    step = parse(
        {
            "name": "A",
            "desciption": "d",
            "triggers": [{**QUEUE, "config": {"maxRetrys": 1}}],
            "xyzzy": 1,
        }
    )
    assert step.warnings == (
        "unknown key 'desciption' is ignored; did you mean 'description'?",
        "unknown key 'xyzzy' is ignored",
        "unknown key 'triggers[0].config.maxRetrys' is ignored; did you mean 'maxRetries'?",
    )


KEYS = st.sampled_from([*FULL, *map(camel, FULL), "topic", "expression", "x"])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text("abc /:*", max_size=5)
    | st.sampled_from(["api", "http", "queue", "event", "cron", "noop", "/", "GET"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(deadline=None)
@given(st.dictionaries(KEYS, VALUES, max_size=6))
def test_whatever_a_config_holds_it_is_a_step_or_a_list_of_problems(config: dict[str, Any]) -> None:
    problems: Sequence[Problem] | None = None
    try:
        name = parse(config).name
    except LoadFailed as failed:
        problems = failed.problems
    if problems is None:
        assert name == config["name"]
    else:
        assert {problem.where for problem in problems} == {"steps/a_step.py"}


def test_every_trigger_kind_is_one_of_the_models() -> None:
    kinds = {type(trigger) for trigger in parse(FULL).triggers}
    assert kinds == {HttpTrigger, QueueTrigger, CronTrigger, StateTrigger, StreamTrigger}
