"""Ask: a message whose publisher waits for what its one handler returns."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import trio

from motia_trio import (
    App,
    AskInvalid,
    Closed,
    HandlerFailed,
    Service,
    StepDefinition,
    TimedOut,
    http,
    open_runtime,
    queue,
    step,
)
from motia_trio.events import AnswerDropped
from tests.support import Notebook


@step(queue("sum"), name="Sum")
async def add(input: Any) -> Any:
    return {"sum": sum(input["numbers"])}


@step(queue("slow"), name="Slow", infrastructure={"handler": {"timeout": 50}})
async def slow(input: Any) -> str:
    await trio.sleep(input)
    return "late"


def failing(**retries: Any) -> StepDefinition:
    @step(queue("fail"), name="Fail", infrastructure={"queue": retries})
    async def fail(input: Any) -> None:
        raise ValueError("no such order")

    return fail


async def test_an_ask_gives_what_the_handler_returned_as_json_has_it(where: dict[str, Any]) -> None:
    async with open_runtime(App([add], **where), observers=()) as rt:
        answer = await rt.ask("sum", {"numbers": [1, 2]})
        assert answer == {"sum": 3}
        assert answer.sum == 3
        await rt.quiesce()
        assert rt.tree()["Sum"].deliveries.waiting == 0


async def test_a_handler_asks_another_with_its_trace_and_its_time(autojump_clock: Any) -> None:
    seen: list[Any] = []

    @step(queue("inner"), name="Inner")
    async def inner(input: Any, ctx: Any) -> int:
        seen.append((ctx.trace_id, round(ctx.time_left())))
        return 7

    @step(queue("outer"), name="Outer", infrastructure={"handler": {"timeout": 20}})
    async def outer(input: Any, ctx: Any) -> Any:
        await trio.sleep(5)
        return await ctx.ask("inner", timeout=100)

    async with open_runtime(App([inner, outer]), observers=()) as rt:
        assert await rt.ask("outer", timeout=60, trace_id="a" * 32) == 7
        assert await rt.ask("outer", timeout=10) == 7
    assert seen[0] == ("a" * 32, 15)
    assert seen[1][1] == 5


async def test_a_sync_handler_asks_and_gets_the_answer_itself() -> None:
    @step(queue("outer"), name="Outer")
    def outer(input: Any, ctx: Any) -> Any:
        return ctx.ask("sum", {"numbers": [2, 3]})["sum"]

    async with open_runtime(App([add, outer]), observers=()) as rt:
        assert await rt.ask("outer") == 5


async def test_a_request_waits_for_a_background_answer() -> None:
    @step(http("GET", "/sum"), name="Get")
    async def get(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": await ctx.ask("sum", {"numbers": [1, 1]})}

    async with (
        open_runtime(App([add, get]), http="127.0.0.1:0", observers=()) as rt,
        httpx.AsyncClient() as client,
    ):
        assert (await client.get(f"{rt.http_url}/sum")).json() == {"sum": 2}


async def test_a_request_whose_ask_has_no_answer_in_time_is_answered_504() -> None:
    @step(http("GET", "/slow"), name="Get")
    async def get(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": await ctx.ask("slow", 0.2, timeout=0.01)}

    async with (
        open_runtime(App([slow, get]), http="127.0.0.1:0", observers=()) as rt,
        httpx.AsyncClient() as client,
    ):
        answer = await client.get(f"{rt.http_url}/slow")
        assert (answer.status_code, answer.json()["error"]) == (504, "Timed out")


async def test_no_subscriber_or_several_are_an_error_at_once_and_nothing_is_kept() -> None:
    other = step({"name": "Other", "triggers": [queue("sum")]}, add)
    async with open_runtime(App([add, other]), observers=()) as rt:
        with pytest.raises(AskInvalid, match=r"ask\('sum'\): .* 2 steps do \(Sum, Other\)"):
            await rt.ask("sum", {"numbers": []})
        with pytest.raises(AskInvalid, match=r"ask\('no'\): .* no step does"):
            await rt.ask("no")
        assert rt.tree()["Sum"].deliveries.waiting == 0
        assert rt.tree().unheard == {}


async def test_an_ask_waits_through_retries(autojump_clock: Any) -> None:
    tries: list[int] = []

    @step(queue("work"), name="Work")
    async def work(input: Any) -> int:
        tries.append(1)
        if len(tries) < 3:
            raise OSError("not yet")
        return len(tries)

    async with open_runtime(App([work]), observers=()) as rt:
        assert await rt.ask("work", timeout=60) == 3


async def test_a_dead_letter_ends_the_wait_with_its_reason(autojump_clock: Any) -> None:
    async with open_runtime(App([failing(maxRetries=1)]), observers=()) as rt:
        with pytest.raises(HandlerFailed, match="failed 2 times; last: ValueError: no such order"):
            await rt.ask("fail", timeout=600)
        assert len(rt.dead_letters.list()) == 1


async def test_an_unmet_condition_ends_the_wait() -> None:
    @step(queue("work", condition=_never), name="Work")
    async def work(input: Any) -> None:
        """Never run."""

    async with open_runtime(App([work]), observers=()) as rt:
        with pytest.raises(HandlerFailed, match="the condition was not met"):
            await rt.ask("work")


async def _never(input: Any) -> bool:
    return False


async def test_an_answer_without_a_json_form_fails_the_ask_and_not_the_work() -> None:
    @step(queue("work"), name="Work")
    async def work(input: Any) -> Any:
        return object()

    async with open_runtime(App([work]), observers=()) as rt:
        with pytest.raises(HandlerFailed, match="cannot be an answer"):
            await rt.ask("work")
        await rt.quiesce()
        assert rt.dead_letters.list() == []


async def test_the_answer_of_a_handler_that_outlived_its_asker_is_dropped_and_counted(
    autojump_clock: Any,
) -> None:
    notebook = Notebook()
    async with open_runtime(App([slow]), observers=[notebook]) as rt:
        with pytest.raises(TimedOut, match="no answer to 'slow'"):
            await rt.ask("slow", 5, timeout=1)
        await rt.quiesce()
        assert rt.tree().dropped_answers == 1
    (told,) = notebook.of(AnswerDropped)
    assert (told.step, told.dropped) == ("Slow", 1)


async def test_a_cancelled_ask_leaves_its_message_to_be_handled(autojump_clock: Any) -> None:
    async with open_runtime(App([slow]), observers=()) as rt:
        with trio.move_on_after(1):
            await rt.ask("slow", 5)
        assert rt.tree()["Slow"].in_flight == 1
        await rt.quiesce()
        assert rt.tree().dropped_answers == 1


async def test_a_message_that_is_cancelled_ends_the_wait(autojump_clock: Any) -> None:
    @step(queue("work"), name="Work", infrastructure={"queue": {"delaySeconds": 100}})
    async def work(input: Any) -> None:
        """Never run."""

    async def ask(rt: Service) -> None:
        with pytest.raises(HandlerFailed, match="cancelled"):
            await rt.ask("work", timeout=50)

    async with open_runtime(App([work]), observers=()) as rt, trio.open_nursery() as nursery:
        nursery.start_soon(ask, rt)
        await trio.testing.wait_all_tasks_blocked()
        (message_id,) = rt._shared.asks._asked  # noqa: SLF001 - nobody else is told the id
        assert await rt.cancel(message_id) == 1


async def test_a_transactional_step_cannot_ask_and_is_told_why() -> None:
    @step(queue("outer"), name="Outer", delivery="transactional")
    async def outer(input: Any, ctx: Any) -> str:
        with pytest.raises(AskInvalid, match="'Outer' is transactional"):
            await ctx.ask("sum", {"numbers": []})
        return "told"

    async with open_runtime(App([add, outer]), observers=()) as rt:
        assert await rt.ask("outer") == "told"


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), "5", True])
async def test_a_timeout_is_a_number_of_seconds(seconds: Any) -> None:
    async with open_runtime(App([add]), observers=()) as rt:
        with pytest.raises(ValueError, match="timeout is a number of seconds over 0"):
            await rt.ask("sum", timeout=seconds)


async def test_the_end_of_the_runtime_ends_the_wait(autojump_clock: Any) -> None:
    told: list[Exception] = []

    @step(queue("work"), name="Work", infrastructure={"queue": {"delaySeconds": 100}})
    async def work(input: Any) -> None:
        """Never run."""

    async def ask(rt: Service) -> None:
        try:
            await rt.ask("work", timeout=50)
        except Closed as error:
            told.append(error)

    async with trio.open_nursery() as nursery:
        async with open_runtime(App([work]), observers=()) as rt:
            nursery.start_soon(ask, rt)
            await trio.testing.wait_all_tasks_blocked()
    assert len(told) == 1


async def test_an_asked_message_survives_a_restart_as_any_other(on_disk: dict[str, Any]) -> None:
    done: list[Any] = []

    @step(queue("work"), name="Work")
    async def work(input: Any) -> None:
        done.append(input)

    async with open_runtime(App([work], **on_disk), observers=(), idle=True) as rt:
        with pytest.raises(TimedOut):
            await rt.ask("work", "kept", timeout=0.05)
    async with open_runtime(App([work], **on_disk), observers=()) as rt:
        await rt.quiesce()
    assert done == ["kept"]
