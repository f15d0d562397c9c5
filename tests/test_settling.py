"""How a delivery ends when the store cannot keep how it ended: it is tried again, and told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import trio

from motia_trio import App, open_runtime, queue, state, step
from motia_trio import runtime as runtime_module
from motia_trio.errors import StoreBroken
from motia_trio.events import (
    AskFailed,
    AttemptFailed,
    DeadLettered,
    StoreFailed,
    StoreRecovered,
    TransactionRepeated,
)
from motia_trio.store.memory import MemoryStore
from tests.support import Notebook


class Brittle(MemoryStore):
    """A store whose disk is full while it is ``broken``. It may be opened again."""

    def __init__(self, *, in_background: bool = True) -> None:
        super().__init__()
        self.in_background = in_background
        self.broken = False
        self.refused = 0

    def check(self) -> None:
        if self.broken:
            self.refused += 1
            raise StoreBroken("the disk is full")

    async def commit(self, work: Any, now: float) -> Any:
        self.check()
        return await super().commit(work, now)

    async def settle(self, delivery: Any, outcome: Any, now: float) -> None:
        await trio.lowlevel.cancel_shielded_checkpoint()
        self.check()
        await super().settle(delivery, outcome, now)

    def acknowledge(self, delivery: Any, then: Callable[[Exception | None], None]) -> bool:
        if not self.in_background:
            return False
        try:
            self.check()
        except StoreBroken as error:
            then(error)
            return True
        return super().acknowledge(delivery, then)

    async def lease(self, step: str, limit: int, now: float, lane: str = "queue") -> Any:
        self.check()
        return await super().lease(step, limit, now, lane)

    async def sweep(self, limit: int, now: float) -> Any:
        self.check()
        return await super().sweep(limit, now)


@pytest.fixture(params=[True, False], ids=["background", "awaited"])
def brittle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Brittle:
    """The store of every runtime of the test, which acknowledges in one way or the other."""
    store = Brittle(in_background=request.param)
    monkeypatch.setattr(runtime_module, "store_at", lambda *_, **__: store)
    return store


def told_once(notebook: Notebook, *, recovered: bool = True) -> None:
    """The observer knows of one failure and of its end, once each."""
    (failed,) = notebook.of(StoreFailed)
    assert failed.step == "Work"
    assert failed.error == "StoreBroken: the disk is full"
    found = notebook.of(StoreRecovered)
    assert [event.message_id for event in found] == ([failed.message_id] if recovered else [])


async def test_who_publishes_or_writes_is_told_and_nothing_is_kept(brittle: Brittle) -> None:
    """In the program and in a handler; the same call may succeed later."""
    got: list[Any] = []
    raised: list[str] = []

    @step(queue("work"), state(), name="Work")
    async def work(data: Any) -> None:
        got.append(data)

    async def refuse(call: Callable[[], Awaitable[Any]]) -> None:
        with pytest.raises(StoreBroken, match="the disk is full"):
            await call()
        raised.append("yes")

    @step(queue("go"), name="Go")
    async def go(data: Any, ctx: Any) -> None:
        brittle.broken = True
        await refuse(lambda: ctx.enqueue("work", 1))
        await refuse(lambda: ctx.enqueue([{"topic": "work", "data": n} for n in (1, 2)]))
        await refuse(lambda: ctx.state.set("g", "k", 1))
        brittle.broken = False
        await ctx.enqueue("work", "later")

    async with open_runtime(App([work, go]), observers=()) as rt:
        await rt.enqueue("go")
        await rt.quiesce()
        brittle.broken = True
        await refuse(lambda: rt.enqueue("work", 1))
        await refuse(lambda: rt.state.update("g", "k", {"type": "increment"}))
        brittle.broken = False
        assert await rt.state.list_groups() == []
        await rt.enqueue("work", "after")
        await rt.quiesce()
        assert rt.tree()["Work"].mailbox.used == 0
    assert len(raised) == 5
    assert got == ["later", "after"]


async def test_a_failed_call_in_a_handler_is_a_failed_attempt(
    brittle: Brittle, autojump_clock: Any
) -> None:
    """Unless it is caught: then the next attempt makes it."""
    attempts = 0
    got: list[Any] = []

    @step(queue("go"), name="Work")
    async def go(data: Any, ctx: Any) -> None:
        nonlocal attempts
        attempts += 1
        brittle.broken = attempts == 1
        try:
            await ctx.enqueue("next", attempts)
        finally:
            brittle.broken = False

    @step(queue("next"), name="Next")
    async def following(data: Any) -> None:
        got.append(data)

    notebook = Notebook()
    async with open_runtime(App([go, following]), observers=[notebook]) as rt:
        await rt.enqueue("go")
        await trio.sleep(60)
    assert got == [2]
    assert [event.error for event in notebook.of(AttemptFailed)] == [
        "StoreBroken: the disk is full"
    ]
    assert not notebook.of(StoreFailed)


async def test_an_acknowledgement_is_tried_again_until_it_is_kept(
    brittle: Brittle, autojump_clock: Any
) -> None:
    """The handler is not called again; the observer is told at the first failure and at the end."""
    got: list[Any] = []

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        got.append(data)
        brittle.broken = True

    notebook = Notebook()
    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work", 1)
        await trio.sleep(60)
        told_once(notebook, recovered=False)
        assert brittle.refused > 10
        assert rt.tree()["Work"].deliveries.leased == 1
        brittle.broken = False
        await trio.sleep(6)
        told_once(notebook)
        assert notebook.of(StoreRecovered)[0].seconds == pytest.approx(60, abs=6)
        assert rt.tree()["Work"].deliveries.leased == 0
        await rt.quiesce()
    assert got == [1]


@pytest.mark.parametrize("retries", [0, 1], ids=["dead", "retried"])
@pytest.mark.parametrize("way", ["error", "time"])
async def test_how_an_attempt_failed_is_tried_again_until_it_is_kept(
    brittle: Brittle, autojump_clock: Any, retries: int, way: str
) -> None:
    """Also of a handler that was cancelled at its bound: nothing is left in nobody's hands."""
    attempts = 0

    @step(queue("work", config={"maxRetries": retries, "timeout": 5}), name="Work")
    async def work(data: Any) -> None:
        nonlocal attempts
        attempts += 1
        brittle.broken = attempts == 1
        if way == "time":
            await trio.sleep_forever()
        raise OSError("no luck")

    notebook = Notebook()
    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work", 1)
        await trio.sleep(30)
        told_once(notebook, recovered=False)
        assert not notebook.of(DeadLettered)
        brittle.broken = False
        await trio.sleep(30)
        told_once(notebook)
        (letter,) = rt.dead_letters.list()
        assert len(letter.failures) == attempts == retries + 1
        assert len(notebook.of(DeadLettered)) == 1
        assert rt.tree().in_flight == 0
        await rt.quiesce()


@pytest.mark.parametrize("what", ["acknowledgement", "failure", "timeout", "transaction"])
async def test_a_stop_does_not_wait_for_a_store_for_ever(
    brittle: Brittle, autojump_clock: Any, what: str
) -> None:
    """What was not kept comes again when the store is opened the next time."""
    got: list[Any] = []
    delivery: Any = "transactional" if what == "transaction" else "immediate"

    @step(queue("work", config={"timeout": 5}), name="Work", delivery=delivery)
    async def work(data: Any, ctx: Any) -> None:
        got.append(data)
        if len(got) > 1:
            return
        brittle.broken = True
        if what == "failure":
            raise OSError("no luck")
        if what == "timeout":
            await trio.sleep_forever()

    app = App([work], shutdown_timeout=10)
    notebook = Notebook()
    async with open_runtime(app, observers=[notebook]) as rt:
        await rt.enqueue("work", 1)
        await trio.sleep(20)
        left = trio.current_time()
    assert trio.current_time() - left <= 11
    told_once(notebook, recovered=False)
    brittle.broken = False
    async with open_runtime(app, observers=()) as rt:
        with trio.fail_after(20):
            await rt.quiesce()
        assert rt.tree()["Work"].deliveries.leased == 0
    assert got == [1, 1]


async def test_a_cancelled_runtime_does_not_wait_for_a_store(
    brittle: Brittle, autojump_clock: Any
) -> None:
    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        brittle.broken = True

    with trio.fail_after(30), trio.move_on_after(10):
        async with open_runtime(App([work]), observers=()) as rt:
            await rt.enqueue("work", 1)
            await trio.sleep_forever()


@asynccontextmanager
async def ends_itself(ctx: Any) -> AsyncIterator[None]:
    """A lifespan that ends after ten seconds, which is a crash of its actor."""
    with trio.move_on_after(10):
        yield


async def test_how_an_attempt_ended_is_kept_though_its_actor_crashes_meanwhile(
    brittle: Brittle, autojump_clock: Any
) -> None:
    """It is left in nobody's hands."""
    got: list[Any] = []

    @step(queue("work", config={"maxRetries": 0}), name="Work", lifespan=ends_itself)
    async def work(data: Any) -> None:
        got.append(data)
        brittle.broken = True
        raise OSError("no luck")

    notebook = Notebook()
    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work", 1)
        await trio.sleep(15)
        assert rt.tree()["Work"].crashes == 1
        brittle.broken = False
        await trio.sleep(6)
        told_once(notebook)
        (letter,) = rt.dead_letters.list()
        assert letter.reason == "failed once; last: OSError: no luck"
        await rt.quiesce()
    assert got == [1]


async def test_many_acknowledgements_that_cannot_be_kept_are_bounded(
    brittle: Brittle, autojump_clock: Any
) -> None:
    """What handlers have done and the store has not kept stays in memory: it must not grow."""
    got: list[Any] = []
    gate = trio.Event()

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        await gate.wait()
        got.append(data)
        brittle.broken = True

    notebook = Notebook()
    async with open_runtime(App([work], mailbox=1000), observers=[notebook]) as rt:
        for number in range(900):
            await rt.enqueue("work", number)
        gate.set()
        await trio.sleep(60)
        assert len(got) < 300
        brittle.broken = False

        async def mend() -> None:
            while True:
                await trio.sleep(1)
                brittle.broken = False

        async with trio.open_nursery() as nursery:
            nursery.start_soon(mend)
            await trio.sleep(3000)
            nursery.cancel_scope.cancel()
        brittle.broken = False
        await trio.sleep(60)
        await rt.quiesce()
    assert sorted(got) == list(range(900))
    assert len(notebook.of(StoreFailed)) == len(notebook.of(StoreRecovered))


async def test_a_transaction_is_tried_again_and_its_handler_is_not(
    brittle: Brittle, autojump_clock: Any
) -> None:
    runs: list[Any] = []

    @step(queue("work"), name="Work", delivery="transactional")
    async def work(data: Any, ctx: Any) -> None:
        runs.append(await ctx.state.get("g", "k"))
        await ctx.state.set("g", "k", 1)
        await ctx.enqueue("next", 1)
        brittle.broken = True

    @step(queue("next"), name="Next")
    async def following(data: Any) -> None:
        runs.append("next")

    notebook = Notebook()
    async with open_runtime(App([work, following]), observers=[notebook]) as rt:
        await rt.enqueue("work", 1)
        await trio.sleep(30)
        assert await rt.state.get("g", "k") is None
        brittle.broken = False
        await trio.sleep(10)
        assert await rt.state.get("g", "k") == 1
        told_once(notebook)
    assert runs == [None, "next"]


async def test_a_transaction_that_another_overtook_meanwhile_is_run_again(
    brittle: Brittle, autojump_clock: Any
) -> None:
    runs: list[Any] = []

    @step(queue("work"), name="Work", delivery="transactional")
    async def work(data: Any, ctx: Any) -> None:
        runs.append(await ctx.state.get("g", "k"))
        await ctx.state.set("g", "k", (runs[-1] or 0) + 1)
        brittle.broken = len(runs) == 1

    notebook = Notebook()
    async with open_runtime(App([work]), observers=[notebook]) as rt:
        await rt.enqueue("work", 1)
        await trio.sleep(30)
        brittle.broken = False
        await rt.state.set("g", "k", 10)
        await trio.sleep(10)
        assert await rt.state.get("g", "k") == 11
        assert rt.tree().in_flight == 0
        await rt.quiesce()
    assert runs == [None, 10]
    assert len(notebook.of(TransactionRepeated)) == 1


async def test_a_request_whose_transaction_cannot_be_kept_is_answered_500(brittle: Brittle) -> None:
    """Who asks can ask again: nothing of it is there."""

    async def handler(req: Any, ctx: Any) -> Any:
        await ctx.state.set("g", "k", 1)
        brittle.broken = True
        return {"status": 200, "body": None}

    trigger = {"type": "http", "path": "/go", "method": "POST"}
    go = step({"name": "Work", "triggers": [trigger], "delivery": "transactional"}, handler)
    notebook = Notebook()
    async with open_runtime(App([go]), observers=[notebook]) as rt:
        transport = httpx.ASGITransport(rt.asgi)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            assert (await client.post("/go")).status_code == 500
        brittle.broken = False
        assert await rt.state.list_groups() == []
        assert rt.tree().in_flight == 0
    assert [event.error for event in notebook.of(AskFailed)] == ["StoreBroken: the disk is full"]


async def test_what_waits_begins_when_the_store_can_be_asked_again(
    brittle: Brittle, autojump_clock: Any
) -> None:
    got: list[Any] = []

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        got.append(data)

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.enqueue("work", 1, delay=10)
        brittle.broken = True
        await trio.sleep(30)
        assert got == []
        assert brittle.refused > 5
        brittle.broken = False
        await trio.sleep(2)
    assert got == [1]


async def test_what_expires_is_swept_when_the_store_can_be_asked_again(
    brittle: Brittle, autojump_clock: Any
) -> None:
    notebook = Notebook()
    told: list[Any] = []

    @step(state(), name="Work")
    async def watch(change: Any) -> None:
        told.append((change.old_value, change.new_value))

    async with open_runtime(App([watch]), observers=[notebook]) as rt:
        await rt.state.set("g", "k", 1, ttl=10)
        await rt.quiesce()
        brittle.broken = True
        await trio.sleep(30)
        assert await rt.state.get("g", "k") is None
        assert {event.step for event in notebook.of(StoreFailed)} == {None}
        brittle.broken = False
        await trio.sleep(6)
        await rt.quiesce()
        assert told == [(None, 1), (1, None)]


async def test_what_is_cancelled_in_a_mailbox_is_dropped_once_that_can_be_kept(
    brittle: Brittle, autojump_clock: Any
) -> None:
    got: list[Any] = []
    gate = trio.Event()

    @step(queue("work", config={"concurrency": 1}), name="Work")
    async def work(data: Any) -> None:
        got.append(data)
        await gate.wait()

    async with open_runtime(App([work]), observers=()) as rt:
        await rt.enqueue("work", 1)
        second = await rt.enqueue("work", 2)
        await trio.testing.wait_all_tasks_blocked()
        dropped = await rt.cancel(second)
        assert dropped == 1
        gate.set()
        await rt.quiesce()
        assert rt.tree()["Work"].deliveries.leased == 0
    assert got == [1]
