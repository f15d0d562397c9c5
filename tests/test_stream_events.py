"""``send`` and ``presence`` of a stream: who is told, of what, and when."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.lowlevel
from trio_websocket import open_websocket_url

from motia_trio import App, NotEncodable, Service, Stream, open_runtime, queue, step, stream
from motia_trio.errors import StoreBroken, ValueTooLarge
from motia_trio.store.memory import MemoryStore

Where = dict[str, Any]

# beside the handlers of these tests, it declares the stream that they send to
CHAT = Stream("chat")
SERVED: dict[str, Any] = {"observers": (), "streams": "127.0.0.1:0"}


def client_of(rt: Service) -> Any:
    assert rt.streams_url is not None
    return open_websocket_url(rt.streams_url)


async def join(client: Any, group: str, key: str | None = None) -> Any:
    """Join a group or an item, and give the sync."""
    data = {"streamName": "chat", "groupId": group, "subscriptionId": f"{group}/{key}"}
    if key is not None:
        data["id"] = key
    await client.send_message(json.dumps({"type": "join", "data": data}))
    return await read(client)


async def read(client: Any) -> Any:
    with trio.fail_after(5):
        return json.loads(await client.get_message())


async def events(client: Any, rt: Service) -> list[Any]:
    """What a client was told up to now: an item that is set says where that ends."""
    await rt.streams.chat.set("room", "end", {})
    found = []
    while (message := await read(client))["event"]["type"] != "create":
        found.append(message)
    await rt.streams.chat.delete("room", "end")
    assert (await read(client))["event"]["type"] == "delete"
    return found


@pytest.mark.parametrize(
    ("channel", "group", "key"),
    [
        ("room", "room", None),
        ({"groupId": "room"}, "room", None),
        ({"group_id": "room", "id": None}, "room", None),
        ({"groupId": "room", "id": "1"}, "room", "1"),
    ],
)
async def test_what_is_sent_goes_to_those_who_follow_and_is_not_kept(
    channel: Any, group: str, key: str | None
) -> None:
    app = App(streams=[CHAT])
    async with open_runtime(app, **SERVED) as rt, client_of(rt) as client:
        await join(client, "room")
        assert (
            await rt.streams.chat.send(channel, {"type": "typing", "data": {"by": "ann"}}) is None
        )
        (told,) = await events(client, rt)
        assert told["event"] == {
            "type": "event",
            "event": {"type": "typing", "data": {"by": "ann"}},
        }
        assert (told["streamName"], told["groupId"], told.get("id")) == ("chat", group, key)
        assert await rt.streams.chat.list_groups() == []


async def test_an_event_for_an_item_is_for_those_who_follow_it_or_its_group() -> None:
    async with (
        open_runtime(App(streams=[CHAT]), **SERVED) as rt,
        client_of(rt) as whole,
        client_of(rt) as first,
        client_of(rt) as second,
    ):
        await join(whole, "room")
        await join(first, "room", "1")
        await join(second, "room", "2")
        for channel in ({"groupId": "room", "id": "1"}, {"groupId": "other", "id": "1"}, "room"):
            await rt.streams.chat.send(channel, {"type": "seen"})
        await rt.streams.chat.set("room", "1", {})
        await rt.streams.chat.set("room", "2", {})

        def kinds(told: list[Any]) -> list[Any]:
            return [(each["event"]["type"], each.get("id")) for each in told]

        assert kinds([await read(whole) for _ in range(4)]) == [
            ("event", "1"), ("event", None), ("create", "1"), ("create", "2"),
        ]  # fmt: skip
        assert kinds([await read(first) for _ in range(2)]) == [("event", "1"), ("create", "1")]
        assert kinds([await read(second)]) == [("create", "2")]


def follower(seen: list[Any], name: str = "Follow", **filters: Any) -> Any:
    @step(stream("chat", **filters), name=name)
    async def follow(event: Any, ctx: Any) -> None:
        seen.append((name, event.group_id, event.id, event.event, ctx.trace_id))

    return follow


async def test_steps_that_follow_get_an_event_by_their_filters(where: Where) -> None:
    seen: list[Any] = []
    steps = [
        follower(seen, "Every"),
        follower(seen, "Room", group_id="room"),
        follower(seen, "Item", item_id="1"),
        follower(seen, "Other", group_id="other"),
    ]
    async with open_runtime(App(steps, **where), observers=()) as rt:
        await rt.streams.chat.send("room", {"type": "typing", "data": 1})
        await rt.streams.chat.send({"groupId": "room", "id": "1"}, {"type": "seen"})
        await rt.quiesce()
    typing = {"type": "event", "data": {"type": "typing", "data": 1}}
    seen_it = {"type": "event", "data": {"type": "seen", "data": None}}
    told = sorted(
        (name, group, key, json.dumps(event)) for name, group, key, event, _ in seen if key
    )
    assert told == [(name, "room", "1", json.dumps(seen_it)) for name in ("Every", "Item", "Room")]
    whole = sorted((name, json.dumps(event)) for name, _, key, event, _ in seen if key is None)
    assert whole == [(name, json.dumps(typing)) for name in ("Every", "Room")]


async def test_an_event_is_a_message_as_any_other(where: Where) -> None:
    """It goes on in the trace of who sent it, is kept, and counts as a hop."""
    seen: list[Any] = []
    sent: list[str] = []

    @step(stream("chat"), name="Loop")
    async def loop(event: Any, ctx: Any) -> None:
        seen.append(ctx.trace_id)
        await ctx.streams.chat.send("room", {"type": "again"})

    @step(queue("go"), name="Go")
    async def go(data: Any, ctx: Any) -> None:
        sent.append(ctx.trace_id)
        await ctx.streams.chat.send("room", {"type": "first"})

    async with open_runtime(App([go, loop], **where), observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        (letter,) = rt.dead_letters.list()
    assert set(seen) == set(sent)
    assert "50 hops" in letter.reason


async def test_events_and_changes_of_an_item_reach_a_step_in_order(where: Where) -> None:
    seen: list[Any] = []

    @step(stream("chat"), name="Follow")
    async def follow(event: Any) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(event.event.data)

    async with open_runtime(App([follow], **where), observers=()) as rt:
        for number in range(0, 40, 2):
            await rt.streams.chat.set("room", "1", {"data": number})
            channel = {"groupId": "room", "id": "1"}
            await rt.streams.chat.send(channel, {"type": "n", "data": number + 1})
        await rt.quiesce()
    assert [each["data"] for each in seen] == [*range(40)]


async def test_a_transaction_sends_when_it_is_kept_and_not_otherwise(where: Where) -> None:
    seen: list[Any] = []

    @step(queue("go", config={"maxRetries": 0}), name="Go", delivery="transactional")
    async def go(fails: bool, ctx: Any) -> None:  # noqa: FBT001
        await ctx.streams.chat.send("room", {"type": "first", "data": fails})
        await ctx.streams.chat.set("room", "1", {"text": "hello"})
        await ctx.streams.chat.send({"groupId": "room", "id": "1"}, {"type": "then"})
        if fails:
            raise OSError("no luck")

    app = App([go, follower(seen)], **where)
    async with open_runtime(app, **SERVED) as rt, client_of(rt) as client:
        await join(client, "room")
        for fails in (True, False):
            await rt.enqueue("go", fails)
            await rt.quiesce()
        told = [(await read(client))["event"] for _ in range(3)]
    assert told == [
        {"type": "create", "data": {"text": "hello", "id": "1"}},
        {"type": "event", "event": {"type": "first", "data": False}},
        {"type": "event", "event": {"type": "then", "data": None}},
    ]
    assert {(event.type, event.data.get("type")) for *_, event, _ in seen} == {
        ("event", "first"), ("create", None), ("event", "then"),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("channel", "event", "error", "words"),
    [
        ("", {"type": "x"}, ValueError, "group is a non-empty string, not ''"),
        ({}, {"type": "x"}, ValueError, "groupId is a non-empty string, not None"),
        ({"groupId": "g", "id": ""}, {"type": "x"}, ValueError, "id is a non-empty string, not ''"),
        ({"groupId": "g", "itemId": "1"}, {"type": "x"}, ValueError, "'itemId' is not known; whom"),
        (7, {"type": "x"}, TypeError, r"send takes a group, or .* and an event; not 7"),
        ("g", "typing", TypeError, r"an event is .*, not 'typing'"),
        ("g", {"data": 1}, ValueError, "type of an event is a non-empty string, not None"),
        ("g", {"type": ""}, ValueError, "type of an event is a non-empty string, not ''"),
        ("g", {"type": "x", "user": 1}, ValueError, "'user' is not known; an event has type and"),
        ("g", {"type": "x", "data": {"n": [float("nan")]}}, NotEncodable, r"\$.data.n\[0\]: NaN"),
        (
            "g",
            {"type": "x", "data": "y" * 90},
            ValueTooLarge,
            "event 'x': 112 bytes are over .*100",
        ),
    ],
)
async def test_what_cannot_be_sent_is_refused_at_once(
    channel: Any, event: Any, error: type[Exception], words: str
) -> None:
    seen: list[Any] = []
    async with open_runtime(App([follower(seen)], message_limit=100), observers=()) as rt:
        with pytest.raises(error, match=words):
            rt.streams.chat.send(channel, event)
        await rt.quiesce()
    assert seen == []


async def test_what_the_store_cannot_keep_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: Any) -> None:
        await trio.lowlevel.checkpoint()
        raise StoreBroken("no room")

    app = App([follower([])])
    async with open_runtime(app, **SERVED) as rt, client_of(rt) as client:
        await join(client, "room")
        with monkeypatch.context() as patch:
            patch.setattr(MemoryStore, "commit", fail)
            with pytest.raises(StoreBroken):
                await rt.streams.chat.send("room", {"type": "x"})
        assert await events(client, rt) == []
        await rt.quiesce()


@pytest.mark.parametrize("thread", [False, True], ids=["async", "thread"])
async def test_a_handler_sends_and_counts_who_is_there_as_it_calls_all_else(
    thread: bool,  # noqa: FBT001
) -> None:
    got: list[Any] = []

    async def handler(data: Any, ctx: Any) -> None:
        got.append(await ctx.streams.chat.presence("room"))
        ctx.streams.chat.send("room", {"type": "not awaited"})

    def threaded(data: Any, ctx: Any) -> None:
        got.append(ctx.streams.chat.presence("room"))
        ctx.streams.chat.send("room", {"type": "not awaited"})

    config = {"name": "Go", "triggers": [{"type": "queue", "topic": "go"}]}
    app = App([step(config, threaded if thread else handler)])
    async with open_runtime(app, **SERVED) as rt, client_of(rt) as client:
        await join(client, "room")
        await rt.enqueue("go")
        await rt.quiesce()
        assert [each["event"]["event"]["type"] for each in await events(client, rt)] == [
            "not awaited"
        ]
    assert got == [1]


async def test_presence_counts_connections_that_follow_a_group_or_an_item_of_it_now() -> None:
    async with open_runtime(App(streams=[CHAT]), **SERVED) as rt:
        chat = rt.streams.chat
        assert await chat.presence("room") == 0
        async with client_of(rt) as one:
            await join(one, "room")
            await join(one, "room", "1")
            assert await chat.presence("room") == 1
            async with client_of(rt) as other:
                await join(other, "room", "1")
                assert await chat.presence("room") == 2
                assert await chat.presence("other") == 0
            with trio.fail_after(5):
                while await chat.presence("room") == 2:
                    await trio.sleep(0.01)
        with trio.fail_after(5):
            while await chat.presence("room"):
                await trio.sleep(0.01)
        with pytest.raises(ValueError, match="group is a non-empty string"):
            chat.presence("")
