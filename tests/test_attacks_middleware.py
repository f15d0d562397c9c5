"""Attacks on middleware: each is how something was found, or was looked for."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio
import trio.testing
from pydantic import BaseModel

from motia_trio import (
    App,
    HandlerFailed,
    LoadFailed,
    TimedOut,
    http,
    open_runtime,
    queue,
    step,
)
from motia_trio.events import (
    ActorCrashed,
    AskFailed,
    HandlerOverdue,
)
from motia_trio.loader import load_middleware
from tests.support import Notebook
from tests.test_attacks_streams import ask


def behind(*around: Any, handler: Any = None, **given: Any) -> App:
    """An app of one route with middleware."""

    async def get(req: Any) -> Any:
        return {"status": 200, "body": req.body}

    made = step(http("GET", "/", middleware=list(around), **given), name="Get")(handler or get)
    return App([made], shutdown_timeout=2)


async def test_a_plain_function_that_gives_an_awaitable_may_call_next_on_the_loop() -> None:
    """As decorators do that do not say that they are async."""

    def around(req: Any, ctx: Any, following: Any) -> Any:
        async def inner() -> Any:
            await ctx.state.set("g", "k", 1)
            return await following()

        return inner()

    async with open_runtime(behind(around), observers=()) as rt:
        assert await ask(rt, "x") == {"status": 200, "body": "x"}


async def test_an_async_middleware_may_call_next_in_a_thread() -> None:
    async def around(req: Any, ctx: Any, following: Any) -> Any:
        return await trio.to_thread.run_sync(following)

    async with open_runtime(behind(around), observers=()) as rt:
        assert await ask(rt, "x") == {"status": 200, "body": "x"}


async def test_calls_know_themselves_whether_they_are_in_a_thread() -> None:
    """Whatever else of the same invocation runs meanwhile."""
    seen: list[Any] = []

    async def around(req: Any, ctx: Any, following: Any) -> Any:
        answers: list[Any] = []

        async def go() -> None:
            answers.append(await following())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go)
            nursery.start_soon(go)
            for number in range(20):
                seen.append((await ctx.state.set("g", f"a{number}", number))["new_value"])
                ctx.logger.info("here")
                await trio.sleep(0.01)
        await ctx.state.set("g", "end", 1)
        return answers[0]

    def get(req: Any, ctx: Any) -> Any:
        for number in range(5):
            assert ctx.state.set("g", f"b{number}", number)["new_value"] == number
            ctx.logger.info("there")
            time.sleep(0.01)
        return {"status": 200, "body": "x"}

    async with open_runtime(behind(around, handler=get), observers=()) as rt:
        assert await ask(rt) == {"status": 200, "body": "x"}
    assert seen == [*range(20)]


async def test_a_thread_that_an_async_handler_opens_may_use_ctx() -> None:
    @step(queue("work"), enqueues=["work"], name="Work")
    async def work(input: Any, ctx: Any) -> Any:
        def inside() -> Any:
            ctx.logger.info("from a thread")
            ctx.state.set("g", "k", 5)
            return ctx.state.get("g", "k"), ctx.state.list("g"), ctx.match({"default": len})

        return await trio.to_thread.run_sync(inside)

    async with open_runtime(App([work]), observers=()) as rt:
        assert await rt.ask("work", "abc") == [5, [5], 3]


async def test_a_thread_that_is_none_of_trios_is_told_so() -> None:
    @step(queue("work", config={"maxRetries": 0}), name="Work")
    def work(input: Any, ctx: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(ctx.state.set, "g", "k", 5).result()

    async with open_runtime(App([work]), observers=()) as rt:
        with pytest.raises(HandlerFailed, match="thread"):
            await rt.ask("work")


@pytest.mark.parametrize("way", ["unpack", "copy", "dict"])
async def test_a_request_that_a_middleware_makes_anew_is_a_request(way: str) -> None:
    async def around(req: Any, ctx: Any, following: Any) -> Any:
        made = {"unpack": {**req}, "copy": req.copy(), "dict": dict(req)}[way]
        made["body"] = {"orders": [{"orderId": 1}]}
        return await following(made)

    async def get(req: Any, ctx: Any) -> Any:
        assert req.raw_body == b""
        first = ctx.get_data().orders[0]
        return {"status": 200, "body": [first.order_id, req.pathParams, req.headers]}

    async with open_runtime(behind(around, handler=get), observers=()) as rt:
        assert (await ask(rt))["body"] == [1, {}, {}]


async def test_next_with_something_that_is_no_request_says_so() -> None:
    async def around(req: Any, ctx: Any, following: Any) -> Any:
        return await following(ctx)

    notebook = Notebook()
    async with open_runtime(behind(around), observers=[notebook]) as rt:
        with pytest.raises(HandlerFailed):
            await ask(rt)
    assert "next() takes a request" in notebook.of(AskFailed)[0].error


async def test_next_called_twice_checks_the_same_request_twice() -> None:
    """What the schemas make of it the first time is not what is checked the second time."""

    class Query(BaseModel):
        n: int

    class Body(BaseModel):
        when: int

    async def twice(req: Any, ctx: Any, following: Any) -> Any:
        req["query_params"] = {"n": "1"}
        first = await following()
        assert req.query_params == {"n": "1"}
        return [first, await following()]

    async def get(req: Any) -> Any:
        return req.query_params.n + req.body.when

    app = behind(twice, handler=get, query_params=Query, body_schema=Body)
    async with open_runtime(app, observers=()) as rt:
        assert await ask(rt, {"when": 5}) == [6, 6]


async def test_next_called_after_the_end_is_an_error_and_runs_nothing(autojump_clock: Any) -> None:
    kept: list[Any] = []
    ran: list[Any] = []

    async def keeps(req: Any, ctx: Any, following: Any) -> Any:
        kept.append(following)
        return {"status": 204}

    async def get(req: Any) -> Any:
        ran.append(req)

    async with open_runtime(behind(keeps, handler=get), observers=()) as rt:
        assert await ask(rt) == {"status": 204}
        with pytest.raises(RuntimeError, match="after its request had ended"):
            await kept[0]()
    assert ran == []


@pytest.mark.parametrize("kind", [SystemExit, BaseException, GeneratorExit])
@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize("part", ["middleware", "condition"])
async def test_what_ends_an_actor_around_a_handler_ends_that_one_alone(
    kind: type[BaseException],
    sync: bool,  # noqa: FBT001
    part: str,
) -> None:
    def raises(*_: Any) -> Any:
        raise kind("odd")

    async def araises(*_: Any) -> Any:
        raise kind("odd")

    def raises_in_condition(input: Any, ctx: Any) -> Any:
        raise kind("odd")

    async def araises_in_condition(input: Any, ctx: Any) -> Any:
        raise kind("odd")

    async def get(req: Any) -> Any:
        """Never run."""

    if part == "middleware":
        given: Any = {"middleware": [raises if sync else araises]}
    else:
        given = {"condition": raises_in_condition if sync else araises_in_condition}

    @step(http("GET", "/fine"), name="Fine")
    async def fine(req: Any) -> Any:
        return {"status": 200, "body": "fine"}

    notebook = Notebook()
    app = App([step(http("GET", "/", **given), name="Get")(get), fine])
    async with open_runtime(app, observers=[notebook]) as rt:
        with trio.fail_after(5):
            with pytest.raises(HandlerFailed):
                await ask(rt)
            assert (await ask(rt, step="Fine"))["body"] == "fine"
            await rt.quiesce()
        assert rt.tree()["Fine"].crashes == 0
    assert len(notebook.of(ActorCrashed)) == 1


async def test_a_middleware_that_swallows_its_cancellation_is_answered_504(
    autojump_clock: Any,
) -> None:
    async def swallows(req: Any, ctx: Any, following: Any) -> Any:
        try:
            return await following()
        except BaseException:  # noqa: BLE001, ASYNC103
            return {"status": 200, "body": "all is well"}  # noqa: ASYNC104

    async def get(req: Any) -> Any:
        await trio.sleep_forever()

    app = behind(swallows, handler=get, config={"timeout": 1})
    async with open_runtime(app, observers=()) as rt:
        with pytest.raises(TimedOut):
            await ask(rt)
        with pytest.raises(TimedOut):
            await ask(rt)
        assert rt.tree()["Get"].crashes == 0


async def test_a_middleware_that_never_lets_go_is_abandoned() -> None:
    """Also as an object whose __await__ does so, which is no coroutine."""

    async def for_ever() -> Any:
        while True:
            try:
                await trio.sleep(0.001)
            except trio.Cancelled:  # noqa: ASYNC103
                pass

    class Stubborn:
        def __await__(self) -> Any:
            return for_ever().__await__()

    def gives(req: Any, ctx: Any, following: Any) -> Any:
        return Stubborn()

    class Callable:
        def __call__(self, req: Any) -> Any:
            return Stubborn()

    for app in (
        behind(gives, config={"timeout": 0.05}),
        behind(handler=Callable(), config={"timeout": 0.05}),
    ):
        async with open_runtime(app, observers=()) as rt:
            with trio.fail_after(10):
                with pytest.raises((TimedOut, HandlerFailed)):
                    await ask(rt)
                await rt.quiesce()
            assert rt.tree()["Get"].in_flight == 0


async def test_a_function_of_match_that_never_lets_go_is_abandoned() -> None:
    """In a thread, too, that waits for it."""

    async def for_ever(input: Any) -> Any:
        while True:
            try:
                await trio.sleep(0.001)
            except trio.Cancelled:  # noqa: ASYNC103
                pass

    def get(req: Any, ctx: Any) -> Any:
        return ctx.match({"http": for_ever})

    app = behind(handler=get, config={"timeout": 0.05})
    async with open_runtime(app, observers=()) as rt:
        with trio.fail_after(10):
            with pytest.raises((TimedOut, HandlerFailed)):
                await ask(rt)
            await rt.quiesce()
        assert rt.tree()["Get"].in_flight == 0


async def test_a_sync_middleware_holds_no_thread_after_the_bound() -> None:
    """Whatever the async handler behind it waits for: 504, and nothing is left."""

    def around_the_late(req: Any, ctx: Any, following: Any) -> Any:
        return following()

    async def get(req: Any) -> Any:
        await trio.sleep_forever()

    app = behind(around_the_late, around_the_late, handler=get, config={"timeout": 0.1})
    async with open_runtime(app, observers=()) as rt:
        with trio.fail_after(5):
            for _ in range(3):
                with pytest.raises(TimedOut):
                    await ask(rt)
            await rt.quiesce()
    names = [thread.name for thread in threading.enumerate()]
    assert not [name for name in names if "around_the_late" in name]


async def test_a_sync_middleware_that_outlives_its_bound_is_answered_for_and_told_of() -> None:
    gate = threading.Event()

    def holds(req: Any, ctx: Any, following: Any) -> Any:
        gate.wait(20)
        return following()

    ran: list[Any] = []

    async def get(req: Any) -> Any:
        ran.append(req)

    notebook = Notebook()
    app = behind(holds, handler=get, config={"timeout": 0.1})
    async with open_runtime(app, observers=[notebook]) as rt:
        began = trio.current_time()
        with pytest.raises(TimedOut):
            await ask(rt)
        assert trio.current_time() - began < 5
        with trio.move_on_after(5):
            while not notebook.of(HandlerOverdue):
                await trio.sleep(0.05)
        gate.set()
        await rt.quiesce()
    assert ran == []  # nothing begins for who was answered already
    assert len(notebook.of(HandlerOverdue)) == 1


@pytest.mark.parametrize("sync", [False, True])
def test_a_middleware_with_a_yield_is_refused_at_load(sync: bool) -> None:  # noqa: FBT001
    """It would answer 500 to each request."""

    def around(req: Any, ctx: Any, following: Any) -> Any:
        yield following()

    async def aaround(req: Any, ctx: Any, following: Any) -> Any:
        yield await following()

    with pytest.raises(LoadFailed, match="yield"):
        behind(around if sync else aaround)
    with pytest.raises(LoadFailed, match="yield"):
        load_middleware([around if sync else aaround])


def test_a_middleware_whose_module_exits_is_a_problem_of_the_project(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "exits_at_import.py").write_text("import sys\nsys.exit('no key')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LoadFailed, match="SystemExit: no key"):
        load_middleware(["exits_at_import:around"])


async def test_odd_names_on_ctx_are_kept_for_one_invocation_alone() -> None:
    names = ["x", "user_id", "userId", "a b", "", "ünï", "__odd__", "_Context__x", "class"]
    seen: list[Any] = []

    async def around(req: Any, ctx: Any, following: Any) -> Any:
        seen.append([name for name in names if name in vars(ctx)])
        for name in names:
            setattr(ctx, name, name)
        for name in ("state", "logger", "flows", "in_thread"):
            with pytest.raises(AttributeError):
                setattr(ctx, name, 1)
        return await following()

    async def get(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": [getattr(ctx, name) for name in names]}

    async with open_runtime(behind(around, handler=get), observers=()) as rt:
        assert (await ask(rt))["body"] == names
        assert (await ask(rt))["body"] == names
    assert seen == [[], []]
