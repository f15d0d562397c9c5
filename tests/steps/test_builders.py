"""Steps as objects: the decorator and the trigger helpers."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from motia_trio import StepDefinition, cron, http, queue, state, step, stream
from motia_trio.errors import LoadFailed
from motia_trio.steps import QueryDoc, compile_schema, parse_step


async def ship(order: Any, ctx: Any) -> str:
    return f"shipped {order}"


def test_the_decorator_gives_the_same_step_as_a_config() -> None:
    made = step(
        queue("order.created", config={"maxRetries": 1}),
        http("POST", "/orders/:id"),
        name="ShipOrder",
        enqueues=["order.shipped"],
        flows=["orders"],
        description="ships",
        infrastructure={"handler": {"timeout": 5}},
    )(ship)
    config = {
        "name": "ShipOrder",
        "triggers": [
            {"type": "queue", "topic": "order.created", "config": {"maxRetries": 1}},
            {"type": "http", "path": "/orders/:id", "method": "POST"},
        ],
        "enqueues": ["order.shipped"],
        "flows": ["orders"],
        "description": "ships",
        "infrastructure": {"handler": {"timeout": 5}},
    }
    assert made.step == parse_step(config, ship, source=made.step.source)


def test_a_config_and_a_handler_make_a_step_without_decorating() -> None:
    made = step({"name": "ShipOrder", "triggers": [queue("order.created")]}, ship)
    assert made.step == step(queue("order.created"), name="ShipOrder")(ship).step


def test_a_step_can_be_made_anew_of_what_was_decorated() -> None:
    """The config that is given counts, and not the one that it had."""
    made = step({"name": "Other", "triggers": [queue("u")]}, step(queue("t"))(ship))
    assert made.step.name == "Other"
    assert [getattr(trigger, "topic", None) for trigger in made.step.triggers] == ["u"]


def test_the_name_is_the_functions_unless_given() -> None:
    assert step(queue("t"))(ship).step.name == "ship"
    assert step(queue("t"), name="Ship")(ship).step.name == "Ship"


async def test_what_was_decorated_is_still_the_function_it_was() -> None:
    made = step(queue("t"))(ship)
    assert await made(17, None) == "shipped 17"
    assert made.__name__ == "ship"  # type: ignore[attr-defined]


def test_the_source_is_the_place_of_the_function() -> None:
    made = step(queue("t"))(ship)
    assert made.step.source == f"test_builders.py:{ship.__code__.co_firstlineno}"
    assert repr(made) == f"<step 'ship' of {made.step.source}>"


def test_a_function_without_a_place_is_told_by_its_repr() -> None:
    handler = functools.partial(ship, 17)
    assert step({"name": "A", "triggers": [queue("t")]}, handler).step.source == repr(handler)


def test_a_lifespan_goes_with_the_step() -> None:
    def lifespan(ctx: Any) -> None: ...

    assert step(queue("t"), lifespan=lifespan)(ship).step.lifespan is lifespan
    assert (
        step({"name": "A", "subscribes": ["t"]}, ship, lifespan=lifespan).step.lifespan is lifespan
    )


def test_helpers_make_triggers_with_all_they_may_say() -> None:
    def condition(input: Any, ctx: Any) -> bool:
        return True

    async def around(req: Any, ctx: Any, following: Any) -> Any:
        return await following()

    made = step(
        http(
            "get",
            "/a",
            body_schema=dict,
            response_schema={"200": str},
            query_params=[{"name": "q"}],
            middleware=[around],
            condition=condition,
            cancel_on_disconnect=True,
            config={"timeout": 2},
        ),
        queue("t", input=int, condition=condition, infrastructure={"queue": {"type": "fifo"}}),
        cron("@daily", timezone="Europe/Berlin", catch_up=True, condition=condition),
        state(group_id="g", key="k", condition=condition),
        stream("s", group_id="g", item_id="i", condition=condition),
    )(ship)
    triggers: tuple[Any, ...] = made.step.triggers
    first, second, third, fourth, fifth = triggers
    assert (first.kind, first.method, first.path) == ("http", "GET", "/a")
    assert first.body_schema == compile_schema(dict)
    assert first.response_schema == {200: compile_schema(str)}
    assert (first.query_params, first.query_docs) == (None, (QueryDoc("q"),))
    assert [each.function for each in first.middleware] == [around]
    assert (first.limits.timeout, first.cancel_on_disconnect) == (2, True)
    assert (second.kind, second.limits.fifo) == ("queue", True)
    assert second.input_schema == compile_schema(int)
    assert (third.kind, third.timezone, third.catch_up) == ("cron", "Europe/Berlin", True)
    assert (fourth.kind, fourth.group_id, fourth.key) == ("state", "g", "k")
    assert (fifth.kind, fifth.stream_name, fifth.item_id) == ("stream", "s", "i")
    assert all(trigger.condition.function is condition for trigger in triggers)
    assert made.step.warnings == ()


def test_a_helper_with_a_wrong_value_raises_at_once_and_names_itself() -> None:
    with pytest.raises(LoadFailed, match=r"http\(\): path: 'users': a path begins with '/'"):
        http("GET", "users")
    with pytest.raises(LoadFailed, match=r"queue\(\): topic: ''"):
        queue("")


def test_a_definition_with_problems_lists_them_all() -> None:
    with pytest.raises(LoadFailed) as failed:
        step({"triggers": [{"type": "queue"}]}, ship)
    told = [str(problem) for problem in failed.value.problems]
    assert len(told) == 2
    assert "name is missing" in told[0]
    assert "triggers[0].topic is missing" in told[1]


def test_a_step_made_by_a_decorator_is_a_definition() -> None:
    assert isinstance(step(queue("t"))(ship), StepDefinition)
