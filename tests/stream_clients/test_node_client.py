"""@motiadev/stream-client-node, as npm has it: what it shows is what the store has."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
import trio_websocket

from motia_trio import App, open_runtime
from motia_trio.service import Service
from tests.stream_clients.official import PATIENCE, Official, official_client


def item(key: str, **data: Any) -> dict[str, Any]:
    return {**data, "id": key}


@asynccontextmanager
async def chat_with(
    packages: Path,
    query: str = "",
    protocols: list[str] | None = None,
    chat: dict[str, Any] | None = None,
    **app: Any,
) -> AsyncIterator[tuple[Service, Official]]:
    """A service with the streams chat and other, and a client of it."""
    declared = App(streams=[{"name": "chat", **(chat or {})}, {"name": "other"}], **app)
    async with open_runtime(declared, observers=(), streams="127.0.0.1:0") as rt:
        assert rt.streams_url is not None
        async with official_client(packages) as client:
            await client.open(rt.streams_url + query, protocols)
            yield rt, client


async def test_an_item_is_followed_from_before_there_is_one_until_it_is_gone(
    packages: Path,
) -> None:
    async with chat_with(packages) as (rt, client):
        await client.follow("chat", "room", "a", events=["liked"])
        await client.changed("room/a", 1)
        await rt.streams.chat.set("room", "a", {"text": "hello"})
        await rt.streams.chat.update("room", "a", {"type": "set", "path": "likes", "value": 1})
        event = {"type": "liked", "data": {"by": "Ada"}}
        await rt.streams.chat.send({"groupId": "room", "id": "a"}, event)
        await client.heard("room/a", ("liked", {"by": "Ada"}))
        await rt.streams.chat.delete("room", "a")
        await rt.streams.chat.set("room", "a", {"text": "again"})
        await client.changed("room/a", 5)
        assert client.states["room/a"] == [
            None,
            item("a", text="hello"),
            item("a", text="hello", likes=1),
            None,
            item("a", text="again"),
        ]
        await client.follow("chat", "room", "a", as_="later")
        await client.until("later", item("a", text="again"))


async def test_a_group_is_followed_with_what_was_there_and_what_comes(packages: Path) -> None:
    async with chat_with(packages) as (rt, client):
        chat = rt.streams.chat
        await chat.set("room", "a", {"text": "first"})
        await client.follow("chat", "room", events=["typing"])
        await client.until("room", [item("a", text="first")])
        await chat.set("room", "b", {"text": "second"})
        await chat.set("room", "a", {"text": "changed"})
        await chat.send({"groupId": "room"}, {"type": "typing", "data": {"name": "Ada"}})
        await chat.send({"groupId": "room", "id": "b"}, {"type": "typing", "data": {"name": "Bob"}})
        await client.heard("room", ("typing", {"name": "Ada"}), ("typing", {"name": "Bob"}))
        await chat.delete("room", "a")
        await client.changed("room", 4)
        assert client.states["room"] == [
            [item("a", text="first")],
            [item("a", text="first"), item("b", text="second")],
            [item("a", text="changed"), item("b", text="second")],
            [item("b", text="second")],
        ]


async def test_an_event_for_the_group_is_not_one_for_its_items(packages: Path) -> None:
    async with chat_with(packages) as (rt, client):
        await client.follow("chat", "room", "a", events=["typing"])
        await client.changed("room/a", 1)
        await rt.streams.chat.send("room", {"type": "typing", "data": "for all"})
        await rt.streams.chat.send({"groupId": "room", "id": "b"}, {"type": "typing", "data": "b"})
        await rt.streams.chat.send({"groupId": "room", "id": "a"}, {"type": "typing", "data": "a"})
        await client.heard("room/a", ("typing", "a"))


async def test_who_follows_one_place_sees_no_other(packages: Path) -> None:
    async with chat_with(packages) as (rt, client):
        for key in ("a", None):
            await client.follow("chat", "g1", key, events=["e"])
        await client.changed("g1", 1)
        await client.changed("g1/a", 1)
        for stream, group, key in [
            ("chat", "g2", "a"),
            ("other", "g1", "a"),
            ("chat", "g1:a", "a"),
        ]:
            await rt.streams[stream].set(group, key, {"not": "yours"})
            await rt.streams[stream].send({"groupId": group, "id": key}, {"type": "e", "data": 1})
        await rt.streams.chat.set("g1", "b", {"n": 1})
        await rt.streams.chat.set("g1", "a", {"n": 2})
        await client.until("g1/a", item("a", n=2))
        await client.until("g1", [item("b", n=1), item("a", n=2)])
        assert client.states["g1/a"] == [None, item("a", n=2)]
        assert client.states["g1"] == [[], [item("b", n=1)], [item("b", n=1), item("a", n=2)]]
        assert not client.events["g1"]
        assert not client.events["g1/a"]


async def test_what_is_left_is_not_heard_of_any_more(packages: Path) -> None:
    async with chat_with(packages) as (rt, client):
        chat = rt.streams.chat
        await client.follow("chat", "room", "a")
        await client.follow("chat", "room")
        await client.changed("room/a", 1)
        await client.changed("room", 1)
        assert await chat.presence("room") == 1
        await client.unfollow("room")
        await client.unfollow("room/a")
        await client.follow("chat", "room", as_="again")
        await client.changed("again", 1)  # what was sent before, the server has heard
        await chat.set("room", "a", {"n": 1})
        await client.until("again", [item("a", n=1)])
        assert client.states["room"] == [[]]
        assert client.states["room/a"] == [None]


async def test_a_change_comes_once_however_many_of_a_connections_subscriptions_it_fits(
    packages: Path,
) -> None:
    async with chat_with(packages) as (rt, client):
        follows: list[tuple[str, Any]] = [("group", None), ("item", "a"), ("item again", "a")]
        for as_, key in [*follows, ("group again", None)]:
            await client.follow("chat", "room", key, as_=as_, events=["e"])
        # both of a place are told of each one's sync
        await client.changed("group again", 1)
        await client.changed("item again", 2)
        begun = {as_: len(states) for as_, states in client.states.items()}
        await rt.streams.chat.set("room", "a", {"n": 1})
        await rt.streams.chat.set("room", "a", {"n": 2})
        await rt.streams.chat.send({"groupId": "room", "id": "a"}, {"type": "e", "data": 1})
        await rt.streams.chat.delete("room", "a")
        for as_, before in begun.items():
            await client.changed(as_, before + 3)
        await rt.streams.chat.send("room", {"type": "e", "data": "end"})
        await client.heard("group again", ("e", 1), ("e", "end"))
        item_was = [item("a", n=1), item("a", n=2), None]
        group_was = [[item("a", n=1)], [item("a", n=2)], []]
        for as_, states in client.states.items():
            assert states[begun[as_] :] == (group_was if "group" in as_ else item_was)
        assert client.events["group"] == [("e", 1), ("e", "end")]
        assert client.events["item"] == client.events["item again"] == [("e", 1)]


@asynccontextmanager
async def joined(
    rt: Service, *places: dict[str, str]
) -> AsyncIterator[trio_websocket.WebSocketConnection]:
    """A bare socket that has joined these places of the stream chat, and read what was there."""
    assert rt.streams_url is not None
    async with trio_websocket.open_websocket_url(rt.streams_url) as socket:
        for number, place in enumerate(places):
            data = {"streamName": "chat", "subscriptionId": str(number), **place}
            await socket.send_message(json.dumps({"type": "join", "data": data}))
            message = json.loads(await socket.get_message())
            assert (message["event"]["type"], message.get("id")) == ("sync", place.get("id"))
        yield socket


async def receive(socket: trio_websocket.WebSocketConnection, received: list[Any]) -> None:
    while True:
        received.append(json.loads(await socket.get_message()))


async def test_a_change_is_one_message_on_the_socket_too() -> None:
    app = App(streams=[{"name": "chat"}])
    places = [{"groupId": "room"}, {"groupId": "room", "id": "a"}]
    async with open_runtime(app, observers=(), streams="127.0.0.1:0") as rt:
        async with joined(rt, *places, *places) as socket:
            await rt.streams.chat.set("room", "a", {"n": 1})
            await rt.streams.chat.set("room", "b", {"n": 2})
            await rt.streams.chat.send({"groupId": "room", "id": "a"}, {"type": "e", "data": 3})
            await rt.streams.chat.update("room", "a", {"type": "increment", "path": "n"})
            await rt.streams.chat.delete("room", "a")
            await rt.streams.chat.send("room", {"type": "end", "data": None})
            got: list[Any] = []
            while not got or got[-1]["event"].get("event", {}).get("type") != "end":
                got.append(json.loads(await socket.get_message()))
    assert [(each.get("id"), each["event"]["type"]) for each in got] == [
        ("a", "create"),
        ("b", "create"),
        ("a", "event"),
        ("a", "update"),
        ("a", "delete"),
        (None, "event"),
    ]
    stamps = [each["timestamp"] for each in got]
    assert stamps == sorted(set(stamps))


async def test_of_10_000_changes_none_is_missed_none_comes_twice_and_the_order_is_kept(
    packages: Path, where: dict[str, Any]
) -> None:
    """Eight write at once, each to items of its own, whose histories are therefore known."""
    written: dict[str, list[Any]] = {}
    received: list[Any] = []

    async with (
        chat_with(packages, **where) as (rt, client),
        official_client(packages) as late,
        joined(rt, {"groupId": "room"}) as socket,
        trio.open_nursery() as listening,
    ):
        chat = rt.streams.chat
        assert rt.streams_url is not None
        await late.open(rt.streams_url)
        listening.start_soon(receive, socket, received)
        await client.follow("chat", "room")
        await client.follow("chat", "room", "0-0")
        await client.changed("room", 1)
        await client.changed("room/0-0", 1)
        for batch in range(0, 1_250, 125):  # a client that lags is sent less; here none does
            async with trio.open_nursery() as nursery:
                for writer in range(8):
                    nursery.start_soon(write, chat, writer, range(batch, batch + 125), written)
                if batch == 500:  # in the midst of it
                    await late.follow("chat", "room")
            await client.changed("room", 1 + 8 * (batch + 125))
            with trio.fail_after(PATIENCE):
                while len(received) < 8 * (batch + 125):
                    await trio.sleep(0.001)
        states = [{each["id"]: each for each in state} for state in client.states["room"]]
        assert len(states) == 10_001
        assert histories(states) == written
        assert client.states["room/0-0"] == written["0-0"]
        kept = {key: await chat.get("room", key) for key in written}
        assert {**dict.fromkeys(written), **states[-1]} == {
            key: value and item(key, **value) for key, value in kept.items()
        }
        # who came later has what was there, and then the same
        await late.until("room", client.states["room"][-1])
        later = [{each["id"]: each for each in state} for state in late.states["room"]]
        assert 1 < len(later) < len(states)
        assert later == states[-len(later) :]
        await chat.send("room", {"type": "end", "data": None})
        with trio.fail_after(PATIENCE):
            while received[-1]["event"]["type"] != "event":
                await trio.sleep(0.001)
        listening.cancel_scope.cancel()
    # the client does not show a change that comes twice; on the socket it is seen
    changes = received[:-1]
    assert len(changes) == 10_000
    for before, after, message in zip(states[:-1], states[1:], changes, strict=True):
        data = message["event"]["data"]
        assert message["id"] == data["id"]
        gone = message["event"]["type"] == "delete"
        assert before.get(data["id"]) != after.get(data["id"]) == (None if gone else data)
    for stamp in ("timestamp", "seq"):
        stamps = [message[stamp] for message in changes]
        assert stamps == sorted(set(stamps))


async def write(chat: Any, writer: int, numbers: range, written: dict[str, list[Any]]) -> None:
    """Change three items, and note their histories: one in ten deletes, the others set or update."""
    for n in numbers:
        key = f"{writer}-{n % 3}"
        history = written.setdefault(key, [None])
        if history[-1] is None:
            await chat.set("room", key, {"n": n})
        elif n % 10 == 0:
            await chat.delete("room", key)
            history.append(None)
            continue
        elif n % 2:
            await chat.update("room", key, {"type": "set", "path": "n", "value": n})
        else:
            await chat.set("room", key, {"n": n})
        history.append(item(key, n=n))


def histories(states: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """What each item was, by states between which one item changes at a time."""
    seen: dict[str, list[Any]] = {}
    for before, after in pairwise(states):
        (key,) = {key for key in {*before, *after} if before.get(key) != after.get(key)}
        seen.setdefault(key, [None]).append(after.get(key))
    return seen


async def test_a_client_rejoins_a_server_that_comes_back_and_goes_on(
    packages: Path, on_disk: dict[str, Any]
) -> None:
    """The client tries again two seconds after the server went, and only once: it has to be there."""
    app = App(streams=[{"name": "chat"}], **on_disk)
    async with official_client(packages) as client:
        async with open_runtime(app, observers=(), streams="127.0.0.1:0") as rt:
            assert rt.streams_url is not None
            address = rt.streams_url.removeprefix("ws://")
            await rt.streams.chat.set("room", "a", {"n": 1})
            await client.open(rt.streams_url)
            await client.follow("chat", "room", events=["e"])
            await client.follow("chat", "room", "a")
            await client.until("room", [item("a", n=1)])
            await client.until("room/a", item("a", n=1))
        async with open_runtime(app, observers=(), streams=address) as rt:
            await rt.streams.chat.set("room", "a", {"n": 2})
            await rt.streams.chat.set("room", "b", {"n": 3})
            await client.until("room", [item("a", n=2), item("b", n=3)])
            await client.until("room/a", item("a", n=2))
            before = len(client.states["room"])
            await rt.streams.chat.delete("room", "b")
            await rt.streams.chat.set("room", "a", {"n": 4})
            await rt.streams.chat.send("room", {"type": "e", "data": "on"})
            await client.heard("room", ("e", "on"))
            await client.until("room/a", item("a", n=4))
            assert client.states["room"][before:] == [[item("a", n=2)], [item("a", n=4)]]
            assert client.states["room/a"][0] == item("a", n=1)
            assert None not in client.states["room/a"]


@pytest.mark.parametrize(
    ("query", "protocols"),
    [
        pytest.param("/?authToken=open%20sesame", None, id="query"),
        # a sub-protocol is a token of RFC 6455, without blanks
        pytest.param("", ["Authorization", "open-sesame"], id="sub-protocol"),
    ],
)
async def test_a_token_comes_in_the_query_or_as_a_sub_protocol(
    packages: Path, query: str, protocols: list[str] | None
) -> None:
    tokens = []

    def authenticate(handshake: Any) -> Any:
        tokens.append(handshake.token)
        return {"name": "Ada"}

    def can_access(subscription: Any, auth: Any) -> bool:
        return bool(subscription.group_id == f"{auth['name']}'s")

    entry: dict[str, Any] = {"authenticate": authenticate, "chat": {"canAccess": can_access}}
    async with chat_with(packages, query, protocols, **entry) as (rt, client):
        await client.follow("chat", "Bob's")
        await client.follow("chat", "Ada's")
        await client.changed("Ada's", 1)
        await rt.streams.chat.set("Bob's", "a", {"n": 1})
        await rt.streams.chat.set("Ada's", "a", {"n": 2})
        await client.until("Ada's", [item("a", n=2)])
        assert client.states["Bob's"] == []
    assert tokens == ["open sesame" if query else "open-sesame"]


@pytest.mark.parametrize("query", ["", "/?authToken=let%20me%20in"], ids=["none", "wrong"])
async def test_who_has_no_token_is_answered_401(packages: Path, query: str) -> None:
    def authenticate(handshake: Any) -> bool:
        return bool(handshake.token == "open sesame")

    async with chat_with(packages, query, authenticate=authenticate) as (_, client):
        assert await client.failed() == "Unexpected server response: 401"
