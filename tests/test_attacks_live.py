"""Attacks on live streams: each is the way in which something was found, or was looked for."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trustme

from motia_trio import App, Closed, Service, open_runtime, queue, step
from motia_trio.streams.hub import AT_ONCE, BEHIND
from motia_trio.streams.rooms import Subscription
from motia_trio.streams.wire import Batch, Message
from tests.stream_server.wire import Peer, address, join, open_streams, request
from tests.streams.stage import open_stream
from tests.streams.test_sessions import Connection, connect, settle
from tests.support import Notebook, both_stores

CHAT = [{"name": "chat"}]


class Nobody:
    """A member of a crowd, who costs nothing."""

    def push(self, message: Message) -> None:
        """Take it."""

    def push_batch(self, batch: Batch) -> None:
        """Take them."""

    def answer(self, messages: Sequence[Message]) -> None:
        """Take it."""


def fill(rt: Service, number: int) -> None:
    """Have so many follow a group."""
    hub = rt.shared.hub
    for each in range(number):
        member, subscription = Nobody(), Subscription(str(each), "chat", "room", None)
        hub.arrive(member, subscription)
        hub.begin(member, subscription)


async def fall_behind(it: Connection) -> None:
    """Have a client follow a group from which something waits for it."""
    await it.join()
    for each in "abc":
        await it.stream.set(each)
    await settle()


async def next_news(it: Connection, number: int) -> None:
    """Have it take one message, when there is one more."""
    await it.stream.set(f"i{number}")
    it.pipe.give_room(1)
    await settle()


async def test_who_never_catches_up_is_answered_when_it_joins_something_else() -> None:
    """For a slow client of a busy group nothing else ever came: a join waited until nothing did."""
    async with open_stream() as stream, connect(stream, room=1) as it:
        await fall_behind(it)
        await it.join("one", group="quiet")
        for number in range(20):
            await next_news(it, number)
            assert it.closing == "open"
        assert ("sync", "one") in it.told
        assert it.pipe.room <= 0, "it has caught up"
        changes = [key for kind, key in it.told if kind == "create"]
        assert changes == [*"abc", *(f"i{number}" for number in range(20))][: len(changes)]


async def test_who_never_catches_up_has_one_answer_at_a_time_waiting_for_it() -> None:
    async with open_stream() as stream, connect(stream, room=1, subscriptions=50) as it:
        await fall_behind(it)
        joins = [await it.join(f"k{number}", group="quiet") for number in range(10)]
        for number in range(60):
            await next_news(it, number)
            answers = stream.reads - sum(kind == "sync" for kind, _ in it.told)
            assert answers <= 1
            it.pipe.give_room(answers)  # it stays as far behind as it is
            await settle()
        assert it.closing == "open"
        assert [key for kind, key in it.told if kind == "sync"][1:] == [each.key for each in joins]


@both_stores
async def test_transactions_wait_for_a_crowd_as_all_who_write_do(
    store: str, tmp_path: Path
) -> None:
    """They did not: what a crowd had to be told of grew for as long as they went on."""
    waiting: list[int] = []
    each, at_once = 10, 4

    @step(queue("go", config={"concurrency": at_once}), name="Go", delivery="transactional")
    async def go(data: int, ctx: Any) -> None:
        for number in range(each - 1):
            await ctx.streams.chat.set("room", f"{data}-{number}", {"n": number})
        await ctx.streams.chat.send("room", {"type": "done", "data": data})
        waiting.append(rt.shared.hub.statistics().waiting)

    app = App([go], streams=CHAT, root=tmp_path, synchronous="normal", store=store)
    async with open_runtime(app, observers=()) as rt:
        fill(rt, 5 * AT_ONCE)
        for number in range(100):
            await rt.enqueue("go", number)
        with trio.fail_after(20):
            await rt.quiesce()
        assert len(waiting) == 100
        assert max(waiting) <= 2 * BEHIND + each * at_once


@both_stores
async def test_who_waits_for_a_crowd_when_the_service_ends_by_an_error_does_not_wait_for_ever(
    store: str, tmp_path: Path
) -> None:
    """A task of the program's that outlives the service; nobody is told any more."""
    ended: list[str] = []

    async def write(rt: Service, name: str) -> None:
        with pytest.raises(Closed):
            while True:
                await rt.streams.chat.set("room", name, {})
        ended.append(name)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            app = App(streams=CHAT, root=tmp_path, synchronous="normal", store=store)
            with pytest.raises(ValueError, match="the program's"):
                async with open_runtime(app, observers=()) as rt:
                    fill(rt, 40 * AT_ONCE)
                    for number in range(20):
                        nursery.start_soon(write, rt, str(number))
                    while not rt.shared.hub.is_crowded:
                        await trio.lowlevel.checkpoint()
                    raise ValueError("the program's")
    assert len(ended) == 20


async def test_a_connection_that_lingers_is_not_pinged(tmp_path: Path) -> None:
    """By TLS a ping was a task of what had just ended, and the error the end of the service."""
    authority = trustme.CA()
    made = authority.issue_cert("127.0.0.1")
    made.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    app = App(streams=CHAT, root=tmp_path, certfile="both.pem")
    settings: Any = {"stream_ping_interval": 0.1, "stream_ping_timeout": 0.2}
    async with open_streams(app=app, notebook=Notebook(), **settings) as rt:
        async with await trio.open_tcp_stream(*address(rt)) as tcp:
            stream = trio.SSLStream(
                tcp, context, server_hostname="127.0.0.1", https_compatible=True
            )
            peer = await Peer(stream).shake(request())
            await peer.send(join())
            assert (await peer.event())[0] == "sync"
            await stream.send_all(b"\xff" * 4)  # no frame: it is cut off, and what it sends dropped
            await trio.sleep(0.25)
        with trio.fail_after(5):
            await rt.streams.chat.set("r", "a", {})
