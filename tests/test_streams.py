"""Streams that are declared: in files and in programs, with schemas that their items have to fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from pydantic import BaseModel

from motia_trio import (
    App,
    DoesNotFit,
    LoadFailed,
    UnknownStream,
    open_runtime,
    queue,
    step,
    stream,
)

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


def test_what_has_no_effect_or_is_unknown_is_warned_of() -> None:
    base = {"storageType": "custom", "factory": dict}
    given = {"name": "chat", "canAccess": lambda: True, "scheme": {}, "baseConfig": base}
    told = App(streams=[given]).warnings
    assert told == (
        "App(streams[0]): unknown key 'scheme' is ignored; did you mean 'schema'?",
        "App(streams[0]): baseConfig: storageType 'custom' has no effect here: the items are kept in the store, and a factory is not called",
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"ttl": 0}, "ttl: 0: Input should be greater than 0"),
        ({"ttl": True}, "ttl: True: a number is expected"),
        ({"ttl": float("inf")}, "ttl: inf: "),
        ({"maxItems": 0}, "maxItems: 0: Input should be greater than or equal to 1"),
        ({"max_items": 1.5}, "max_items: 1.5: "),
        ({"onJoin": "no"}, "onJoin: 'no': Input should be callable"),
        ({"canAccess": lambda a, b, c: True}, "canAccess(a, b, c) asks for a, b, c"),
        ({"baseConfig": {"schema": {"type": "integr"}}}, 'baseConfig.schema: type: "integr"'),
        ({"name": "ä" * 257}, "it has 514 bytes, over the limit of 512"),
        ({"name": "\ud800"}, "unable to parse raw data as a unicode string"),
    ],
)
def test_what_does_not_fit_is_told_by_its_key(given: dict[str, Any], words: str) -> None:
    with pytest.raises(LoadFailed) as told:
        App(streams=[{"name": "chat", **given}])
    (problem,) = told.value.problems
    assert problem.where == "App(streams[0])"
    assert words in problem.what


def test_everything_that_is_wrong_with_a_stream_is_told_at_once() -> None:
    given = {"name": "(x)", "schema": {"type": "integr"}, "onJoin": lambda a, b, c, d: 1}
    with pytest.raises(LoadFailed) as told:
        App(streams=[given])
    starts = ("name: ", "schema: ", "onJoin(a, b, c, d) asks for")
    for problem, start in zip(told.value.problems, starts, strict=True):
        assert problem.what.startswith(start)


async def test_a_schema_in_base_config_counts_where_there_is_no_other(
    where: dict[str, Any],
) -> None:
    base = {"storageType": "default", "schema": {"required": ["text"]}}
    app = App(streams=[{"name": "chat", "baseConfig": base}], **where)
    async with open_runtime(app, observers=()) as rt:
        with pytest.raises(DoesNotFit, match="text: is required"):
            await rt.streams.chat.set("room", "1", {})


# what is not declared


@pytest.mark.parametrize(
    "ask", [lambda streams: streams.chta, lambda streams: streams["chta"]], ids=["attribute", "key"]
)
async def test_an_undeclared_stream_is_refused_with_those_that_are_and_how_to_declare_it(
    ask: Any,
) -> None:
    caught: list[UnknownStream] = []

    @step(queue("go"), name="Go")
    async def go(data: Any, ctx: Any) -> None:
        with pytest.raises(UnknownStream) as told:
            ask(ctx.streams)
        caught.append(told.value)

    app = App([go], streams=[{"name": "chat"}, {"name": "orders"}])
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        assert not rt.dead_letters.list()
        with pytest.raises(UnknownStream) as told:
            ask(rt.streams)
    for error in (told.value, *caught):
        assert (error.stream, error.declared) == ("chta", ("chat", "orders"))
        assert str(error) == (
            "no stream 'chta' is declared; did you mean 'chat'? declared: 'chat', 'orders'. A file "
            "*_stream.py with config = {'name': 'chta'} declares it, or "
            "App(streams=[{'name': 'chta'}]), or Stream('chta') in a step file"
        )


async def test_which_streams_there_are_can_be_asked_for() -> None:
    async with open_runtime(App(streams=[{"name": "a"}, {"name": "b c"}]), observers=()) as rt:
        assert list(rt.streams) == sorted(set(dir(rt.streams))) == ["a", "b c"]
        assert "a" in rt.streams
        assert "x" not in rt.streams
        assert hasattr(rt.streams, "a")
        assert not hasattr(rt.streams, "x")
        assert isinstance(UnknownStream("x", ()), LookupError)


def test_an_error_does_not_list_streams_without_an_end() -> None:
    told = str(UnknownStream("x", [f"stream{number}" for number in range(1000)]))
    assert "'stream19' and 980 more." in told
    assert "declared: none." in str(UnknownStream("x", []))


def test_a_trigger_for_an_undeclared_stream_is_warned_of() -> None:
    @step(stream("chta"), stream("orders"), name="Follow")
    async def follow(event: Any) -> None: ...

    (told,) = App([follow], streams=[{"name": "chat"}, {"name": "orders"}]).warnings
    assert told.endswith(
        ": follows stream 'chta', which is not declared (did you mean 'chat'?): it will never run "
        "for it"
    )


# for a time, and so many


async def test_items_stay_for_the_ttl_of_their_stream(
    where: dict[str, Any], autojump_clock: Any
) -> None:
    told: list[Any] = []

    @step(stream("chat"), name="Follow")
    async def follow(change: Any) -> None:
        told.append((change.event.type, change.id, round(trio.current_time() - began, 1)))

    app = App([follow], streams=[{"name": "chat", "ttl": 60}, {"name": "notes"}], **where)
    async with open_runtime(app, observers=()) as rt:
        chat = rt.streams.chat
        began = trio.current_time()
        await chat.set("room", "set", 1)
        await chat.set("room", "longer", 1, ttl=90)
        await chat.update("room", "updated", {"type": "set", "path": "", "value": 1})
        await rt.streams.notes.set("room", "kept", 1)
        await trio.sleep(30)
        await chat.set("room", "set", 2)
        await chat.update("room", "updated", {"type": "set", "path": "", "value": 2})
        await trio.sleep(31)
        # an update leaves the end of an item where it is, as that of the state does
        assert await chat.keys("room") == ["longer", "set"]
        await trio.sleep(30)
        assert await chat.keys("room") == []
        assert await rt.streams.notes.keys("room") == ["kept"]
        await rt.quiesce()
    deleted = {key: at for kind, key, at in told if kind == "delete"}
    assert deleted.keys() == {"set", "longer", "updated"}
    assert 60 <= deleted["updated"] < 62
    assert min(deleted["longer"], deleted["set"]) >= 90


async def test_the_oldest_items_go_where_a_group_has_its_number(where: dict[str, Any]) -> None:
    told: list[Any] = []

    @step(stream("chat"), name="Follow")
    async def follow(change: Any) -> None:
        told.append((change.event.type, change.id, change.event.data))

    app = App([follow], streams=[{"name": "chat", "max_items": 2}], **where)
    async with open_runtime(app, observers=()) as rt:
        chat = rt.streams.chat
        for key in ("c", "a"):
            await chat.set("room", key, key)
        await chat.set("room", "c", "newer, and not made later")
        # what it gives is its own, and not what became of the others
        assert await chat.set("room", "b", "b") == {"new_value": "b", "old_value": None}
        assert await chat.keys("room") == ["a", "b"]
        made = await chat.update("room", "d", {"type": "set", "path": "", "value": "d"})
        assert made == {"new_value": "d", "old_value": None}
        assert await chat.keys("room") == ["b", "d"]
        assert await chat.delete("room", "b") == "b"
        await chat.set("other", "a", 1)
        assert await chat.set("room", "b", "again") == {"new_value": "again", "old_value": None}
        assert await chat.keys("room") == ["b", "d"]
        await rt.quiesce()
    assert sorted(each for each in told if each[0] == "delete") == [
        ("delete", "a", "a"), ("delete", "b", "b"), ("delete", "c", "newer, and not made later"),
    ]  # fmt: skip


async def test_the_oldest_items_go_when_a_transaction_is_kept(where: dict[str, Any]) -> None:
    given: list[Any] = []

    @step(queue("say"), name="Say", delivery="transactional")
    async def say(texts: Any, ctx: Any) -> None:
        chat = ctx.streams.chat
        given.extend([await chat.set("room", text, text) for text in texts])
        await chat.update("room", texts[-1], {"type": "set", "path": "", "value": "last"})

    app = App([say], streams=[{"name": "chat", "maxItems": 3}], **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("say", ["a", "b"])
        await rt.quiesce()
        await rt.enqueue("say", ["c", "d", "e", "f"])
        await rt.quiesce()
        assert await rt.streams.chat.list("room") == ["d", "e", "last"]
    assert given == [{"new_value": text, "old_value": None} for text in "abcdef"]


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
