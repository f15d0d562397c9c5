"""Streams that are declared: in files and in programs, with schemas that their items have to fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from pydantic import BaseModel

from motia_trio import App, DoesNotFit, LoadFailed, open_runtime, queue, step

if TYPE_CHECKING:
    from pathlib import Path


class Message(BaseModel):
    text: str
    likes: int = 0


SCHEMAS: list[Any] = [
    Message,
    {
        "type": "object",
        "properties": {"text": {"type": "string"}, "likes": {"type": "integer"}},
        "required": ["text"],
    },
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=["class", "dict"])
async def test_an_item_that_does_not_fit_is_refused_with_the_reason_and_nothing_changes(
    schema: Any, where: dict[str, Any]
) -> None:
    app = App(streams=[{"name": "chat", "schema": schema}], **where)
    async with open_runtime(app, observers=()) as rt:
        chat = rt.streams.chat
        await chat.set("room", "1", {"text": "hello"})
        with pytest.raises(DoesNotFit, match="text") as told:
            await chat.set("room", "1", {"likes": "many"})
        assert {misfit.path for misfit in told.value.misfits} == {"text", "likes"}
        with pytest.raises(DoesNotFit, match="likes"):
            await chat.update("room", "1", {"type": "set", "path": "likes", "value": "many"})
        with pytest.raises(DoesNotFit, match="text"):
            await chat.update("room", "2", {"type": "set", "path": "likes", "value": 1})
        assert await chat.list("room") == [{"text": "hello"}]
        await chat.update("room", "1", {"type": "increment", "path": "likes"})
        assert await chat.get("room", "1") == {"text": "hello", "likes": 1}


async def test_what_is_kept_is_what_was_given_and_not_what_a_class_makes_of_it() -> None:
    app = App(streams=[{"name": "chat", "schema": Message}])
    async with open_runtime(app, observers=()) as rt:
        await rt.streams.chat.set("room", "1", Message(text="hello"))
        await rt.streams.chat.set("room", "2", {"text": "hi", "more": True})
        assert await rt.streams.chat.list("room") == [
            {"text": "hello", "likes": 0},
            {"text": "hi", "more": True},
        ]


@pytest.mark.parametrize("delivery", ["immediate", "transactional"])
async def test_handlers_are_refused_too_and_may_catch_it(delivery: Any) -> None:
    caught: list[str] = []

    @step(queue("say"), name="Say", delivery=delivery)
    async def say(input: Any, ctx: Any) -> None:
        for text in ("hello", 5):
            try:
                await ctx.streams["chat"].set("room", str(text), {"text": text})
                await ctx.streams.chat.update(
                    "room", str(text), {"type": "set", "path": "text", "value": None}
                )
            except DoesNotFit as error:
                caught.append(str(error))

    app = App([say], streams=[{"name": "chat", "schema": Message}])
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("say")
        await rt.quiesce()
        assert await rt.streams.chat.list("room") == [{"text": "hello"}]
    assert len(caught) == 2
    assert all("text: " in each for each in caught)


async def test_many_updates_at_once_never_leave_an_item_that_does_not_fit(
    where: dict[str, Any],
) -> None:
    """It is checked in the step in which it is worked out."""
    schema = {"properties": {"n": {"maximum": 10}}}
    app = App(streams=[{"name": "counts", "schema": schema}], **where)
    refused: list[int] = []
    async with open_runtime(app, observers=()) as rt:

        async def count() -> None:
            try:
                await rt.streams.counts.update("g", "1", {"type": "increment", "path": "n"})
            except DoesNotFit:
                refused.append(1)

        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(count)
        assert await rt.streams.counts.get("g", "1") == {"n": 10}
    assert len(refused) == 20


FILE = """
config = {
    "name": "chat",
    "schema": {"type": "object", "required": ["text"]},
    "baseConfig": {"storageType": "default"},
}
"""


def project(root: Path, **files: str) -> Path:
    steps = root / "steps"
    steps.mkdir()
    (steps / "say_step.py").write_text('config = {"name": "Say", "type": "noop"}\n')
    for name, text in files.items():
        (steps / name.replace("__", ".")).write_text(text)
    return root


@pytest.mark.parametrize("name", ["chat_stream__py", "chat__stream__py"])
async def test_stream_files_are_found_and_their_schema_counts(tmp_path: Path, name: str) -> None:
    app = App.from_directory(project(tmp_path, **{name: FILE}))
    assert app.streams["chat"].source == f"steps/{name.replace('__', '.')}"
    assert app.warnings == ()
    async with open_runtime(app, observers=()) as rt:
        with pytest.raises(DoesNotFit, match="text: is required"):
            await rt.streams.chat.set("room", "1", {})


def test_what_is_wrong_in_stream_files_is_told_with_what_is_wrong_in_steps(tmp_path: Path) -> None:
    files = {
        "a_stream__py": "config = {}\n",
        "b_stream__py": 'config = {"name": "b", "schema": {"type": "integr"}}\n',
        "c_stream__py": "x = 1\n",
        "d_stream__py": "import no_such_module\n",
        "e_stream__py": 'config = {"name": "(cron)"}\n',
        "f_stream__py": "config = 5\n",
        "f_step__py": "config = {}\n",
    }
    with pytest.raises(LoadFailed) as told:
        App.from_directory(project(tmp_path, **files))
    words = {
        "f_step.py": "name is missing; every step",
        "a_stream.py": "name is missing; every stream",
        "b_stream.py": "schema: ",
        "c_stream.py": "has no config; a stream file",
        "d_stream.py": "could not be imported",
        "e_stream.py": "the runtime's own",
        "f_stream.py": "config must be a dict",
    }
    assert [problem.where for problem in told.value.problems] == [f"steps/{n}" for n in words]
    for problem, expected in zip(told.value.problems, words.values(), strict=True):
        assert expected in problem.what


def test_two_streams_of_one_name_are_refused_with_both_places() -> None:
    with pytest.raises(LoadFailed, match=r"streams\[1\].*'chat' is taken by App\(streams\[0\]\)"):
        App(streams=[{"name": "chat"}, {"name": "chat"}])
    with pytest.raises(TypeError, match="takes a list of streams"):
        App(streams={"name": "chat"})  # type: ignore[dict-item]


def test_what_has_no_effect_yet_or_is_unknown_is_warned_of() -> None:
    given = {"name": "chat", "canAccess": lambda: True, "scheme": {}}
    told = App(streams=[given]).warnings
    assert told == (
        "App(streams[0]): unknown key 'scheme' is ignored; did you mean 'schema'?",
        "App(streams[0]): canAccess is not called: no client can join in this version",
    )


def test_what_is_wrong_with_the_whole_is_told_with_what_is_wrong_with_files(tmp_path: Path) -> None:
    again = 'config = {"name": "Say", "type": "noop"}\n'
    files = {"a_step__py": again, "b_step__py": "config = {}\n", "c_stream__py": "x = 1\n"}
    with pytest.raises(LoadFailed) as told:
        App.from_directory(project(tmp_path, **files))
    assert [problem.where for problem in told.value.problems] == [
        "steps/b_step.py",
        "steps/c_stream.py",
        "steps/say_step.py",
    ]
    assert "is taken by steps/a_step.py" in told.value.problems[-1].what
