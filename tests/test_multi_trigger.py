"""Steps with several triggers, and what tells their handlers which one it was."""

from __future__ import annotations

import threading
from typing import Any

import httpx
import pytest
import trio
import trio.lowlevel

from motia_trio import App, LoadFailed, cron, http, multi_trigger_step, open_runtime, queue, step
from motia_trio.events import DeadLettered
from tests.support import Notebook

ALL = {
    "name": "All",
    "triggers": [
        http("POST", "/all"),
        queue("all"),
        cron("0 0 1 1 *"),
        {"type": "state", "groupId": "all"},
        {"type": "stream", "streamName": "all"},
    ],
}
STREAMS = [{"name": "all"}]


async def run_all(app: App) -> Any:
    """Have each kind of trigger fire once; give the answer of the request."""
    async with (
        open_runtime(app, http="127.0.0.1:0", observers=()) as rt,
        httpx.AsyncClient(base_url=rt.http_url or "") as client,
    ):
        answer = await client.post("/all", json={"n": 1})
        await rt.enqueue("all", {"n": 2})
        await rt.quiesce()
        await rt.run_cron("All")
        await rt.quiesce()
        await rt.state.set("all", "n", 3)
        await rt.quiesce()
        await rt.streams["all"].set("g", "n", {"n": 4})
        await rt.quiesce()
    return answer.json() if answer.headers["content-type"] == "application/json" else answer.text


async def test_each_kind_of_trigger_has_its_own_handler_async_or_not() -> None:
    seen: list[Any] = []

    async def on_http(req: Any, ctx: Any) -> Any:
        seen.append(("http", req.body.n))
        return {"status": 200, "body": ctx.trigger.path}

    def on_queue(input: Any) -> None:
        seen.append(("queue", input.n, threading.current_thread() is threading.main_thread()))

    async def on_cron(anything: Any) -> None:
        seen.append(("cron", anything.trigger.expression))

    async def on_state(input: Any, ctx: Any) -> None:
        seen.append(("state", input.new_value))

    async def on_stream(input: Any, ctx: Any) -> None:
        seen.append(("stream", input.event.data.n))

    made = (
        multi_trigger_step(ALL)
        .on_http(on_http)
        .on_queue(on_queue)
        .on_cron(on_cron)
        .on_state(on_state)
        .on_stream(on_stream)
        .handlers()
    )
    assert await run_all(App([made], streams=STREAMS)) == "/all"
    assert seen == [
        ("http", 1),
        ("queue", 2, False),
        ("cron", "0 0 1 1 *"),
        ("state", 3),
        ("stream", 4),
    ]


async def test_one_handler_asks_its_context_what_started_it() -> None:
    seen: list[Any] = []

    async def handler(input: Any, ctx: Any) -> Any:
        guards = [ctx.is_api(), ctx.is_queue(), ctx.is_cron(), ctx.is_state(), ctx.is_stream()]
        other = [
            getattr(ctx.is_, name)(input) for name in ("http", "queue", "cron", "state", "stream")
        ]
        assert guards == other
        data = ctx.get_data()
        seen.append((ctx.trigger.type, ctx.trigger.index, guards.index(True), data and dict(data)))
        return {"status": 200, "body": "done"} if ctx.is_http() else None

    await run_all(App([step(ALL, handler)], streams=STREAMS))
    assert [each[:3] for each in seen] == [
        (kind, n, n) for n, kind in enumerate(("http", "queue", "cron", "state", "stream"))
    ]
    assert [seen[0][3], seen[1][3], seen[2][3]] == [{"n": 1}, {"n": 2}, None]
    assert seen[3][3]["new_value"] == 3


@pytest.mark.parametrize("is_async", [True, False])
async def test_match_calls_the_function_for_the_trigger_as_it_wants_to_be_called(
    *, is_async: bool
) -> None:
    seen: list[Any] = []

    async def later(input: Any, ctx: Any) -> Any:
        await trio.lowlevel.checkpoint()
        seen.append((ctx.trigger.type, input.new_value))
        return await ctx.state.get("all", "n")

    functions = {
        "api": lambda req: {"status": 200, "body": req.body.n},
        "event": lambda input, ctx: seen.append((ctx.trigger.topic, input.n)),
        "cron": lambda: seen.append("cron"),
        "state": later,
        "default": lambda input: seen.append(input.type),
    }

    async def handler(input: Any, ctx: Any) -> Any:
        result = await ctx.match(functions)
        if ctx.is_state():
            assert result == 3
        return result

    def handler_in_thread(input: Any, ctx: Any) -> Any:
        result = ctx.match(functions)
        if ctx.is_state():
            assert result == 3
        return result

    app = App([step(ALL, handler if is_async else handler_in_thread)], streams=STREAMS)
    assert await run_all(app) == 1
    assert seen == [("all", 2), "cron", ("state", 3), "stream"]


async def test_match_without_a_fitting_function_says_what_there_is(autojump_clock: Any) -> None:
    @step(queue("work"), name="Work", infrastructure={"queue": {"maxRetries": 0}})
    async def work(input: Any, ctx: Any) -> None:
        await ctx.match({"http": print, "cron": print})

    notebook = Notebook()
    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work")
        await rt.quiesce()
    (letter,) = notebook.of(DeadLettered)
    assert "nothing for a trigger of type 'queue', and no 'default'; there are: http, cron" in (
        letter.reason
    )


def nothing(input: Any, ctx: Any) -> None:
    """A handler."""


@pytest.mark.parametrize(
    ("handlers", "words"),
    [
        ({"queue": nothing}, "no handler for triggers of type http, cron, state, stream"),
        ({"quue": nothing}, "no trigger is of this type"),
        ({"queue": 5}, "must be a function"),
        ({}, "no handler"),
    ],
)
def test_what_is_wrong_with_the_handlers_is_told(handlers: Any, words: str) -> None:
    with pytest.raises(LoadFailed, match=words):
        multi_trigger_step(ALL).handlers(handlers)


def test_a_multi_trigger_step_in_a_file_is_a_step(tmp_path: Any) -> None:
    folder = tmp_path / "steps"
    folder.mkdir()
    (folder / "all_step.py").write_text(
        "from motia_trio import multi_trigger_step, queue\n"
        "config = {'name': 'All', 'triggers': [queue('all')]}\n"
        "async def work(input, ctx):\n    pass\n"
        "all_step = multi_trigger_step(config).on_queue(work).handlers()\n"
    )
    (made,) = App.from_directory(tmp_path).steps
    assert made.name == "All"
    assert made.source == "steps/all_step.py"


async def test_requests_and_ticks_do_not_wait_for_a_flood_of_messages() -> None:
    """Kinds have lanes of their own: each has its share of the mailbox, and its own hands."""
    gate = trio.Event()
    ticked: list[Any] = []

    async def on_queue(input: Any) -> None:
        await gate.wait()

    async def on_http(req: Any) -> Any:
        return {"status": 200, "body": "in"}

    made = (
        multi_trigger_step(
            {"name": "All", "triggers": [queue("all"), http("GET", "/all"), cron("@yearly")]}
        )
        .on_queue(on_queue)
        .on_http(on_http)
        .on_cron(ticked.append)
        .handlers()
    )
    async with (
        open_runtime(App([made]), http="127.0.0.1:0", observers=()) as rt,
        httpx.AsyncClient(base_url=rt.http_url or "") as client,
    ):
        for _ in range(500):
            await rt.enqueue("all")
        with trio.fail_after(5):
            assert (await client.get("/all")).text == "in"
            await rt.run_cron("All")
            while not ticked:
                await trio.sleep(0.01)
        assert rt.tree()["All"].deliveries.waiting > 300
        gate.set()
        await rt.quiesce()
