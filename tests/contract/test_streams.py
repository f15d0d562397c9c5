"""Contract §7: streams, and §5: `Stream`. The wire has its own tests."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from trio_websocket import open_websocket_url

from motia_trio import App, open_runtime, step, stream
from tests.contract.conftest import Project
from tests.contract.dialects import Dialect

Where = dict[str, Any]
STREAMS = [{"name": name} for name in ("chat", "a", "b", "other")]


def events_of(seen: list[Any], name: str = "chat", **filters: Any) -> Any:
    """A step that writes down the stream events it is given."""

    @step(stream(name, **filters), name=f"Follows{len(filters)}")
    async def follows(event: Any, ctx: Any) -> None:
        seen.append(event)

    return follows


async def test_stream_name_group_id_item(where: Where) -> None:
    """`stream name > group > id > item`"""
    async with open_runtime(App([], streams=STREAMS, **where), observers=()) as rt:
        for name, group, key in (
            ("a", "g", "k"),
            ("b", "g", "k"),
            ("a", "h", "k"),
            ("a", "g", "l"),
        ):
            await rt.streams[name].set(group, key, {"at": [name, group, key]})
        assert await rt.streams.a.get("g", "k") == {"at": ["a", "g", "k"]}
        assert await rt.streams.b.get("g", "k") == {"at": ["b", "g", "k"]}
        assert await rt.streams.a.get("h", "k") == {"at": ["a", "h", "k"]}
        assert await rt.streams.a.get("g", "l") == {"at": ["a", "g", "l"]}


@pytest.mark.parametrize("name", ["chat_stream.py", "chat.stream.py", "chat-stream.py"])
async def test_items_are_checked(dialect: Dialect, files: Project, where: Where, name: str) -> None:
    """Items are checked against the stream's schema; an item that does not fit is refused with the
    reason."""
    code = """
async def handler(input, ctx):
    await ctx.streams.chat.set("room", "m1", {"text": "hi"})
    for item in ({"text": 5}, {}):
        try:
            await ctx.streams.chat.set("room", "m1", item)
        except Exception as error:
            saw(str(error))
    saw(await ctx.streams.chat.get("room", "m1"))
"""
    (files.root / "src").mkdir()
    (files.root / "src" / name).write_text(
        'config = {"name": "chat", "baseConfig": {"storageType": "default"}, "schema": {"type": '
        '"object", "properties": {"text": {"type": "string"}}, "required": ["text"]}}\n'
    )
    async with open_runtime(
        files.app(dialect.queue("t", code), store=where["store"]), observers=()
    ) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    wrong, missing, kept = files.seen
    assert wrong.startswith("text: ")
    assert missing == "text: is required"
    assert kept == {"text": "hi"}


async def test_set(dialect: Dialect, files: Project, where: Where) -> None:
    """`set(group, id, data)` → `{"new_value", "old_value"}` and, for the first dialect, the item
    itself"""
    code = """
async def handler(input, ctx):
    saw(await ctx.streams.chat.set("room", "m1", {"text": "hi"}))
    saw(await ctx.streams.chat.set("room", "m1", {"text": "ho"}))
"""
    app = files.app(dialect.queue("t", code), streams=["chat"], store=where["store"])
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    if dialect.number == 1:
        assert files.seen == [{"text": "hi"}, {"text": "ho"}]
    else:
        assert files.seen == [
            {"new_value": {"text": "hi"}, "old_value": None},
            {"new_value": {"text": "ho"}, "old_value": {"text": "hi"}},
        ]


async def test_get(dialect: Dialect, files: Project) -> None:
    """`get`"""
    code = """
async def handler(input, ctx):
    saw(await ctx.streams.chat.get("room", "m1"))
    await ctx.streams.chat.set("room", "m1", {"text": "hi"})
    saw(await ctx.streams.chat.get("room", "m1"))
"""
    async with open_runtime(
        files.app(dialect.queue("t", code), streams=["chat"]), observers=()
    ) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    assert files.seen == [None, {"text": "hi"}]


async def test_delete(dialect: Dialect, files: Project) -> None:
    """`delete`"""
    code = """
async def handler(input, ctx):
    await ctx.streams.chat.set("room", "m1", {"text": "hi"})
    saw(await ctx.streams.chat.delete("room", "m1"))
    saw(await ctx.streams.chat.delete("room", "m1"))
    saw(await ctx.streams.chat.get("room", "m1"))
"""
    async with open_runtime(
        files.app(dialect.queue("t", code), streams=["chat"]), observers=()
    ) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    assert files.seen == [{"text": "hi"}, None, None]


@pytest.mark.parametrize("method", ["get_group", "getGroup", "list"])
async def test_get_group_list(method: str, dialect: Dialect, files: Project) -> None:
    """`get_group`, `getGroup`, `list`"""
    code = f"""
async def handler(input, ctx):
    for room, number in (("one", 1), ("one", 2), ("two", 3)):
        await ctx.streams.chat.set(room, f"m{{number}}", {{"n": number}})
    saw(await ctx.streams.chat.{method}("one"))
    saw(await ctx.streams.chat.{method}("none"))
"""
    async with open_runtime(
        files.app(dialect.queue("t", code), streams=["chat"]), observers=()
    ) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    assert files.seen == [[{"n": 1}, {"n": 2}], []]


async def test_list_groups(where: Where) -> None:
    """`list_groups`"""
    async with open_runtime(App([], streams=STREAMS, **where), observers=()) as rt:
        await rt.streams.chat.set("one", "m", {})
        await rt.streams.chat.set("two", "m", {})
        await rt.streams.other.set("three", "m", {})
        await rt.state.set("four", "m", {})
        assert sorted(await rt.streams.chat.list_groups()) == ["one", "two"]


async def test_update(where: Where) -> None:
    """`update(group, id, ops)`"""
    async with open_runtime(App([], streams=STREAMS, **where), observers=()) as rt:
        await rt.streams.chat.set("room", "m1", {"likes": 1})
        ops = [{"type": "increment", "path": "likes", "by": 1}]
        given = await rt.streams.chat.update("room", "m1", ops)
        assert given == {"new_value": {"likes": 2}, "old_value": {"likes": 1}}
        assert await rt.streams.chat.get("room", "m1") == {"likes": 2}


async def test_items_are_kept(on_disk: Where) -> None:
    """`stream name > group > id > item`"""
    async with open_runtime(App([], streams=STREAMS, **on_disk), observers=()) as rt:
        await rt.streams.chat.set("room", "m1", {"text": "hi"})
    async with open_runtime(App([], streams=STREAMS, **on_disk), observers=()) as rt:
        assert await rt.streams.chat.get("room", "m1") == {"text": "hi"}


@pytest.mark.parametrize(
    ("call", "key"),
    [
        ('send({"groupId": "room"}, EVENT)', None),
        ('send({"groupId": "room", "id": "m1"}, EVENT)', "m1"),
        ('send({"group_id": "room"}, EVENT)', None),
        ('send("room", EVENT)', None),
    ],
)
async def test_send(call: str, key: str | None, dialect: Dialect, files: Project) -> None:
    """`send({"groupId", "id"?}, {"type", "data"})` or `send(group, event)`: not stored. Stream
    triggers get `event: {type: … event, data}`"""
    code = f"""
EVENT = {{"type": "typing", "data": {{"by": "ann"}}}}
async def handler(input, ctx):
    saw(await ctx.streams.chat.{call})
    saw(await ctx.streams.chat.list_groups())
"""
    follows = """
config = {"name": "Follows", "triggers": [{"type": "stream", "streamName": "chat"}]}
async def handler(event, ctx):
    saw([event.group_id, event.id, event.event])
"""
    app = files.app(dialect.queue("t", code), follows, streams=["chat"])
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    assert [each for each in files.seen if not each] == [None, []]
    sent = {"type": "typing", "data": {"by": "ann"}}
    assert ["room", key, {"type": "event", "data": sent}] in files.seen


async def test_id_is_added_to_an_item_that_lacks_it_when_it_goes_to_clients() -> None:
    """`id` is added to an item that lacks it when it goes to clients."""
    app = App(streams=STREAMS)
    async with (
        open_runtime(app, streams="127.0.0.1:0", observers=()) as rt,
        open_websocket_url(rt.streams_url or "") as client,
    ):
        await rt.streams.chat.set("room", "m1", {"text": "hi"})
        await rt.streams.chat.set("room", "m2", {"id": "its own", "text": "hi"})
        data = {"streamName": "chat", "groupId": "room", "subscriptionId": "s"}
        await client.send_message(json.dumps({"type": "join", "data": data}))
        sync = json.loads(await client.get_message())
        assert await rt.streams.chat.get("room", "m1") == {"text": "hi"}
    assert [item["id"] for item in sync["event"]["data"]] == ["m1", "its own"]


async def test_stream_of_the_third_dialect(files: Project, where: Where) -> None:
    """Also importable: `… Stream`; these act on the invocation that is running."""
    code = """
from motia_trio import Stream
chat = Stream("chat")
async def handler(input, ctx):
    await chat.set("room", "m1", {"text": "hi"})
    saw(await chat.getGroup("room"))
    saw(await ctx.streams.chat.get("room", "m1"))
"""
    app = files.app(Dialect(3).queue("t", code), store=where["store"])
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("t")
        await rt.quiesce()
    assert files.seen == [[{"text": "hi"}], {"text": "hi"}]


# triggers


async def test_stream_trigger_create_update_delete(where: Where) -> None:
    """Stream triggers get `{type: "stream", timestamp, stream_name, group_id, id, event: {type:
    create | update | delete | …, data}}`"""
    seen: list[Any] = []
    before = time.time() * 1000
    async with open_runtime(App([events_of(seen)], streams=STREAMS, **where), observers=()) as rt:
        await rt.streams.chat.set("room", "m1", {"text": "hi"})
        await rt.streams.chat.set("room", "m1", {"text": "ho"})
        ops = [{"type": "set", "path": "text", "value": "hum"}]
        await rt.streams.chat.update("room", "m1", ops)
        await rt.streams.chat.delete("room", "m1")
        await rt.streams.other.set("room", "m1", {"text": "not for it"})
        await rt.quiesce()
    assert [set(each) for each in seen] == [
        {"type", "timestamp", "stream_name", "group_id", "id", "event"}
    ] * 4
    assert {(each.type, each.stream_name, each.group_id, each.id) for each in seen} == {
        ("stream", "chat", "room", "m1")
    }
    assert [(each.event.type, each.event.data) for each in seen] == [
        ("create", {"text": "hi"}),
        ("update", {"text": "ho"}),
        ("update", {"text": "hum"}),
        ("delete", {"text": "hum"}),
    ]
    assert all(before - 1 <= each.timestamp <= time.time() * 1000 + 1 for each in seen)


async def test_the_stream_event_answers_to_both_spellings(where: Where) -> None:
    """`{type: "stream", timestamp, stream_name, group_id, id, event}`; §4: camelCase/snake_case
    aliases"""
    seen: list[Any] = []
    async with open_runtime(App([events_of(seen)], streams=STREAMS, **where), observers=()) as rt:
        await rt.streams.chat.set("room", "m1", {"text": "hi"})
        await rt.quiesce()
    assert (seen[0].streamName, seen[0]["groupId"]) == ("chat", "room")


@pytest.mark.parametrize(
    ("config", "seen"),
    [
        ({}, ["g/a", "g/b", "h/a"]),
        ({"groupId": "g"}, ["g/a", "g/b"]),
        ({"group_id": "g"}, ["g/a", "g/b"]),
        ({"itemId": "a"}, ["g/a", "h/a"]),
        ({"groupId": "g", "item_id": "a"}, ["g/a"]),
        ({"condition": lambda event: event.id == "b"}, ["g/b"]),
    ],
)
async def test_filtered_by_group_id_and_item_id(config: Any, seen: list[str], where: Where) -> None:
    """filtered by `groupId` and `itemId`"""
    got: list[str] = []

    async def handler(event: Any) -> None:
        got.append(f"{event.group_id}/{event.id}")

    trigger = {"type": "stream", "streamName": "chat", **config}
    follows = step({"name": "S", "triggers": [trigger]}, handler)
    async with open_runtime(App([follows], streams=STREAMS, **where), observers=()) as rt:
        for group, key in (("g", "a"), ("g", "b"), ("h", "a")):
            await rt.streams.chat.set(group, key, {})
        await rt.quiesce()
    assert sorted(got) == seen
