"""Middleware: what is put around the handlers of requests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from motia_trio import App, LoadFailed, http, open_runtime, step
from motia_trio.events import AskFailed
from tests.support import Notebook

if TYPE_CHECKING:
    from pathlib import Path


async def ask(app: App, path: str = "/", *, observers: Any = (), **given: Any) -> httpx.Response:
    async with (
        open_runtime(app, http="127.0.0.1:0", observers=observers) as rt,
        httpx.AsyncClient(base_url=rt.http_url or "") as client,
    ):
        return await client.request(given.pop("method", "POST"), path, **given)


def marking(name: str, *, is_async: bool) -> Any:
    """A middleware that notes its way in and out in the answer."""

    async def around(req: Any, ctx: Any, following: Any) -> Any:
        ctx.way = [*getattr(ctx, "way", []), name]
        answer = await following()
        answer["body"].append(f"out {name}")
        return answer

    def around_in_thread(req: Any, ctx: Any, following: Any) -> Any:
        assert threading.current_thread() is not threading.main_thread()
        ctx.way = [*getattr(ctx, "way", []), name]
        answer = following()
        answer["body"].append(f"out {name}")
        return answer

    return around if is_async else around_in_thread


async def tell_way(req: Any, ctx: Any) -> Any:
    assert threading.current_thread() is threading.main_thread()
    return {"status": 200, "body": [f"in {name}" for name in ctx.way]}


def tell_way_in_thread(req: Any, ctx: Any) -> Any:
    assert threading.current_thread() is not threading.main_thread()
    return {"status": 200, "body": [f"in {name}" for name in ctx.way]}


@pytest.mark.parametrize("handler", [tell_way, tell_way_in_thread])
@pytest.mark.parametrize("kinds", ["aaa", "sss", "asa", "sas", "ssa", "aas"])
async def test_middleware_runs_in_order_the_first_is_the_outermost(
    kinds: str, handler: Any
) -> None:
    """Async ones on the loop and others in threads, in any mixture."""
    around = [marking(str(n), is_async=kind == "a") for n, kind in enumerate(kinds)]
    app = App([step(http("POST", "/", middleware=around), name="Way")(handler)])
    answer = await ask(app)
    assert answer.json() == ["in 0", "in 1", "in 2", "out 2", "out 1", "out 0"]


async def test_a_middleware_that_answers_itself_keeps_the_rest_from_running() -> None:
    async def guard(req: Any, ctx: Any, following: Any) -> Any:
        if req.headers.get("x-key") != "open":
            return {"status": 401, "body": {"error": "Unauthorized"}}
        return await following()

    ran: list[Any] = []

    @step(http("POST", "/", middleware=guard, body_schema={"type": "object"}), name="Guarded")
    async def handler(req: Any) -> Any:
        ran.append(req)
        return {"status": 200, "body": "in"}

    assert (await ask(App([handler]), json=[])).status_code == 401
    assert ran == []
    assert (await ask(App([handler]), json={}, headers={"x-key": "open"})).text == "in"


async def test_an_outer_one_may_catch_what_the_handler_raised() -> None:
    async def catch(req: Any, ctx: Any, following: Any) -> Any:
        try:
            return await following()
        except KeyError as error:
            return {"status": 404, "body": {"missing": error.args[0]}}

    @step(http("POST", "/", middleware=[catch]), name="Fails")
    def handler(req: Any) -> Any:
        raise KeyError("order")

    notebook = Notebook()
    answer = await ask(App([handler]), observers=[notebook])
    assert (answer.status_code, answer.json()) == (404, {"missing": "order"})
    assert notebook.of(AskFailed) == []


async def test_what_a_middleware_raises_is_a_failed_request_with_its_place() -> None:
    async def broken(req: Any, ctx: Any, following: Any) -> Any:
        raise RuntimeError("no key store")

    notebook = Notebook()
    app = App([step(http("POST", "/", middleware=[broken]), name="Way")(tell_way)])
    assert (await ask(app, observers=[notebook])).status_code == 500
    (told,) = notebook.of(AskFailed)
    assert told.error == "RuntimeError: no key store"
    assert "test_middleware.py" in told.where


async def test_a_middleware_sees_and_may_change_the_answer_of_a_schema() -> None:
    async def count(req: Any, ctx: Any, following: Any) -> Any:
        answer = await following()
        answer["headers"] = {"x-wrong": str(len(answer["body"]["details"]))}
        return answer

    schema = {"type": "object", "required": ["a", "b"]}
    app = App([step(http("POST", "/", middleware=[count], body_schema=schema), name="W")(tell_way)])
    answer = await ask(app, json={})
    assert (answer.status_code, answer.headers["x-wrong"]) == (400, "2")
    assert [each["path"] for each in answer.json()["details"]] == ["a", "b"]


async def test_what_a_middleware_puts_into_the_body_is_what_is_checked() -> None:
    async def fill(req: Any, ctx: Any, following: Any) -> Any:
        req.body["n"] = 1
        return await following(req)

    @step(
        http("POST", "/", middleware=[fill], body_schema={"required": ["n"]}),
        name="Filled",
    )
    async def handler(req: Any) -> Any:
        return {"status": 200, "body": req.body}

    assert (await ask(App([handler]), json={})).json() == {"n": 1}


async def test_the_bound_of_the_trigger_is_that_of_all_of_it() -> None:
    async def sleep(req: Any, ctx: Any, following: Any) -> Any:
        await trio.sleep(5)
        return await following()

    app = App([step(http("POST", "/", middleware=[sleep], config={"timeout": 0.05}))(tell_way)])
    assert (await ask(app)).status_code == 504


async def test_middleware_of_the_settings_is_around_that_of_every_route(tmp_path: Path) -> None:
    app = App(
        [
            step(http("POST", "/", middleware=[marking("own", is_async=True)]), name="Way")(
                tell_way
            ),
            step(http("POST", "/b"), name="Other")(tell_way_in_thread),
        ],
        middleware=[marking("all", is_async=False)],
    )
    assert (await ask(app)).json() == ["in all", "in own", "out own", "out all"]
    assert (await ask(app, "/b")).json() == ["in all", "out all"]


async def test_middleware_of_the_settings_may_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "named_middleware.py").write_text(
        "async def around(req, ctx, next):\n    ctx.way = ['named']\n    return await next()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    steps = [step(http("POST", "/"), name="Way")(tell_way)]
    app = App(steps, middleware="named_middleware:around")
    assert (await ask(app)).json() == ["in named"]
    for name, words in {
        "named_middleware": 'expected "module:function"',
        "named_middleware:arund": "has no 'arund'",
        "no_such_module:x": "ModuleNotFoundError",
    }.items():
        with pytest.raises(LoadFailed, match=r"middleware\[0\].*" + words):
            App(steps, middleware=[name])


async def test_a_middleware_that_returns_nothing_is_told_by_its_name() -> None:
    async def forgets(req: Any, ctx: Any, following: Any) -> Any:
        await following()

    notebook = Notebook()
    app = App([step(http("POST", "/", middleware=[forgets]), name="Way")(tell_way_of_none)])
    assert (await ask(app, observers=[notebook])).status_code == 500
    (told,) = notebook.of(AskFailed)
    assert "middleware forgets (" in told.error
    assert "test_middleware.py" in told.error
    assert "returned nothing: return what next() gives" in told.error


async def tell_way_of_none(req: Any, ctx: Any) -> Any:
    return {"status": 200, "body": "in"}


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_middleware_may_return_what_it_did_not_await(*, is_async: bool) -> None:
    async def passes(req: Any, ctx: Any, following: Any) -> Any:
        return following()

    def passes_in_thread(req: Any, ctx: Any, following: Any) -> Any:
        return following()

    around = passes if is_async else passes_in_thread
    app = App([step(http("POST", "/", middleware=[around]), name="Way")(tell_way_of_none)])
    assert (await ask(app)).text == "in"


@pytest.mark.parametrize("wrong", [lambda req: None, lambda a, b, c, d: None, "text", 5])
def test_what_cannot_be_called_as_a_middleware_is_told_at_load(wrong: Any) -> None:
    with pytest.raises(LoadFailed, match="middleware"):
        step(http("POST", "/", middleware=[wrong]), name="Way")(tell_way)


async def test_many_requests_through_threads_do_not_wait_for_each_others_threads() -> None:
    """Each has two threads, one of which waits for the other."""
    config = {"queue": {"concurrency": 4}}
    around = [marking("a", is_async=False), marking("b", is_async=False)]
    app = App([step(http("POST", "/", middleware=around, config=config))(tell_way_in_thread)])
    async with (
        open_runtime(app, http="127.0.0.1:0", observers=()) as rt,
        httpx.AsyncClient(base_url=rt.http_url or "") as client,
    ):
        statuses: list[int] = []

        async def one() -> None:
            statuses.append((await client.post("/")).status_code)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for _ in range(40):
                    nursery.start_soon(one)
        assert statuses == [200] * 40
