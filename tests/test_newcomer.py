"""What a newcomer does wrong, and what he is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from motia_trio import App, LoadFailed, http, open_runtime, queue, step
from motia_trio.events import AppWarned, AskFailed, AttemptFailed
from tests.support import Notebook, project, run_command

HANDLER = "\n\nasync def handler(input, ctx):\n    pass\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "config = {'name': 'A', 'triggers': [{'type': 'api', 'path': '/a', 'methd': 'GET'}]}",
            "triggers[0].method is missing; every trigger of this type has one; is 'methd' meant",
        ),
        (
            "config = {'name': 'A', 'triggers': [{'topic': 'a'}]}",
            "triggers[0].type is missing; type should be one of",
        ),
        ("from motia import queue", "import the same names from motia_trio"),
        (
            "from motia_trio import step\n\n@step\nasync def a(input):\n    pass",
            "steps/a_step.py:3: @step takes its triggers: @step(queue(",
        ),
        (
            "from motia_trio import http\n\nhttp('/g', 'GET')",
            "the method comes first: http('GET', '/g')",
        ),
    ],
)
def test_a_beginners_mistake_is_told_with_its_cure(tmp_path: Path, text: str, words: str) -> None:
    project(tmp_path, {"steps/a_step.py": text + HANDLER})
    with pytest.raises(LoadFailed) as failed:
        App.from_directory(tmp_path)
    assert words in str(failed.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"steps/orders.py": ""}, "steps/orders.py is there, but is not named so"),
        ({"orders_step.py": ""}, "orders_step.py is there, but not below src or steps"),
    ],
)
def test_files_that_may_have_been_meant_are_named(
    tmp_path: Path, files: dict[str, str], words: str
) -> None:
    with pytest.raises(LoadFailed) as failed:
        App.from_directory(project(tmp_path, files))
    assert words in str(failed.value)


def test_the_folder_above_is_asked_for(tmp_path: Path) -> None:
    project(tmp_path, {"steps/orders_step.py": ""})
    with pytest.raises(LoadFailed, match="this is a steps/ itself: give the folder above it"):
        App.from_directory(tmp_path / "steps")


@pytest.mark.parametrize(
    "path", ["/a/*rest/b", "/g?x=1", "/g/{id:int}", "/g/:id/:id", "g", "/x{id}"]
)
def test_a_path_that_no_request_can_have_is_refused(path: str) -> None:
    with pytest.raises(LoadFailed):
        http("GET", path)


def test_a_limit_in_the_wrong_place_is_told_where_it_belongs() -> None:
    made = step(queue("a"), name="A", infrastructure={"maxRetries": 1, "timeout": 2})(lambda: None)
    assert [warning.partition("; ")[2] for warning in made.step.warnings] == [
        "it belongs into infrastructure.queue",
        "it belongs into infrastructure.handler",
    ]


async def test_a_program_is_told_the_warnings_of_its_app() -> None:
    notebook = Notebook()
    app = App([step(queue("a", config={"maxRetrys": 1}), name="A")(lambda: None)])
    async with open_runtime(app, observers=[notebook]):
        pass
    assert "did you mean 'maxRetries'?" in notebook.of(AppWarned)[0].message


@pytest.mark.parametrize("name", ["foo", "foo_bar", "fooBar", "trace_ID", "query_params"])
async def test_a_name_that_ctx_does_not_have_is_an_attribute_error(name: str) -> None:
    seen: list[Any] = []

    @step(queue("a"), name="A")
    async def handler(input: Any, ctx: Any) -> None:
        seen.extend([hasattr(ctx, name), getattr(ctx, name, "default")])
        ctx.my_own = 1
        seen.extend([ctx.myOwn, ctx.traceId == ctx.trace_id, callable(ctx.getData)])

    async with open_runtime(App([handler]), observers=()) as rt:
        await rt.enqueue("a")
        await rt.quiesce()
    assert seen == [False, "default", 1, True, True]


async def test_a_handler_that_wants_asyncio_is_told_where_it_runs() -> None:
    import asyncio

    @step(queue("a", config={"maxRetries": 0}), name="A")
    async def handler() -> None:
        await asyncio.sleep(1)

    notebook = Notebook()
    async with open_runtime(App([handler]), observers=[notebook]) as rt:
        await rt.enqueue("a")
        await rt.quiesce()
    assert "handlers run on Trio" in notebook.of(AttemptFailed)[0].error


async def test_a_missing_await_in_an_answer_is_told() -> None:
    from httpx import ASGITransport, AsyncClient

    @step(http("GET", "/a"), enqueues=["b"], name="A")
    async def handler(req: Any, ctx: Any) -> Any:
        return {"status": 200, "body": {"id": ctx.enqueue("b", 1)}}

    notebook = Notebook()
    async with open_runtime(App([handler]), observers=[notebook]) as rt:
        async with AsyncClient(transport=ASGITransport(rt.asgi), base_url="http://x") as client:
            assert (await client.get("/a")).status_code == 500
    assert "$.id: " in notebook.of(AskFailed)[0].error
    assert "is an await missing?" in notebook.of(AskFailed)[0].error


def test_the_help_is_readable() -> None:
    code, out, err = run_command("run", "--help")
    assert (code, err) == (0, "")
    assert "\\b" not in out
    assert "ready http=http://127.0.0.1:3111\n" in out


async def test_a_list_where_an_app_is_expected_is_told() -> None:
    with pytest.raises(TypeError, match="takes an App"):
        async with open_runtime([]):  # type: ignore[arg-type]
            pass
    one = step(queue("a"), name="A")(lambda: None)
    with pytest.raises(TypeError, match="takes a list of steps"):
        App(one)  # type: ignore[arg-type]
    async with open_runtime(App([one]), observers=()) as rt:
        with pytest.raises(KeyError, match="there are: A"):
            rt.tree()["B"]
