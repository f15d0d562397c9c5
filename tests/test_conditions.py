"""Conditions: whether a trigger's handler runs."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, http, open_runtime, queue, state, step, stream
from motia_trio.events import AskFailed, AttemptFailed, StepSkipped
from tests.support import Notebook


def is_big(input: Any) -> bool:
    return bool(input["n"] > 10)


async def is_wanted(input: Any, ctx: Any) -> bool:
    return bool(await ctx.state.get("wanted", str(input["n"])))


async def test_a_message_whose_condition_is_not_met_is_done_without_its_handler() -> None:
    notebook, ran = Notebook(), list[Any]()

    @step(queue("work", condition=is_big), name="Work")
    async def work(input: Any) -> None:
        ran.append(input["n"])

    async with open_runtime(App([work]), observers=[notebook]) as rt:
        for n in (5, 50):
            await rt.enqueue("work", {"n": n})
        await rt.quiesce()
        assert ran == [50]
        assert rt.tree()["Work"].deliveries.waiting == rt.tree()["Work"].deliveries.dead == 0
    (told,) = notebook.of(StepSkipped)
    assert (told.step, told.kind) == ("Work", "queue")


@pytest.mark.parametrize("is_async", [True, False])
async def test_an_async_condition_and_one_in_a_thread_may_look_at_the_state(
    *, is_async: bool
) -> None:
    ran, threads = list[Any](), list[bool]()

    def in_thread(input: Any, ctx: Any) -> bool:
        threads.append(threading.current_thread() is not threading.main_thread())
        return bool(ctx.state.get("wanted", str(input["n"])))

    @step(queue("work", condition=is_wanted if is_async else in_thread), name="Work")
    async def work(input: Any, ctx: Any) -> None:
        ran.append(await ctx.state.get("wanted", str(input["n"])))

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.state.set("wanted", "2", "yes")
        for n in range(4):
            await rt.enqueue("work", {"n": n})
        await rt.quiesce()
    assert ran == ["yes"]
    assert threads == ([] if is_async else [True] * 4)


async def test_a_condition_that_raises_is_a_failed_attempt_whose_words_say_so(
    autojump_clock: Any,
) -> None:
    notebook = Notebook()

    async def breaks(input: Any) -> bool:
        return bool(input["n"] > 10)

    @step(queue("work", condition=breaks), name="Work", infrastructure={"queue": {"maxRetries": 1}})
    async def work(input: Any) -> None:
        """Never run."""

    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work", {})
        await rt.quiesce()
        await trio.sleep(100)
        await rt.quiesce()
        (letter,) = rt.dead_letters.list()
    assert "KeyError: 'n' (raised by the condition of its queue trigger)" in letter.reason
    told = notebook.of(AttemptFailed)
    assert len(told) == 2
    assert "test_conditions.py" in told[0].where
    assert "in breaks" in told[0].where


async def test_a_request_whose_condition_is_not_met_is_answered_422_and_one_that_raises_500() -> (
    None
):
    notebook = Notebook()

    @step(http("POST", "/", condition=lambda req: req.body["n"] > 10), name="Work")
    async def work(req: Any) -> Any:
        return {"status": 200, "body": req.body["n"]}

    async with (
        open_runtime(App([work]), http="127.0.0.1:0", observers=[notebook]) as rt,
        httpx.AsyncClient(base_url=rt.http_url or "") as client,
    ):
        assert (await client.post("/", json={"n": 11})).json() == 11
        unmet = await client.post("/", json={"n": 1})
        assert unmet.status_code == 422
        assert unmet.json() == {"error": "Request condition not met", "skipped": True}
        assert (await client.post("/", json={})).status_code == 500
    (told,) = notebook.of(AskFailed)
    assert "(raised by the condition of its http trigger)" in told.error


async def test_conditions_of_changes_see_the_change() -> None:
    seen: list[Any] = []

    def rises(input: Any) -> bool:
        return (input.old_value or 0) < (input.new_value or 0)

    @step(
        state(group_id="stock", condition=rises),
        stream("log", condition=lambda input: input.event.type == "create"),
        name="Watch",
    )
    async def watch(input: Any, ctx: Any) -> None:
        seen.append(input["new_value"] if ctx.is_state() else input.event.data)

    app = App([watch], streams=[{"name": "log"}])
    async with open_runtime(app, observers=()) as rt:
        for n in (3, 2, 4):
            await rt.state.set("stock", "a", n)
        for text in ("first", "second"):
            await rt.streams.log.set("g", "1", {"text": text})
        await rt.quiesce()
    assert sorted(map(str, seen)) == ["3", "4", "{'text': 'first'}"]


async def test_of_two_triggers_on_one_topic_the_first_whose_condition_is_met_has_the_message() -> (
    None
):
    seen: list[Any] = []

    @step(
        queue("work", condition=is_big),
        queue("work", condition=lambda input: input["n"] < 3),
        name="Work",
    )
    async def work(input: Any, ctx: Any) -> None:
        seen.append((input["n"], ctx.trigger.index))

    async with open_runtime(App([work]), observers=()) as rt:
        for n in (20, 1, 5):
            await rt.enqueue("work", {"n": n})
        await rt.quiesce()
    assert sorted(seen) == [(1, 1), (20, 0)]


async def test_what_a_transactional_condition_has_read_counts_for_its_conflicts() -> None:
    """The condition is part of the transaction: it runs again when what it saw has changed."""
    runs: list[str] = []
    gate = trio.Event()

    async def condition(input: Any, ctx: Any) -> bool:
        return bool(await ctx.state.get("g", "open"))

    @step(queue("work", condition=condition), name="Work", delivery="transactional")
    async def work(input: Any, ctx: Any) -> None:
        runs.append("ran")
        if len(runs) == 1:
            await gate.wait()
        await ctx.state.set("g", "done", len(runs))

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.state.set("g", "open", value=True)
        await rt.enqueue("work")
        await trio.testing.wait_all_tasks_blocked()
        await rt.state.set("g", "open", value=False)
        gate.set()
        await rt.quiesce()
        assert runs == ["ran"]
        assert await rt.state.get("g", "done") is None
