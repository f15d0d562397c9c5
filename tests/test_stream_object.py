"""``Stream("chat")``: a stream of the third dialect, declared and used in the file of a step."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pytest
import trio
import trio.lowlevel

from motia_trio import (
    App,
    DoesNotFit,
    LoadFailed,
    Stream,
    UnknownStream,
    http,
    multi_trigger_step,
    open_runtime,
    queue,
    step,
)
from motia_trio import items as items_module
from motia_trio.data import alias
from tests.support import project

Where = dict[str, Any]

# beside the handlers of these tests
BESIDE = Stream("beside", schema={"required": ["text"]}, max_items=5)


async def handle(act: Callable[[Any], Any], *, thread: bool = False, **where: Any) -> Any:
    """Call something in a handler, and give what it gives."""
    got: list[Any] = []

    async def handler(data: Any, ctx: Any) -> None:
        got.append(await act(ctx))

    def threaded(data: Any, ctx: Any) -> None:
        got.append(act(ctx))

    config = {"name": "Go", "triggers": [{"type": "queue", "topic": "go"}]}
    app = App([step(config, threaded if thread else handler)], **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        assert [letter.reason for letter in rt.dead_letters.list()] == []
    return got[0]


# where it acts


async def test_it_does_what_the_stream_of_ctx_does(where: Where) -> None:
    async def act(ctx: Any) -> Any:
        return [
            await BESIDE.set("room", "1", {"text": "hello"}),
            await BESIDE.get("room", "1"),
            await BESIDE.update("room", "1", {"type": "set", "path": "text", "value": "ho"}),
            await BESIDE.getGroup("room"),
            await ctx.streams.beside.list("room"),
            await BESIDE.keys("room"),
            await BESIDE.listGroups(),
            await BESIDE.presence("room"),
            await BESIDE.send("room", {"type": "typing"}),
            await BESIDE.delete("room", "1"),
            await BESIDE.clear("room"),
        ]

    hello, ho = {"text": "hello"}, {"text": "ho"}
    assert await handle(act, **where) == [
        {"new_value": hello, "old_value": None},
        hello,
        {"new_value": ho, "old_value": hello},
        [ho],
        [ho],
        ["1"],
        ["room"],
        0,
        None,
        ho,
        0,
    ]


def test_it_has_every_method_of_a_stream_and_says_so_of_what_it_has_not() -> None:
    names = [name for name in dir(items_module.Stream) if not name.startswith("_")]
    for name in {*names, *map(alias, names)}:
        assert callable(getattr(BESIDE, name))
        assert hasattr(BESIDE, name)
    assert set(names) <= set(dir(BESIDE))
    with pytest.raises(
        AttributeError, match=r"Stream\('beside'\) has no 'sett'; it has clear, del"
    ):
        _ = BESIDE.sett
    assert repr(BESIDE) == "<Stream 'beside'>"
    assert copy(BESIDE).name == BESIDE.name == "beside"


async def test_in_a_thread_it_does_its_work_and_gives_the_result(where: Where) -> None:
    def act(ctx: Any) -> Any:
        return BESIDE.set("room", "1", {"text": "hello"}), BESIDE.list("room")

    set_to, listed = await handle(act, thread=True, **where)
    assert set_to == {"new_value": {"text": "hello"}, "old_value": None}
    assert listed == [{"text": "hello"}]


async def test_what_nobody_awaited_is_done_before_the_invocation_ends() -> None:
    @step(queue("go"), name="Go")
    async def go(data: Any) -> None:
        BESIDE.set("room", "1", {"text": "hello"})

    async with open_runtime(App([go]), observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        assert await rt.streams.beside.keys("room") == ["1"]


async def test_it_acts_on_the_invocation_that_is_running_of_many_at_once() -> None:
    """With its trace id, in the tasks that it starts and in what they call, and in threads."""
    traces: dict[int, set[str]] = {}

    @step(queue("go"), name="Go")
    async def go(number: int, ctx: Any) -> None:
        async def put(way: str) -> None:
            await trio.lowlevel.checkpoint()
            await BESIDE.set(str(number), way, {"text": ctx.trace_id})

        def in_thread() -> None:
            BESIDE.set(str(number), "thread", {"text": ctx.trace_id})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(put, "task")
            nursery.start_soon(trio.to_thread.run_sync, in_thread)
        await put("handler")

    async with open_runtime(App([go]), observers=()) as rt:
        for number in range(20):
            await rt.enqueue("go", number)
        await rt.quiesce()
        for number in range(20):
            items = await rt.streams.beside.list(str(number))
            traces[number] = {item["text"] for item in items}
            assert len(items) == 3
    assert all(len(each) == 1 for each in traces.values())
    assert len(set[str]().union(*traces.values())) == 20


async def test_a_transaction_has_what_it_does() -> None:
    """All of it or nothing, as through ctx."""

    @step(queue("go", config={"maxRetries": 0}), name="Go", delivery="transactional")
    async def go(fails: bool) -> None:  # noqa: FBT001
        await BESIDE.set("room", str(fails), {"text": "hello"})
        if fails:
            raise OSError("no luck")

    async with open_runtime(App([go]), observers=()) as rt:
        for fails in (True, False):
            await rt.enqueue("go", fails)
        await rt.quiesce()
        assert await rt.streams.beside.keys("room") == ["False"]


async def test_middleware_conditions_lifespans_and_bodies_have_it_too() -> None:
    async def around(req: Any, ctx: Any, following: Any) -> Any:
        await BESIDE.set("room", "middleware", {"text": ""})
        return await following()

    async def condition(req: Any) -> bool:
        await BESIDE.set("room", "condition", {"text": ""})
        return True

    @asynccontextmanager
    async def lifespan(ctx: Any) -> Any:
        await BESIDE.set("room", "life", {"text": ""})
        yield

    async def rows() -> Any:
        await BESIDE.set("room", "rows", {"text": ""})
        yield "x"

    @step(http("GET", "/", middleware=[around], condition=condition), name="Get", lifespan=lifespan)
    async def get(req: Any) -> Any:
        return {"status": 200, "body": rows()}

    async with open_runtime(App([get]), observers=()) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            assert (await client.get("/")).text == "x"
        keys = await rt.streams.beside.keys("room")
    assert keys == ["condition", "life", "middleware", "rows"]


async def test_outside_of_an_invocation_it_says_what_to_use() -> None:
    words = r"Stream\('beside'\).set: no handler is running here; .* uses rt.streams\['beside'\]"
    with pytest.raises(RuntimeError, match=words):
        BESIDE.set("room", "1", {})

    @step(queue("go"), name="Go")
    async def go(data: Any) -> None: ...

    async with open_runtime(App([go]), observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        with pytest.raises(RuntimeError, match=words):
            BESIDE.set("room", "1", {})
        told: list[BaseException] = []

        def alone() -> None:
            try:
                BESIDE.list("room")
            except RuntimeError as error:
                told.append(error)

        thread = threading.Thread(target=alone)
        thread.start()
        thread.join()
        assert "no handler is running here" in str(told[0])


async def test_a_test_may_put_something_in_its_place() -> None:
    with mock.patch.object(BESIDE, "set", return_value="put there by the test") as put:
        assert BESIDE.set("room", "1", {}) == "put there by the test"
    put.assert_called_once()
    with pytest.raises(RuntimeError):
        BESIDE.set("room", "1", {})


# what it declares


async def test_one_beside_a_handler_declares_the_stream_with_all_that_it_says() -> None:
    @step(queue("go"), name="Go")
    async def go(data: Any) -> None: ...

    app = App([go], root=Path(__file__).parent.parent)
    declared = app.streams["beside"]
    assert declared.source.startswith("tests/test_stream_object.py:")
    assert (declared.max_items, declared.ttl) == (5, None)
    async with open_runtime(app, observers=()) as rt:
        with pytest.raises(DoesNotFit, match="text: is required"):
            await rt.streams.beside.set("room", "1", {})


def test_one_is_found_beside_whatever_a_handler_is() -> None:
    class Handlers:
        async def method(self, data: Any) -> None: ...

    async def handler(data: Any) -> None: ...

    config = {"name": "A", "triggers": [{"type": "queue", "topic": "t"}]}
    multi = multi_trigger_step(config).on_queue(handler).handlers()
    for made in (step(config, Handlers().method), step(config, handler), multi):
        assert set(App([made]).streams) == {"beside"}
    assert set(App([step(config, print)]).streams) == set()


async def test_one_that_is_made_in_a_handler_declares_nothing() -> None:
    async def act(ctx: Any) -> Any:
        with pytest.raises(UnknownStream, match=r"no stream 'besides' .*did you mean 'beside'"):
            await Stream("besides").set("room", "1", {})

    await handle(act)


STEP = """
from motia_trio import Stream, queue
{imports}
{stream}
config = {{"name": "{name}", "triggers": [queue("{name}")]}}
async def handler(text, ctx):
    await chat.set("room", "{name}", {{"text": text}})
"""


def write_step(name: str, stream: str, imports: str = "") -> dict[str, str]:
    text = STEP.format(name=name, stream=stream, imports=imports)
    return {f"steps/{name}_step.py": text}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for a project, which is not importable afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


async def test_one_in_the_file_of_a_step_declares_the_stream(root: Path) -> None:
    project(root, write_step("say", 'chat = Stream("chat", schema={"required": ["text"]}, ttl=60)'))
    app = App.from_directory(root)
    assert app.streams["chat"].source == "steps/say_step.py:4"
    assert (app.streams["chat"].ttl, app.warnings) == (60, ())
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("say", "hello")
        await rt.quiesce()
        assert await rt.streams.chat.list("room") == [{"text": "hello"}]
        with pytest.raises(DoesNotFit):
            await rt.streams.chat.set("room", "1", {})


NAMED = 'chat = Stream("chat")'
RICH = 'chat = Stream({"name": "chat", "ttl": 60})'
FILE = 'config = {"name": "chat", "ttl": 30}\n'


@pytest.mark.parametrize(
    ("first", "second", "file", "ttl"),
    [
        (NAMED, NAMED, None, None),
        (NAMED, RICH, None, 60),
        (RICH, NAMED, None, 60),
        (NAMED, NAMED, FILE, 30),
        (NAMED, NAMED, "from motia_trio import Stream\nchat = Stream('chat', ttl=7)\n", 7),
        (RICH, NAMED, 'config = {"name": "other"}\n', 60),
    ],
)
def test_of_several_the_one_that_says_more_than_the_name_counts(
    root: Path, first: str, second: str, file: str | None, ttl: float | None
) -> None:
    files = {**write_step("a", first), **write_step("b", second)}
    if file is not None:
        files["steps/chat_stream.py"] = file
    project(root, files)
    assert App.from_directory(root).streams["chat"].ttl == ttl


@pytest.mark.parametrize(
    ("second", "file", "where", "taken_by"),
    [
        (RICH, None, "steps/b_step.py:4", "steps/a_step.py:4"),
        (NAMED, FILE, "steps/a_step.py:4", "steps/chat_stream.py"),
        (NAMED, 'config = {"name": "chat"}\n', "steps/a_step.py:4", "steps/chat_stream.py"),
    ],
)
def test_two_that_say_more_are_refused_with_both_places(
    root: Path, second: str, file: str | None, where: str, taken_by: str
) -> None:
    files = {**write_step("a", RICH), **write_step("b", second)}
    if file is not None:
        files["steps/chat_stream.py"] = file
    project(root, files)
    with pytest.raises(LoadFailed) as told:
        App.from_directory(root)
    (problem,) = told.value.problems
    assert problem.where == where
    assert problem.what == f"stream name 'chat' is taken by {taken_by}; names are unique"


@pytest.mark.parametrize("home", ["steps/streams.py", "steps/chat_stream.py"])
async def test_one_that_several_files_import_is_one(root: Path, home: str) -> None:
    """Also where it is in a stream file, which is loaded under another name beside."""
    module = home.removesuffix(".py").replace("/", ".")
    imports = f"from {module} import chat"
    files = {**write_step("a", "", imports), **write_step("b", "", imports)}
    files[home] = f"from motia_trio import Stream\n{RICH}\n"
    project(root, files)
    app = App.from_directory(root)
    assert app.streams["chat"].source == f"{home}:2"
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("a", "hello")
        await rt.enqueue("b", "hello")
        await rt.quiesce()
        assert await rt.streams.chat.keys("room") == ["a", "b"]


def test_a_program_may_declare_by_one_too() -> None:
    chat = Stream("chat", ttl=60)
    app = App(streams=[chat, {"name": "notes"}])
    assert {name: each.ttl for name, each in app.streams.items()} == {"chat": 60, "notes": None}
    assert set(App(streams=[chat, Stream("chat")]).streams) == {"chat"}
    with pytest.raises(LoadFailed, match=r"App\(streams\[1\]\)|'chat' is taken by App"):
        App(streams=[chat, {"name": "chat", "ttl": 5}])
    with pytest.raises(TypeError, match="takes a list of streams"):
        App(streams=chat)


def test_what_is_wrong_in_one_is_told_with_its_place(root: Path) -> None:
    project(root, write_step("a", 'chat = Stream("chat", schema={"type": "integr"}, ttl=0)'))
    with pytest.raises(LoadFailed) as told:
        App.from_directory(root)
    (problem,) = told.value.problems
    assert (problem.where, problem.what[:12]) == ("steps/a_step.py:4", "ttl: 0: Inpu")
    with pytest.raises(LoadFailed, match=r"test_stream_object.py:\d+: config must be a dict"):
        Stream(5)  # type: ignore[arg-type]
    with pytest.raises(LoadFailed, match="name is missing"):
        Stream({})
