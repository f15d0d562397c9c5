"""Contract §3: how a handler is called; and of §9, where it runs."""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

import pytest
import trio

from motia_trio import App, LoadFailed, cron, http, open_runtime, queue, step
from tests.contract.conftest import Project, Serving
from tests.contract.dialects import Dialect

both_ways = pytest.mark.parametrize("way", ["async def", "def"])


# the forms


@both_ways
async def test_http_handler_input_ctx(
    dialect: Dialect, way: str, files: Project, served: Serving
) -> None:
    """`handler(input, ctx)`"""
    code = f"""
{way} handler(input, ctx):
    return {{"status": 200, "body": [input.body, ctx.trace_id == input.trace_id]}}
"""
    async with served(files.app(dialect.http("POST", "/x", code))) as (_, client):
        assert (await client.post("/x", json={"a": 1})).json() == [{"a": 1}, True]


@both_ways
async def test_http_handler_input(
    dialect: Dialect, way: str, files: Project, served: Serving
) -> None:
    """`handler(input)`"""
    code = f"{way} handler(req):\n    return {{'status': 200, 'body': req.body}}"
    async with served(files.app(dialect.http("POST", "/x", code))) as (_, client):
        assert (await client.post("/x", json={"a": 1})).json() == {"a": 1}


@both_ways
async def test_http_handler_of_nothing(
    dialect: Dialect, way: str, files: Project, served: Serving
) -> None:
    """`handler()`"""
    code = f"{way} handler():\n    return {{'status': 200, 'body': 'done'}}"
    async with served(files.app(dialect.http("GET", "/x", code))) as (_, client):
        assert (await client.get("/x")).text == "done"


@both_ways
@pytest.mark.parametrize(
    ("parameters", "seen"),
    [
        ("input, ctx", "[input, ctx.trigger.topic]"),
        ("input", "[input]"),
        ("data, context", "[data, context.trigger.topic]"),
        ("", "[]"),
    ],
)
async def test_queue_handler_of_each_form(
    dialect: Dialect, way: str, parameters: str, seen: str, files: Project
) -> None:
    """`handler(input, ctx)`, `handler(input)`, …, `handler()`"""
    code = f"{way} handler({parameters}):\n    saw({seen})"
    async with open_runtime(files.app(dialect.queue("t", code)), observers=()) as rt:
        await rt.enqueue("t", {"a": 1})
        await rt.quiesce()
    expected = [{"a": 1}, "t"]
    assert files.seen == [expected[: len(seen.split(",")) if parameters else 0]]


@both_ways
@pytest.mark.parametrize("name", ["ctx", "context", "_ctx", "c"])
async def test_cron_handler_ctx(
    dialect: Dialect, way: str, name: str, files: Project, autojump_clock: trio.testing.MockClock
) -> None:
    """`handler(ctx)` for cron; and §1: `handler(ctx)` is the first dialect's cron handler"""
    code = f"{way} handler({name}):\n    saw({name}.trigger.type)"
    async with open_runtime(files.app(dialect.cron("* * * * *", code)), observers=()) as rt:
        await trio.sleep(60)
        await rt.quiesce()
    assert set(files.seen) == {"cron"}


@both_ways
async def test_cron_handler_none_ctx(
    dialect: Dialect, way: str, files: Project, autojump_clock: trio.testing.MockClock
) -> None:
    """§1, cron handler: `handler(input, ctx)`, `handler(None, ctx)`"""
    code = f"{way} handler(input, ctx):\n    saw([input, ctx.trigger.type])"
    async with open_runtime(files.app(dialect.cron("* * * * *", code)), observers=()) as rt:
        await trio.sleep(60)
        await rt.quiesce()
    assert files.seen[0] == [None, "cron"]


@both_ways
async def test_cron_handler_of_nothing(
    dialect: Dialect, way: str, files: Project, autojump_clock: trio.testing.MockClock
) -> None:
    """`handler()`"""
    code = f"{way} handler():\n    saw('ran')"
    async with open_runtime(files.app(dialect.cron("* * * * *", code)), observers=()) as rt:
        await trio.sleep(60)
        await rt.quiesce()
    assert files.seen[0] == "ran"


# decorated or not


def passes_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator that says whose it is."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


def awaits(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same for async functions."""

    @functools.wraps(function)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        return await function(*args, **kwargs)

    return wrapper


def says_nothing(function: Callable[..., Any]) -> Callable[..., Any]:
    """A decorator without `wraps`: what it made takes anything."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@pytest.mark.parametrize("decorator", [passes_on, awaits, says_nothing])
async def test_decorated_async_handler(decorator: Callable[..., Any], served: Serving) -> None:
    """`async def` …; decorated or not"""

    @decorator
    async def handler(req: Any, ctx: Any) -> Any:
        await ctx.state.set("g", "k", 1)
        return {"status": 200, "body": [req.method, await ctx.state.get("g", "k")]}

    config = {"name": "S", "triggers": [{"type": "http", "method": "GET", "path": "/"}]}
    async with served([step(config, handler)]) as (_, client):
        assert (await client.get("/")).json() == ["GET", 1]


@pytest.mark.parametrize("decorator", [passes_on, says_nothing])
async def test_decorated_def_handler(decorator: Callable[..., Any], served: Serving) -> None:
    """… or `def`; decorated or not"""

    @decorator
    def handler(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": [req.method, ctx.trigger.method]}

    config = {"name": "S", "triggers": [{"type": "http", "method": "GET", "path": "/"}]}
    async with served([step(config, handler)]) as (_, client):
        assert (await client.get("/")).json() == ["GET", "GET"]


@pytest.mark.parametrize("decorator", [passes_on, awaits])
async def test_a_decorated_handler_keeps_its_own_form(
    decorator: Callable[..., Any], served: Serving
) -> None:
    """`handler(input)` …; decorated or not"""

    @decorator
    async def handler(req: Any) -> Any:
        return {"status": 200, "body": req.method}

    config = {"name": "S", "triggers": [{"type": "http", "method": "GET", "path": "/"}]}
    async with served([step(config, handler)]) as (_, client):
        assert (await client.get("/")).text == "GET"


# defaults


@both_ways
@pytest.mark.parametrize(
    "parameters", ["input, ctx=None", "input=None, ctx=None", "input, ctx=None, more=1"]
)
async def test_ctx_none_default(
    dialect: Dialect, way: str, parameters: str, files: Project
) -> None:
    """`ctx=None` defaults"""
    code = f"{way} handler({parameters}):\n    saw([input, ctx.trigger.topic])"
    async with open_runtime(files.app(dialect.queue("t", code)), observers=()) as rt:
        await rt.enqueue("t", 7)
        await rt.quiesce()
    assert files.seen == [[7, "t"]]


@both_ways
async def test_ctx_none_default_of_a_lone_ctx(
    dialect: Dialect, way: str, files: Project, autojump_clock: trio.testing.MockClock
) -> None:
    """`ctx=None` defaults"""
    code = f"{way} handler(ctx=None):\n    saw(ctx.trigger.type)"
    async with open_runtime(files.app(dialect.cron("* * * * *", code)), observers=()) as rt:
        await trio.sleep(60)
        await rt.quiesce()
    assert files.seen[0] == "cron"


# once, at load


class Watched:
    """A handler that counts how often somebody looks at its signature."""

    def __init__(self) -> None:
        self.looks = 0

    @property
    def __signature__(self) -> inspect.Signature:
        self.looks += 1
        return inspect.signature(lambda input, ctx: None)

    async def __call__(self, *args: Any) -> None:
        assert len(args) == 2


async def test_decide_by_signature_once_at_load() -> None:
    """Decide by signature once, at load."""
    handler = Watched()
    app = App([step({"name": "S", "triggers": [{"type": "queue", "topic": "t"}]}, handler)])
    at_load = handler.looks
    assert at_load > 0
    async with open_runtime(app, observers=()) as rt:
        for _ in range(3):
            await rt.enqueue("t")
        await rt.quiesce()
        assert rt.dead_letters.list() == []
    assert handler.looks == at_load


def test_a_signature_that_fits_nothing_is_told_at_load(dialect: Dialect, files: Project) -> None:
    """Decide by signature once, at load."""
    text = dialect.queue("t", "def handler(a, b, c): ...")
    with pytest.raises(LoadFailed, match=r"steps/00_step\.py.*handler\(a, b, c\)"):
        files.app(text)


# §9, what exists


def tells_where(way: str, ran_in: list[threading.Thread]) -> Callable[..., Any]:
    """A handler that notes the thread in which it runs."""

    async def on_loop(input: Any, ctx: Any) -> Any:
        ran_in.append(threading.current_thread())
        await trio.lowlevel.checkpoint()
        return {"status": 200}

    def in_thread(input: Any, ctx: Any) -> Any:
        ran_in.append(threading.current_thread())
        with pytest.raises(RuntimeError):
            trio.lowlevel.current_task()
        return {"status": 200}

    return on_loop if way == "async def" else in_thread


@both_ways
async def test_async_def_on_the_trio_loop_def_in_a_worker_thread(way: str, served: Serving) -> None:
    """`async def` on the Trio loop; …; `def`: in a worker thread."""
    ran_in: list[threading.Thread] = []
    handler = step(http("GET", "/"), queue("t"), name="S")(tells_where(way, ran_in))
    async with served([handler]) as (rt, client):
        assert (await client.get("/")).status_code == 200
        await rt.enqueue("t")
        await rt.quiesce()
        assert rt.dead_letters.list() == []
    on_loop = [thread is threading.current_thread() for thread in ran_in]
    assert on_loop == [way == "async def"] * 2


@both_ways
async def test_so_do_cron_handlers(way: str, autojump_clock: trio.testing.MockClock) -> None:
    """`async def` on the Trio loop; …; `def`: in a worker thread."""
    ran_in: list[threading.Thread] = []
    handler = step(cron("* * * * *"), name="S")(tells_where(way, ran_in))
    async with open_runtime(App([handler]), observers=()) as rt:
        await trio.sleep(60)
        await rt.quiesce()
    assert (ran_in[0] is threading.current_thread()) is (way == "async def")
