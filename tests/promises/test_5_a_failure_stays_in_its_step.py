"""Promise 5: whatever a handler does, other steps, other requests and the process go on."""

from __future__ import annotations

import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
import trio
import trio.testing

from motia_trio import App, http, open_runtime, queue, step
from motia_trio.events import ActorCrashed, AskFailed, AttemptFailed, HandlerOverdue
from tests.support import Notebook, words

TIMEOUT = 2.0


async def raises(data: Any) -> None:
    raise ValueError("no luck")


async def raises_a_group(data: Any) -> None:
    raise ExceptionGroup("two", [ValueError("one"), OSError("two")])


async def hangs(data: Any) -> None:
    await trio.sleep_forever()


async def swallows_its_cancellation(data: Any) -> None:
    try:
        await trio.sleep_forever()
    except BaseException:  # noqa: BLE001, S110, ASYNC103 - what is tested
        pass


async def swallows_it_for_ever(data: Any) -> None:
    while True:
        try:
            await trio.sleep_forever()
        except BaseException:  # noqa: BLE001, S110, ASYNC103, ASYNC104 - what is tested
            pass


async def exits(data: Any) -> None:
    sys.exit(3)


async def exits_in_a_group(data: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exits, data)
        await trio.sleep_forever()


async def fails_in_its_own_nursery(data: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        nursery.start_soon(raises, data)


async def hangs_in_its_own_nursery(data: Any) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)


def raises_in_a_thread(data: Any) -> None:
    raise ValueError("no luck")


def exits_in_a_thread(data: Any) -> None:
    sys.exit(3)


class _Odd(BaseException):
    """Neither an error nor an exit."""


async def raises_something_odd(data: Any) -> None:
    raise _Odd("odd")


async def returns_a_coroutine_that_fails(data: Any) -> None:
    return await raises(data)


async def recurses(data: Any) -> None:
    await recurses(data)


BAD = [
    raises,
    raises_a_group,
    hangs,
    swallows_its_cancellation,
    swallows_it_for_ever,
    exits,
    exits_in_a_group,
    fails_in_its_own_nursery,
    hangs_in_its_own_nursery,
    raises_in_a_thread,
    exits_in_a_thread,
    raises_something_odd,
    recurses,
]
CRASHES = {exits, exits_in_a_group, exits_in_a_thread, raises_something_odd, swallows_it_for_ever}


@pytest.mark.parametrize("handler", BAD, ids=lambda handler: handler.__name__)
async def test_a_bad_message_ends_as_a_dead_letter_and_the_next_one_is_handled(
    handler: Callable[[Any], Awaitable[None]], autojump_clock: Any
) -> None:
    """The message spends its attempts; the step, its neighbour and the process go on."""
    handled: list[str] = []

    async def careful(data: Any, ctx: Any) -> Any:
        if data == "good":
            handled.append("good")
            return None
        result: Any = handler(data)
        return await result if hasattr(result, "__await__") else result

    def careful_in_a_thread(data: Any, ctx: Any) -> Any:
        if data == "good":
            handled.append("good")
            return None
        return handler(data)

    function = careful
    if handler.__name__.endswith("thread"):
        function = careful_in_a_thread
        autojump_clock.autojump_threshold = 0.5  # time must not jump while the thread works
    limits = {"handler": {"timeout": TIMEOUT}, "queue": {"maxRetries": 2}}
    bad = step(queue("bad", infrastructure=limits), name="Bad")(function)

    @step(queue("fine"), name="Fine")
    async def fine(data: Any) -> None:
        handled.append("fine")

    notebook = Notebook()
    async with open_runtime(App([bad, fine]), observers=[notebook]) as rt:
        await rt.enqueue("bad", "bad")
        await rt.enqueue("fine")
        await rt.quiesce()
        assert handled == ["fine"], "the neighbour did not wait for it"
        await trio.sleep(400)  # retries, and a quarantine if there is one
        await rt.enqueue("bad", "good")
        with trio.fail_after(400):
            while "good" not in handled:
                await trio.sleep(1)
        (letter,) = rt.dead_letters.list()
        assert letter.step == "Bad"
        assert letter.message.data == "bad"
        assert [failure.attempt for failure in letter.failures] == [1, 2, 3]
        assert all(failure.error for failure in letter.failures)
        assert len(notebook.of(AttemptFailed)) == 3
        assert bool(notebook.of(ActorCrashed)) == (handler in CRASHES)
        assert rt.tree()["Fine"].crashes == 0


@pytest.mark.parametrize("handler", BAD, ids=lambda handler: handler.__name__)
async def test_a_bad_request_gets_its_answer_and_the_next_one_too(
    handler: Callable[[Any], Awaitable[None]], autojump_clock: Any
) -> None:
    """500, or 504 for one that ran out of time; never a stack trace, never silence."""

    async def careful(req: Any, ctx: Any) -> Any:
        if req.body == "good":
            return {"status": 200, "body": "fine"}
        result: Any = handler(req.body)
        return await result if hasattr(result, "__await__") else result

    def careful_in_a_thread(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": "fine"} if req.body == "good" else handler(req.body)

    function = careful
    if handler.__name__.endswith("thread"):
        function = careful_in_a_thread
        autojump_clock.autojump_threshold = 0.5  # time must not jump while the thread works
    bad = step(http("POST", "/bad", config={"handler": {"timeout": TIMEOUT}}), name="Bad")(function)
    notebook = Notebook()
    async with open_runtime(App([bad]), observers=[notebook]) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.post("/bad", json="bad", timeout=None)
            late = handler.__name__.startswith(("hangs", "swallows"))
            assert answer.status_code == (504 if late else 500)
            assert answer.json() == {
                "error": "Timed out" if late else "Internal server error",
                "traceId": answer.headers["x-trace-id"],
            }
            if handler in CRASHES:
                await trio.sleep(1)
            assert (await client.post("/bad", json="good", timeout=None)).text == "fine"
    (failed,) = notebook.of(AskFailed)
    assert failed.trace_id == answer.headers["x-trace-id"]


@pytest.mark.parametrize(
    "rubbish",
    [None, 5, "text", [], {}, {"body": "no status"}, {"status": "200"}, {"status": 200, "body": object()},
     {"status": 200, "body": {"x": float("nan")}}, {"status": 200, "headers": {"a\nb": "c"}}],
    ids=words,
)  # fmt: skip
async def test_rubbish_that_a_handler_returns_is_a_500_that_says_what_it_was(rubbish: Any) -> None:
    """The client gets no details; the log gets them."""

    @step(http("GET", "/rubbish"), name="Rubbish")
    async def handler() -> Any:
        return rubbish

    notebook = Notebook()
    async with open_runtime(App([handler]), observers=[notebook]) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            answer = await client.get("/rubbish")
    assert answer.status_code == 500
    assert answer.json()["error"] == "Internal server error"
    (failed,) = notebook.of(AskFailed)
    assert failed.step == "Rubbish"
    assert "the handler returned" in failed.error


async def test_a_shielded_handler_holds_only_itself_and_is_told(autojump_clock: Any) -> None:
    """It cannot be cancelled; its client gets 504, others are served, and the log says so."""

    @step(http("POST", "/stuck", config={"handler": {"timeout": TIMEOUT}}), name="Stuck")
    async def stuck(req: Any) -> Any:
        if req.body == "stuck":
            with trio.CancelScope(shield=True):
                await trio.sleep(100)
        return {"status": 200, "body": "fine"}

    notebook = Notebook()
    async with open_runtime(App([stuck]), observers=[notebook]) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            began = trio.current_time()
            answer = await client.post("/stuck", json="stuck", timeout=None)
            assert answer.status_code == 504
            assert trio.current_time() - began < TIMEOUT + 2
            assert (await client.post("/stuck", json="other", timeout=None)).text == "fine"
            await trio.sleep(1)
            assert rt.tree()["Stuck"].overdue == 1
    assert notebook.of(HandlerOverdue)[0].step == "Stuck"


async def test_a_step_that_floods_starves_nobody() -> None:
    """A handler that enqueues without end, and one that never waits."""

    @step(queue("flood"), enqueues=["flood"], name="Flood")
    async def flood(data: Any, ctx: Any) -> None:
        await ctx.enqueue([{"topic": "flood", "data": 1}, {"topic": "flood", "data": 2}])

    @step(http("GET", "/fine"), name="Fine")
    async def fine() -> Any:
        return {"status": 200, "body": "fine"}

    async with open_runtime(App([flood, fine]), observers=()) as rt:
        await rt.enqueue("flood", 0)
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            for _ in range(20):
                with trio.fail_after(5):
                    assert (await client.get("/fine")).text == "fine"
        assert rt.tree()["Flood"].mailbox.used <= 100


async def test_a_thread_that_never_ends_takes_no_other_steps_threads() -> None:
    """Each step has threads of its own."""
    let_go = threading.Event()

    @step(queue("stuck"), name="Stuck")
    def stuck(data: Any) -> None:
        let_go.wait(30)

    seen = trio.Event()
    token = trio.lowlevel.current_trio_token()

    @step(queue("fine"), name="Fine")
    def fine(data: Any) -> None:
        trio.from_thread.run_sync(seen.set, trio_token=token)

    async with open_runtime(App([stuck, fine]), observers=()) as rt:
        for _ in range(60):
            await rt.enqueue("stuck")
        await rt.enqueue("fine")
        with trio.fail_after(5):
            await seen.wait()
        let_go.set()


async def test_a_handler_cannot_leak_context_variables_into_the_next_message() -> None:
    """What a handler sets in a context variable is gone with its invocation."""
    from contextvars import ContextVar

    variable = ContextVar("variable", default="clean")
    seen: list[str] = []

    @step(queue("work", config={"concurrency": 1}))
    async def work(data: Any) -> None:
        seen.append(variable.get())
        variable.set("dirty")
        await trio.lowlevel.checkpoint()

    async with open_runtime(App([work]), observers=()) as rt:
        variable.set("of the publisher")
        for _ in range(3):
            await rt.enqueue("work")
        await rt.quiesce()
    assert seen == ["clean"] * 3
