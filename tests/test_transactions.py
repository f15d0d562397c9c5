"""Transactional steps: what a handler does is kept as one with its acknowledgement, or not at all."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, Service, Stream, open_runtime, queue, state, step
from motia_trio.access import TRANSACTION_LIMIT
from motia_trio.events import AskFailed, AttemptFailed, TransactionRepeated
from tests.support import Notebook

Where = dict[str, Any]
Act = Callable[[Any], Awaitable[Any]]

# beside the handlers of these tests, they declare the streams that these write to
CHAT, OTHER = Stream("chat"), Stream("g")
INCREMENT = [{"type": "increment", "path": "n"}]


class Inbox:
    """A step that writes down what comes of a transaction."""

    def __init__(self) -> None:
        self.got: list[Any] = []

        @step(queue("work"), name="Work")
        async def work(data: Any) -> None:
            self.got.append(data)

        self.step = work


def transactional(act: Act, **config: Any) -> Any:
    """A step for the topic ``go`` whose handler is an act with its ctx."""

    @step(queue("go", config=config), name="Go", enqueues=["work"], delivery="transactional")
    async def go(data: Any, ctx: Any) -> Any:
        return await act(ctx)

    return go


async def quiet(rt: Service) -> None:
    with trio.fail_after(20):
        await rt.quiesce()


async def everything(rt: Service) -> dict[str, Any]:
    """All that is in the state, and in the stream ``chat``."""
    found = {}
    for name, items in (("state", rt.state), ("chat", rt.streams.chat)):
        for group in await items.list_groups():
            for key in await items.keys(group):
                found[f"{name}/{group}/{key}"] = await items.get(group, key)
    return found


async def do_everything(ctx: Any) -> None:
    """One of each kind."""
    await ctx.state.set("g", "k", 1)
    await ctx.state.update("g", "n", INCREMENT)
    await ctx.streams.chat.set("room", "1", "hello")
    await ctx.enqueue("work", "message")
    await ctx.state.delete("g", "old")


DONE = {"state/g/k": 1, "state/g/n": {"n": 1}, "chat/room/1": "hello"}
BEFORE = {"state/g/old": 0}


# all of it, or nothing


async def test_nothing_is_seen_by_others_before_the_handler_has_returned_and_then_all(
    where: Where,
) -> None:
    done, gate = trio.Event(), trio.Event()
    inbox = Inbox()

    async def act(ctx: Any) -> None:
        await do_everything(ctx)
        done.set()
        await gate.wait()

    app = App([transactional(act), inbox.step], **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.state.set("g", "old", 0)
        await rt.enqueue("go")
        await done.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert (await everything(rt), inbox.got) == (BEFORE, [])
        gate.set()
        await quiet(rt)
        assert (await everything(rt), inbox.got) == (DONE, ["message"])


@pytest.mark.parametrize("delivery", ["transactional", "immediate", None])
async def test_a_config_says_which_it_is(where: Where, delivery: str | None) -> None:
    """Immediate, if it says nothing."""

    async def handler(data: Any, ctx: Any) -> None:
        await ctx.state.set("g", "k", 1)
        raise OSError("no luck")

    config = {"name": "Go", "triggers": [{"type": "queue", "topic": "go"}]}
    made = step({**config, **({"delivery": delivery} if delivery else {})}, handler)
    async with open_runtime(App([made], **where), observers=()) as rt:
        await rt.enqueue("go")
        await quiet(rt)
        found = await everything(rt)
    assert found == ({} if delivery == "transactional" else {"state/g/k": 1})


@pytest.mark.parametrize("way", ["an error", "its time", "a stop", "un-awaited"])
async def test_nothing_is_kept_of_an_attempt_that_did_not_end_well(
    where: Where, autojump_clock: Any, way: str
) -> None:
    """The next attempt begins with nothing of it."""
    inbox = Inbox()
    attempts: list[Any] = []

    async def act(ctx: Any) -> None:
        attempts.append(await ctx.state.get("g", "k"))
        await do_everything(ctx)
        if way == "un-awaited":
            ctx.state.set("g", "late", 1)
        if way in {"its time", "a stop"}:
            await trio.sleep_forever()
        raise OSError("no luck")

    go = transactional(act, maxRetries=1, timeout=1000 if way == "a stop" else 5)
    app = App([go, inbox.step], **where, shutdown_timeout=10)
    async with open_runtime(app, observers=()) as rt:
        store = rt.store
        await rt.state.set("g", "old", 0)
        await rt.enqueue("go")
        await trio.sleep(100)
        assert await everything(rt) == BEFORE
        if way != "a stop":
            assert len(rt.dead_letters.list()) == 1
    assert attempts == ([None] if way == "a stop" else [None, None])
    assert inbox.got == []
    if where["store"] == "memory:":
        assert [*store.items("", "g", 0.0)] == ["old"]
        return
    async with open_runtime(app, idle=True, observers=()) as rt:
        assert await everything(rt) == BEFORE
        counts = rt.store.counts(0.0)["Go"]  # at the beginning of time, all is to come
        assert (counts.delayed, counts.dead) == ((1, 0) if way == "a stop" else (0, 1))


async def test_a_transaction_is_whole_when_the_store_is_opened_again(on_disk: Where) -> None:
    inbox = Inbox()
    app = App([transactional(do_everything), inbox.step], **on_disk)
    async with open_runtime(app, observers=()) as rt:
        await rt.state.set("g", "old", 0)
        await rt.enqueue("go")
        await quiet(rt)
    async with open_runtime(app, observers=()) as rt:
        assert await everything(rt) == DONE
        await quiet(rt)
    assert inbox.got == ["message"]


@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
async def test_a_handler_in_a_thread_is_transactional_as_well(where: Where, *, fails: bool) -> None:
    inbox = Inbox()
    seen: list[Any] = []

    @step(queue("go", config={"maxRetries": 0}), name="Go", delivery="transactional")
    def go(data: Any, ctx: Any) -> None:
        ctx.state.set("g", "k", 1)
        ctx.state.update("g", "n", INCREMENT)
        ctx.streams.chat.set("room", "1", "hello")
        seen.append((ctx.state.get("g", "k"), ctx.state.list("g"), ctx.state.delete("g", "old")))
        assert isinstance(ctx.enqueue("work", "message"), str)
        if fails:
            raise OSError("no luck")

    async with open_runtime(App([go, inbox.step], **where), observers=()) as rt:
        await rt.state.set("g", "old", 0)
        await rt.enqueue("go")
        await quiet(rt)
        assert await everything(rt) == (BEFORE if fails else DONE)
    assert inbox.got == ([] if fails else ["message"])
    assert seen == [(1, [1, {"n": 1}, 0], 0)]


async def test_what_nobody_awaited_belongs_to_the_transaction(where: Where) -> None:
    inbox = Inbox()

    async def act(ctx: Any) -> None:
        ctx.state.set("g", "k", 1)
        ctx.enqueue("work", 1)

    app = App([transactional(act), inbox.step], **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await quiet(rt)
        assert await everything(rt) == {"state/g/k": 1}
    assert inbox.got == [1]


async def test_a_call_that_is_refused_and_caught_leaves_the_rest_as_it_is(where: Where) -> None:
    inbox = Inbox()
    refused: list[str] = []

    async def act(ctx: Any) -> None:
        await ctx.state.set("g", "k", 1)
        bad = [{"type": "increment"}, {"type": "append", "value": 1}]
        calls: list[Callable[[], Any]] = [
            lambda: ctx.state.update("g", "k", bad),
            lambda: ctx.state.set("g", "k", "x" * 200),
            lambda: ctx.enqueue(
                [{"topic": "work", "data": 1}, {"topic": "work", "data": "x" * 200}]
            ),
        ]
        for call in calls:
            try:
                await call()
            except Exception as error:  # noqa: BLE001 - three kinds
                refused.append(type(error).__name__)
        await ctx.enqueue("work", 2)

    app = App([transactional(act), inbox.step], message_limit=100, **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await quiet(rt)
        assert await everything(rt) == {"state/g/k": 1}
    assert refused == ["UpdateInvalid", "ValueTooLarge", "MessageTooLarge"]
    assert inbox.got == [2]


async def test_a_transaction_gathers_so_much_and_no_more(where: Where) -> None:
    """It is in memory until it is kept."""
    size = 1024 * 1024 - 2
    errors: list[str] = []

    async def act(ctx: Any) -> None:
        try:
            for _ in range(TRANSACTION_LIMIT // size + 1):
                await ctx.enqueue("work", "x" * size)
        except Exception as error:
            errors.append(str(error))
            raise

    app = App([transactional(act, maxRetries=0), Inbox().step], **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await quiet(rt)
        assert rt.tree()["Work"].deliveries.waiting == 0
    words = (
        f"step 'Go': its transaction has gathered over {TRANSACTION_LIMIT} bytes; split the work"
    )
    assert errors[0].startswith(words)


# its own writes


async def test_it_sees_its_own_writes_over_what_is_kept(where: Where) -> None:
    seen: list[Any] = []

    async def look(items: Any) -> Any:
        return [
            await items.list_groups(),
            await items.keys("g"),
            await items.list("g"),
            await items.get("g", "a"),
            await items.get("g", "b"),
        ]

    async def act(ctx: Any) -> None:
        for items in (ctx.state, ctx.streams.chat):
            seen.clear()
            seen.append(await look(items))
            seen.append(await items.set("g", "b", {"n": 5}))
            seen.append(await items.update("g", "b", INCREMENT))
            seen.append(await items.set("new", "k", 1))
            seen.append(await look(items))
            seen.append([await items.delete("g", "a"), await items.delete("g", "a")])
            seen.append(await look(items))
            seen.append(await items.clear("g"))
            seen.append(await look(items))
            seen.append(await items.set("g", "a", 2))
            seen.append(
                [await items.clear("new"), await items.clear("new"), await items.list_groups()]
            )
            assert seen == expected

    expected = [
        [["g"], ["a"], [1], 1, None],
        {"new_value": {"n": 5}, "old_value": None},
        {"new_value": {"n": 6}, "old_value": {"n": 5}},
        {"new_value": 1, "old_value": None},
        [["g", "new"], ["a", "b"], [1, {"n": 6}], 1, {"n": 6}],
        [1, None],
        [["g", "new"], ["b"], [{"n": 6}], None, {"n": 6}],
        1,
        [["new"], [], [], None, None],
        {"new_value": 2, "old_value": None},
        [1, 0, ["g"]],
    ]  # fmt: skip
    async with open_runtime(App([transactional(act)], **where), observers=()) as rt:
        for items in (rt.state, rt.streams.chat):
            await items.set("g", "a", 1)
        await rt.enqueue("go")
        await quiet(rt)
        assert not rt.dead_letters.list()
        assert rt.tree()["Go"].deliveries.delayed == 0, seen
        assert await everything(rt) == {"state/g/a": 2, "chat/g/a": 2}


async def test_what_it_writes_to_live_for_a_while_does_so(
    where: Where, autojump_clock: Any
) -> None:
    """From when it said so, also within a long transaction."""
    seen: list[Any] = []

    async def act(ctx: Any) -> None:
        await ctx.state.set("g", "short", 1, ttl=5)
        await ctx.state.set("g", "long", 1, ttl=60)
        seen.append(await ctx.state.keys("g"))
        await trio.sleep(10)
        seen.append((await ctx.state.keys("g"), await ctx.state.get("g", "short")))

    async with open_runtime(App([transactional(act)], **where), observers=()) as rt:
        await rt.enqueue("go")
        await trio.sleep(30)
        assert await rt.state.keys("g") == ["long"]
        await trio.sleep(31)
        assert await rt.state.keys("g") == []
        assert not rt.store.items("", "g", -float("inf"))
    assert seen == [["long", "short"], (["long"], None)]


async def test_the_ids_it_gives_are_those_the_messages_have(where: Where) -> None:
    ids: list[str] = []

    @step(queue("work", config={"maxRetries": 0}), name="Work")
    async def work(data: Any) -> None:
        raise OSError("kept as a dead letter")

    async def act(ctx: Any) -> None:
        ids.append(await ctx.enqueue("work", 0))
        ids.extend(await ctx.enqueue([{"topic": "work", "data": n} for n in (1, 2)]))

    async with open_runtime(App([transactional(act), work], **where), observers=()) as rt:
        await rt.enqueue("go", trace_id="a" * 32)
        await quiet(rt)
        letters = rt.dead_letters.list()
    assert [letter.message.id for letter in letters] == ids == sorted(ids)
    assert {letter.message.trace_id for letter in letters} == {"a" * 32}
    assert {letter.message.sender for letter in letters} == {"Go"}


async def test_options_of_its_messages_count_as_elsewhere(
    where: Where, autojump_clock: Any
) -> None:
    inbox = Inbox()

    async def act(ctx: Any) -> None:
        await ctx.enqueue("work", "key", key="k")
        await ctx.enqueue("work", "key again", key="k")
        await ctx.enqueue("work", "delayed", delay=60)
        await ctx.enqueue("work", "expires", delay=60, expires=30)

    app = App([transactional(act), inbox.step], **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await rt.enqueue("go")
        await trio.sleep(59)
        assert inbox.got == ["key"]
        await trio.sleep(2)
        assert inbox.got == ["key", "delayed", "delayed"]
        assert len(rt.dead_letters.list()) == 2


# conflicts


async def test_of_many_that_count_up_one_value_no_count_is_lost(where: Where) -> None:
    """Read and written in two steps: what each relies on is still so when it is kept."""
    notebook = Notebook()
    attempts = 0

    async def act(ctx: Any) -> None:
        nonlocal attempts
        attempts += 1
        found = await ctx.state.get("g", "n") or 0
        await trio.lowlevel.checkpoint()
        await ctx.state.set("g", "n", found + 1)
        await ctx.enqueue("work", found + 1)

    inbox = Inbox()
    app = App([transactional(act, maxRetries=0), inbox.step], **where)
    async with open_runtime(app, observers=[notebook]) as rt:
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(rt.enqueue, "go")
        await quiet(rt)
        assert await rt.state.get("g", "n") == 40
        assert not rt.dead_letters.list()
    assert sorted(inbox.got) == list(range(1, 41))
    repeats = notebook.of(TransactionRepeated)
    assert len(repeats) == attempts - 40 > 0
    assert {event.reason for event in repeats} == {"'g', 'n' was changed meanwhile"}
    assert not notebook.of(AttemptFailed)


@asynccontextmanager
async def disturbed(
    where: Where, read: Act, disturb: Callable[[Service], Awaitable[Any]], **settings: Any
) -> AsyncIterator[tuple[Service, list[Any], Notebook]]:
    """A transaction that reads, and while it is at it another changes something."""
    seen: list[Any] = []
    notebook = Notebook()
    reading, gate = trio.Event(), trio.Event()

    async def act(ctx: Any) -> None:
        seen.append(await read(ctx))
        reading.set()
        await gate.wait()
        await ctx.state.set("result", "seen", seen[-1])

    async with open_runtime(
        App([transactional(act, maxRetries=0)], **where, **settings), observers=[notebook]
    ) as rt:
        await rt.state.set("g", "k", 1)
        await rt.state.set("other", "k", 1)
        await rt.enqueue("go")
        await reading.wait()
        await disturb(rt)
        gate.set()
        await quiet(rt)
        assert await rt.state.get("result", "seen") == seen[-1]
        yield rt, seen, notebook


@pytest.mark.parametrize(
    ("read", "disturb", "found"),
    [
        (lambda ctx: ctx.state.get("g", "k"), lambda rt: rt.state.set("g", "k", 2), [1, 2]),
        (lambda ctx: ctx.state.get("g", "k"), lambda rt: rt.state.delete("g", "k"), [1, None]),
        (lambda ctx: ctx.state.get("g", "l"), lambda rt: rt.state.set("g", "l", 2), [None, 2]),
        (lambda ctx: ctx.state.list("g"), lambda rt: rt.state.set("g", "l", 2), [[1], [1, 2]]),
        (lambda ctx: ctx.state.keys("g"), lambda rt: rt.state.delete("g", "k"), [["k"], []]),
        (lambda ctx: ctx.state.list("g"), lambda rt: rt.state.set("g", "k", 2), [[1], [2]]),
        (lambda ctx: ctx.state.list("h"), lambda rt: rt.state.set("h", "k", 2), [[], [2]]),
        (
            lambda ctx: ctx.state.list_groups(),
            lambda rt: rt.state.set("h", "k", 2),
            [["g", "other"], ["g", "h", "other"]],
        ),
        (lambda ctx: ctx.state.clear("g"), lambda rt: rt.state.set("g", "l", 2), [1, 2]),
        (lambda ctx: ctx.state.delete("g", "k"), lambda rt: rt.state.set("g", "k", 2), [1, 2]),
        (
            lambda ctx: ctx.streams.chat.list("r"),
            lambda rt: rt.streams.chat.set("r", "1", 2),
            [[], [2]],
        ),
    ],
    ids=["get", "get deleted", "get none", "list", "keys", "list changed", "list none", "groups",
         "clear", "delete", "stream"],
)  # fmt: skip
async def test_what_an_immediate_writer_has_changed_is_read_again(
    where: Where, read: Act, disturb: Callable[[Service], Awaitable[Any]], found: list[Any]
) -> None:
    """The handler runs once more, and what it left is of what is there. No attempt is counted."""
    async with disturbed(where, read, disturb) as (_, seen, notebook):
        assert seen == found
        assert [event.times for event in notebook.of(TransactionRepeated)] == [1]
        assert not notebook.of(AttemptFailed)


@pytest.mark.parametrize(
    ("read", "disturb"),
    [
        (lambda ctx: ctx.state.get("g", "k"), lambda rt: rt.state.set("g", "l", 2)),
        (lambda ctx: ctx.state.list("g"), lambda rt: rt.state.set("other", "l", 2)),
        (lambda ctx: ctx.state.list_groups(), lambda rt: rt.state.set("g", "l", 2)),
        (lambda ctx: ctx.state.get("g", "k"), lambda rt: rt.streams.g.set("g", "k", 2)),
        (lambda ctx: ctx.state.get("g", "k"), lambda rt: rt.state.delete("g", "none")),
        (lambda ctx: ctx.enqueue("nobody"), lambda rt: rt.state.set("g", "k", 2)),
    ],
    ids=["another key", "another group", "a key in a group", "a stream", "nothing", "no read"],
)
async def test_what_it_has_not_read_may_change(
    where: Where, read: Act, disturb: Callable[[Service], Awaitable[Any]]
) -> None:
    async with disturbed(where, read, disturb) as (_, seen, notebook):
        assert len(seen) == 1
        assert not notebook.of(TransactionRepeated)


async def test_what_expires_while_it_is_relied_on_is_read_again(
    where: Where, autojump_clock: Any
) -> None:
    async def wait(rt: Service) -> None:
        await trio.sleep(20)

    async def read(ctx: Any) -> Any:
        found = await ctx.state.get("t", "k")
        if found is None and trio.current_time() - began < 15:
            await ctx.state.set("t", "other", 1)
        return found

    async with open_runtime(App([], **where), observers=()):
        pass
    began = trio.current_time()
    seen: list[Any] = []
    notebook = Notebook()

    async def act(ctx: Any) -> None:
        seen.append(await ctx.state.get("t", "k"))
        await trio.sleep(20)
        await ctx.state.set("result", "seen", seen[-1])

    async with open_runtime(App([transactional(act)], **where), observers=[notebook]) as rt:
        await rt.state.set("t", "k", 1, ttl=10)
        await rt.enqueue("go")
        await trio.sleep(100)
        assert await rt.state.keys("result") == ["seen"]
        assert await rt.state.get("result", "seen") is None
    assert seen == [1, None]
    assert len(notebook.of(TransactionRepeated)) == 1


async def test_a_writer_that_never_rests_does_not_hold_it_up_beyond_its_bound(
    where: Where, autojump_clock: Any
) -> None:
    """That is a failed attempt, like any other that takes too long."""
    notebook = Notebook()

    async def act(ctx: Any) -> None:
        found = await ctx.state.get("g", "k")
        await trio.sleep(1)
        await ctx.state.set("g", "k", found)

    async with open_runtime(
        App([transactional(act, timeout=10, maxRetries=0)], **where), observers=[notebook]
    ) as rt:

        async def write() -> None:
            while True:
                await rt.state.set("g", "k", trio.current_time())
                await trio.sleep(0.3)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await rt.enqueue("go")
            await trio.sleep(60)
            (letter,) = rt.dead_letters.list()
            nursery.cancel_scope.cancel()
        took = letter.failures[0].ended_at - letter.failures[0].started_at
    assert 9 < took < 12
    assert "TimedOut" in letter.reason
    assert 8 <= len(notebook.of(TransactionRepeated)) <= 11


async def test_a_step_that_was_in_anothers_way_and_is_cancelled_leaves_the_way_free(
    where: Where, autojump_clock: Any
) -> None:
    """Those that repeat do so one at a time; a stop or a bound ends that turn too."""
    counts: list[int] = []

    async def act(ctx: Any) -> None:
        counts.append(len(counts))
        found = await ctx.state.get("g", "n") or 0
        await trio.sleep(3)
        await ctx.state.set("g", "n", found + 1)

    go = transactional(act, timeout=8, maxRetries=20, backoffType="fixed", backoffDelayMs=100)
    async with open_runtime(App([go], **where), observers=()) as rt:
        for _ in range(6):
            await rt.enqueue("go")
        await trio.sleep(400)
        assert await rt.state.get("g", "n") == 6
        assert rt.tree().in_flight == 0


async def test_a_repeated_handler_gets_its_input_as_it_was(where: Where) -> None:
    """What it changed of it the last time is not there."""
    inputs: list[Any] = []
    reading, gate = trio.Event(), trio.Event()

    @step(queue("go"), name="Go", delivery="transactional")
    async def go(data: Any, ctx: Any) -> None:
        inputs.append(list(data["items"]))
        data["items"].append(2)
        await ctx.state.get("g", "k")
        reading.set()
        await gate.wait()

    async with open_runtime(App([go], **where), observers=()) as rt:
        await rt.enqueue("go", {"items": [1]})
        await reading.wait()
        await rt.state.set("g", "k", 1)
        gate.set()
        await quiet(rt)
    assert inputs == [[1], [1]]


# HTTP


@asynccontextmanager
async def client(rt: Service) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(rt.asgi)
    async with httpx.AsyncClient(transport=transport, base_url="http://x") as made:
        yield made


def route(handler: Any, **config: Any) -> Any:
    trigger = {"type": "http", "path": "/go", "method": "POST", "config": config}
    return step({"name": "Go", "triggers": [trigger], "delivery": "transactional"}, handler)


@pytest.mark.parametrize("thread", [False, True], ids=["async", "thread"])
async def test_a_request_is_answered_when_all_that_its_handler_did_is_kept(
    where: Where, *, thread: bool
) -> None:
    inbox = Inbox()

    async def handler(req: Any, ctx: Any) -> Any:
        await do_everything(ctx)
        return {"status": 201, "body": req.body}

    def threaded(req: Any, ctx: Any) -> Any:
        ctx.state.set("g", "k", 1)
        ctx.state.update("g", "n", INCREMENT)
        ctx.streams.chat.set("room", "1", "hello")
        ctx.enqueue("work", "message")
        return {"status": 201, "body": req.body}

    app = App([route(threaded if thread else handler), inbox.step], **where)
    async with open_runtime(app, observers=()) as rt, client(rt) as http:
        answer = await http.post("/go", json={"n": 1})
        assert await everything(rt) == DONE
        assert (answer.status_code, answer.json()) == (201, {"n": 1})
        await quiet(rt)
    assert inbox.got == ["message"]


async def test_a_request_whose_handler_raises_leaves_nothing(where: Where) -> None:
    inbox, notebook = Inbox(), Notebook()

    async def handler(req: Any, ctx: Any) -> Any:
        await do_everything(ctx)
        raise OSError("no luck")

    app = App([route(handler), inbox.step], **where)
    async with open_runtime(app, observers=[notebook]) as rt, client(rt) as http:
        await rt.state.set("g", "old", 0)
        answer = await http.post("/go")
        assert answer.status_code == 500
        await quiet(rt)
        assert await everything(rt) == BEFORE
    assert inbox.got == []
    assert [event.error for event in notebook.of(AskFailed)] == ["OSError: no luck"]


async def test_a_request_whose_handler_takes_too_long_leaves_nothing(
    where: Where, autojump_clock: Any
) -> None:
    async def handler(req: Any, ctx: Any) -> Any:
        await do_everything(ctx)
        await trio.sleep_forever()

    app = App([route(handler, timeout=5), Inbox().step], **where)
    async with open_runtime(app, observers=()) as rt, client(rt) as http:
        answer = await http.post("/go", timeout=None)
        assert answer.status_code == 504
        await trio.sleep(10)
        assert await everything(rt) == {}


async def test_requests_that_are_in_each_other_s_way_are_all_answered_and_all_count(
    where: Where,
) -> None:
    """Each with its own number, and its own request."""

    async def handler(req: Any, ctx: Any) -> Any:
        found = await ctx.state.get("g", "n") or 0
        await trio.lowlevel.checkpoint()
        await ctx.state.set("g", "n", found + 1)
        return {"status": 200, "body": [req.body.pop("n"), found + 1]}

    answers: list[Any] = []
    async with open_runtime(App([route(handler)], **where), observers=()) as rt, client(rt) as http:

        async def ask(number: int) -> None:
            answers.append((await http.post("/go", json={"n": number})).json())

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(ask, number)
        assert await rt.state.get("g", "n") == 20
    assert sorted(asked for asked, _ in answers) == list(range(20))
    assert sorted(counted for _, counted in answers) == list(range(1, 21))


async def test_a_request_that_another_has_answered_already_is_not_kept_twice(
    where: Where,
) -> None:
    """Of many requests with one key, one message comes."""
    inbox = Inbox()

    async def handler(req: Any, ctx: Any) -> Any:
        await ctx.enqueue("work", 1, key="k")
        return {"status": 202, "body": None}

    app = App([route(handler), inbox.step], **where)
    async with open_runtime(app, observers=()) as rt, client(rt) as http:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(http.post, "/go")
        await quiet(rt)
    assert inbox.got == [1]


# what follows


async def test_a_change_fires_its_trigger_when_it_is_kept_and_not_before(where: Where) -> None:
    """And never, if it is not."""
    told: list[Any] = []
    done, gate = trio.Event(), trio.Event()

    @step(state(group_id="g"), name="Watch")
    async def watch(change: Any, ctx: Any) -> None:
        told.append((change.item_id, change.old_value, change.new_value))

    async def act(ctx: Any) -> None:
        await ctx.state.set("g", "k", 1)
        await ctx.state.set("g", "k", 2)
        await ctx.state.set("g", "gone", 1)
        await ctx.state.delete("g", "gone")
        done.set()
        await gate.wait()
        if await ctx.state.get("switch", "k"):
            raise OSError("no luck")

    app = App([transactional(act, maxRetries=0), watch], **where)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("go")
        await done.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert told == []
        gate.set()
        await quiet(rt)
        expected = [("k", None, 1), ("k", 1, 2), ("gone", None, 1), ("gone", 1, None)]
        assert sorted(told, key=repr) == sorted(expected, key=repr)
        assert told.index(("k", None, 1)) < told.index(("k", 1, 2))
        told.clear()
        await rt.state.set("switch", "k", 1)
        await rt.enqueue("go")
        await quiet(rt)
        assert told == []


async def test_a_transactional_step_that_a_change_triggers_handles_each_change_once(
    where: Where,
) -> None:
    """Counting what it is told of, in one commit with its acknowledgement."""

    @step(state(group_id="orders"), name="Count", delivery="transactional")
    async def count(change: Any, ctx: Any) -> None:
        await ctx.state.update("counts", "all", INCREMENT)
        await ctx.state.set("last", change.item_id, change.new_value)

    async with open_runtime(App([count], **where), observers=()) as rt:
        async with trio.open_nursery() as nursery:
            for number in range(30):
                nursery.start_soon(rt.state.set, "orders", f"{number % 7}", number)
        await quiet(rt)
        assert await rt.state.get("counts", "all") == {"n": 30}
        assert await rt.state.list("last") == await rt.state.list("orders")


@pytest.mark.parametrize("calls", [False, True], ids=["returns", "calls"])
async def test_a_handler_in_a_thread_may_return_late_but_not_begin_anything_late(
    where: Where, mock_clock: trio.testing.MockClock, *, calls: bool
) -> None:
    """A thread cannot be stopped: one that returns has done its work, all of which is kept."""
    begun, gate = threading.Event(), threading.Event()

    @step(queue("go", config={"maxRetries": 0, "timeout": 5}), name="Go", delivery="transactional")
    def go(data: Any, ctx: Any) -> None:
        ctx.state.set("g", "k", 1)
        begun.set()
        gate.wait(20)
        if calls:
            ctx.state.set("g", "l", 1)

    async with open_runtime(App([go], **where), observers=()) as rt:
        await rt.enqueue("go")
        while not begun.is_set():
            await trio.lowlevel.checkpoint()
        mock_clock.jump(10)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        await quiet(rt)
        assert await everything(rt) == ({} if calls else {"state/g/k": 1})
        assert len(rt.dead_letters.list()) == calls


@pytest.mark.parametrize("call", ["set", "enqueue"])
async def test_a_handler_that_does_nothing_but_call_is_ended_at_its_bound(
    where: Where, autojump_clock: Any, call: str
) -> None:
    """Each call lets the others run, as it does in an immediate step."""
    calls = 0

    async def act(ctx: Any) -> None:
        nonlocal calls
        while calls < 10_000:
            calls += 1
            await (ctx.state.set("g", "k", 1) if call == "set" else ctx.enqueue("work", 1))
            if calls == 10:
                autojump_clock.jump(10)

    go = transactional(act, timeout=5, maxRetries=0)
    async with open_runtime(App([go, Inbox().step], **where), observers=()) as rt:
        await rt.enqueue("go")
        await trio.sleep(100)
        (letter,) = rt.dead_letters.list()
    assert letter.reason.startswith("failed once; last: TimedOut")
    assert calls < 20
