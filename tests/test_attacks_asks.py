"""Attacks on asks: each is the way in which something was found, or was looked for."""

from __future__ import annotations

import sys
import threading
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from motia_trio import (
    App,
    Closed,
    HandlerFailed,
    RestartPolicy,
    Service,
    TimedOut,
    http,
    open_runtime,
    queue,
    step,
)
from motia_trio.data import Request
from motia_trio.events import AttemptFailed
from tests.support import Notebook


def asks_of(rt: Service) -> Any:
    """Who waits, and what was left: nobody else is told."""
    return rt._shared.asks  # noqa: SLF001 - there is no other way to see a leak


def request(body: Any = None) -> Request:
    """A request as an edge makes it."""
    fields = {
        "body": body, "headers": {}, "path_params": {}, "query_params": {}, "method": "GET",
        "path": "/", "trace_id": "0" * 32,
    }  # fmt: skip
    return Request(fields, b"")


@step(queue("slow", config={"timeout": 100}), name="Slow")
async def slow(seconds: Any) -> Any:
    """Answers what it was asked, late."""
    await trio.sleep(seconds)
    return seconds


async def test_an_ask_without_time_left_keeps_nothing_and_says_so(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    """Its words are true: what says that it is handled all the same is handled."""
    told: list[str] = []
    handled: list[Any] = []

    @step(queue("outer"), enqueues=["inner"], name="Outer")
    async def outer(input: Any, ctx: Any) -> None:
        await trio.sleep(10)  # over the asker's time, within its own
        assert ctx.time_left() < 0
        with pytest.raises(TimedOut) as raised:
            await ctx.ask("inner", 1)
        told.append(str(raised.value))

    @step(queue("inner"), name="Inner")
    async def inner(input: Any) -> None:
        handled.append(input)

    async with open_runtime(App([outer, inner], **where), observers=()) as rt:
        with pytest.raises(TimedOut, match="handled all the same"):
            await rt.ask("outer", timeout=5)
        await trio.sleep(10)
        await rt.quiesce()
        assert len(asks_of(rt)._left) == 0  # noqa: SLF001
    assert handled == []
    (words,) = told
    assert "no time" in words
    assert "nothing was kept" in words
    assert "handled all the same" not in words


@pytest.mark.parametrize("at", [0, 0.5, 1, 1.5])
async def test_an_asker_that_is_cancelled_leaves_nothing_behind(
    at: float, where: dict[str, Any], autojump_clock: Any
) -> None:
    """Before the commit, while it is handled, and at the very instant of the answer."""
    async with open_runtime(App([slow], **where), observers=()) as rt:
        with trio.CancelScope(deadline=trio.current_time() + at):
            await rt.ask("slow", 1)
        await rt.quiesce()
        asks = asks_of(rt)
        assert asks._asked == {}  # noqa: SLF001
        assert len(asks._left) == 0  # noqa: SLF001 - what was never kept is not waited for
        assert rt.tree().in_flight == 0
        assert rt.tree().dropped_answers == (at == 0.5) + (at == 1 and rt.tree().dropped_answers)


async def test_thousands_of_asks_at_once_are_answered_and_forgotten(
    where: dict[str, Any],
) -> None:
    """Half of them are given up."""

    @step(queue("add", config={"concurrency": 50}), name="Add")
    async def add(input: Any) -> Any:
        await trio.lowlevel.checkpoint()
        return input + 1

    answers: list[Any] = []
    async with open_runtime(App([add], **where), observers=()) as rt:

        async def one(number: int) -> None:
            try:
                answers.append(await rt.ask("add", number, timeout=100 if number % 2 else 0.001))
            except TimedOut:
                pass

        async with trio.open_nursery() as nursery:
            for number in range(2000):
                nursery.start_soon(one, number)
        await rt.quiesce()
        assert asks_of(rt)._asked == {}  # noqa: SLF001
        assert len(asks_of(rt)._left) == 0  # noqa: SLF001
    assert set(range(2, 2001, 2)) <= set(answers)


async def test_a_circle_of_asks_ends_in_time_and_the_mailbox_goes_on(autojump_clock: Any) -> None:
    """A asks B asks A, one at a time each: what is left of it ends at the hop limit."""
    one = {"concurrency": 1, "maxRetries": 0, "timeout": 30}

    @step(queue("a", config=one), enqueues=["b"], name="A")
    async def a(input: Any, ctx: Any) -> Any:
        return await ctx.ask("b", input) if input else "a"

    @step(queue("b", config=one), enqueues=["a"], name="B")
    async def b(input: Any, ctx: Any) -> Any:
        return await ctx.ask("a", input) if input else "b"

    async with open_runtime(App([a, b]), observers=()) as rt:
        began = trio.current_time()
        # A fails for lack of time when the asker leaves, or is a dead letter just before
        with pytest.raises((TimedOut, HandlerFailed)):
            await rt.ask("a", "round", timeout=5)
        assert trio.current_time() - began == 5
        assert await rt.ask("a", "", timeout=2000) == "a"
        assert await rt.ask("b", "", timeout=2000) == "b"
        await rt.quiesce()
        assert asks_of(rt)._asked == {}  # noqa: SLF001


async def test_a_circle_of_asks_in_threads_ends_in_time() -> None:
    one = {"concurrency": 1, "maxRetries": 0, "timeout": 0.1}

    @step(queue("a", config=one), enqueues=["b"], name="A")
    def a(input: Any, ctx: Any) -> Any:
        return ctx.ask("b", input) if input else "a"

    @step(queue("b", config=one), enqueues=["a"], name="B")
    def b(input: Any, ctx: Any) -> Any:
        return ctx.ask("a", input) if input else "b"

    async with open_runtime(App([a, b]), observers=()) as rt:
        with trio.fail_after(30):
            with pytest.raises((TimedOut, HandlerFailed)):
                await rt.ask("a", "round", timeout=5)
            assert await rt.ask("a", "", timeout=20) == "a"


async def test_an_ask_of_a_crashing_actor_gets_the_answer_of_a_later_attempt(
    autojump_clock: Any,
) -> None:
    tries: list[int] = []

    @step(queue("work"), name="Work")
    async def work(input: Any) -> Any:
        tries.append(1)
        if len(tries) < 3:
            sys.exit()
        return len(tries)

    async with open_runtime(App([work]), observers=()) as rt:
        assert await rt.ask("work", timeout=100) == 3


async def test_an_ask_of_a_quarantined_step_times_out_and_is_answered_to_nobody_later(
    autojump_clock: Any,
) -> None:
    broken = True

    @asynccontextmanager
    async def lifespan(ctx: Any) -> Any:
        if broken:
            raise RuntimeError("no database")
        yield

    @step(queue("work"), name="Work", lifespan=lifespan)
    async def work(input: Any) -> Any:
        return input

    restarts = RestartPolicy(cool_down=5)
    async with open_runtime(App([work]), observers=(), restarts=restarts) as rt:
        await trio.sleep(4)
        assert rt.tree()["Work"].state == "quarantined"
        with pytest.raises(TimedOut, match="handled all the same"):
            await rt.ask("work", 1, timeout=1)
        broken = False
        await trio.sleep(60)
        await rt.quiesce()
        assert rt.tree().dropped_answers == 1


async def test_a_store_that_fails_ends_an_ask_with_its_error_and_nothing_is_remembered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with open_runtime(App([slow]), observers=()) as rt:

        async def full(*args: Any) -> Any:
            await trio.lowlevel.checkpoint()
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(rt.store, "commit", full)
            for _ in range(10):
                with pytest.raises(OSError, match="No space left"):
                    await rt.ask("slow", 0)
        assert asks_of(rt)._asked == {}  # noqa: SLF001
        assert len(asks_of(rt)._left) == 0  # noqa: SLF001
        assert await rt.ask("slow", 0) == 0


async def test_a_thread_that_asks_over_its_bound_is_ended_by_it() -> None:
    """The ask raises Cancelled there, and the attempt was too late."""
    ended: list[BaseException] = []

    @step(http("GET", "/", config={"timeout": 0.2}), enqueues=["slow"], name="Get")
    def get(req: Any, ctx: Any) -> Any:
        try:
            return ctx.ask("slow", 60)
        except BaseException as error:
            ended.append(error)
            raise

    async with open_runtime(App([get, slow], shutdown_timeout=0.1), observers=()) as rt:
        began = trio.current_time()
        with pytest.raises(TimedOut):
            await rt.request("Get", 0, request(), "0" * 32)
        assert trio.current_time() - began < 5
    assert len(ended) == 1
    assert not [each for each in threading.enumerate() if "get" in each.name and each.is_alive()
                and each.name.startswith("get from")]  # fmt: skip


@pytest.mark.parametrize("error", [KeyError, RuntimeError, ZeroDivisionError])
async def test_an_answer_whose_code_raises_fails_the_ask_and_not_the_actor(
    error: type[Exception], autojump_clock: Any
) -> None:
    @attrs.define
    class Broken:
        kept: int = 0

        def __getattribute__(self, name: str) -> Any:
            if name == "kept":
                raise error
            return object.__getattribute__(self, name)

    @step(queue("work"), name="Work")
    async def work(input: Any) -> Any:
        return {"broken": Broken()}

    async with open_runtime(App([work]), observers=()) as rt:
        began = trio.current_time()
        with pytest.raises(HandlerFailed, match="cannot be an answer"):
            await rt.ask("work", timeout=100)
        assert trio.current_time() - began < 50
        await rt.quiesce()
        assert rt.tree()["Work"].crashes == 0
        assert rt.dead_letters.list() == []


async def test_asks_in_a_lifespan_a_condition_and_a_middleware(autojump_clock: Any) -> None:
    got: list[Any] = []

    @asynccontextmanager
    async def lifespan(ctx: Any) -> Any:
        got.append(("lifespan", await ctx.ask("slow", 1)))
        yield

    async def condition(input: Any, ctx: Any) -> bool:
        got.append(("condition", await ctx.ask("slow", 2)))
        return True

    async def around(req: Any, ctx: Any, following: Any) -> Any:
        got.append(("middleware", await ctx.ask("slow", 3)))
        return await following()

    @step(
        http("GET", "/", middleware=[around], condition=condition),
        enqueues=["slow"],
        name="Get",
        lifespan=lifespan,
    )
    async def get(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": await ctx.ask("slow", 4)}

    async with open_runtime(App([get, slow]), observers=()) as rt:
        answer = await rt.request("Get", 0, request(), "0" * 32)
    assert answer == {"status": 200, "body": 4}
    assert got == [("lifespan", 1), ("middleware", 3), ("condition", 2)]


async def test_a_timeout_of_an_ask_is_told_where_it_was_asked(autojump_clock: Any) -> None:
    @step(queue("work", config={"maxRetries": 0}), enqueues=["slow"], name="Work")
    async def work(input: Any, ctx: Any) -> None:
        await ctx.ask("slow", 60, timeout=1)

    notebook = Notebook()
    async with open_runtime(App([work, slow]), observers=[notebook]) as rt:
        await rt.enqueue("work")
        await rt.quiesce()
    (told,) = notebook.of(AttemptFailed)
    assert told.error.startswith("TimedOut: no answer to 'slow'")
    assert told.where.endswith("in work")


async def test_a_stop_does_not_wait_for_answers_that_cannot_come(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    """What asked is given back with its attempt uncounted, and done by the next runtime."""
    began: list[int] = []

    @step(queue("outer", config={"maxRetries": 0}), enqueues=["inner"], name="Outer")
    async def outer(input: Any, ctx: Any) -> Any:
        began.append(1)
        return await ctx.ask("inner")

    @step(queue("inner", config={"concurrency": 1}), name="Inner")
    async def inner(input: Any) -> Any:
        await trio.sleep(2)
        return 1

    app = App([outer, inner], shutdown_timeout=1000, **where)
    async with open_runtime(app, observers=()) as rt:
        for _ in range(5):
            await rt.enqueue("outer")
        await trio.sleep(1)
        stopped = trio.current_time()
    assert trio.current_time() - stopped < 5
    assert len(began) == 5
    if where["store"] == "memory:":
        return
    async with open_runtime(app, observers=()) as rt:
        await trio.sleep(100)
        await rt.quiesce()
        assert rt.dead_letters.list() == []
    assert len(began) == 9


async def test_a_request_that_asks_while_the_service_stops_is_told_so_at_once(
    autojump_clock: Any,
) -> None:
    gate = trio.Event()

    @step(http("GET", "/"), enqueues=["slow"], name="Get")
    async def get(req: Any, ctx: Any) -> Any:
        await gate.wait()
        return {"status": 200, "body": await ctx.ask("slow", 1)}

    told: list[Exception] = []

    async def ask(rt: Service) -> None:
        try:
            await rt.request("Get", 0, request(), "0" * 32)
        except Closed as error:
            told.append(error)

    async with trio.open_nursery() as nursery:
        async with open_runtime(App([get, slow], shutdown_timeout=1000), observers=()) as rt:
            nursery.start_soon(ask, rt)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
            await rt.begin_stop()
            gate.set()
    assert trio.current_time() - began < 5
    assert len(told) == 1
