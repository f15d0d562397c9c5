"""What was found by attacking the durable store: each is the way in which it was found."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import trio

from motia_trio import App, Closed, StoreLocked, open_runtime, queue, step
from motia_trio.events import AppWarned, DeadLettered
from motia_trio.messages import Message, Route
from motia_trio.store import Work
from motia_trio.store.sqlite import SqliteStore
from tests.support import Notebook

STORES = ["memory:", "sqlite:///store.db"]
FILE = "sqlite:///store.db"


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("delivery", ["immediate", "transactional"])
async def test_what_an_update_was_given_may_be_changed_afterwards(
    tmp_path: Path, store: str, delivery: Any
) -> None:
    @step(queue("work"), name="Work", delivery=delivery)
    async def work(data: Any, ctx: Any) -> None:
        row: dict[str, Any] = {}
        for number in range(3):
            row["n"] = number
            await ctx.state.update("g", "k", {"type": "append", "path": "rows", "value": row})
        row["self"] = row

    async with open_runtime(App([work], root=tmp_path, store=store), observers=()) as rt:
        await rt.enqueue("work")
        with trio.fail_after(5):
            await rt.quiesce()
        assert await rt.state.get("g", "k") == {"rows": [{"n": 0}, {"n": 1}, {"n": 2}]}


async def test_a_text_that_cannot_be_written_fails_its_own_call_alone(
    tmp_path: Path, store: str
) -> None:
    @step(queue("work", config={"maxRetries": 0}), name="Work")
    async def work(data: Any, ctx: Any) -> None:
        if data == "bad":
            raise ValueError("a name that is no text: \ud800")

    async with open_runtime(App([work], root=tmp_path, store=store), observers=()) as rt:
        refused = 0

        async def publish(trace_id: Any) -> None:
            nonlocal refused
            try:
                await rt.enqueue("work", "good", trace_id=trace_id)
            except ValueError:
                refused += 1

        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(publish, "\ud800" if number % 5 == 0 else "0" * 32)
            nursery.start_soon(rt.enqueue, "work", "bad")
        with trio.fail_after(5):
            await rt.quiesce()
        assert refused == 4
        (letter,) = rt.dead_letters.list()
        assert "\\ud800" in letter.reason


async def test_a_transaction_keeps_what_its_handler_was_told_whatever_time_it_is(
    tmp_path: Path, store: str, autojump_clock: Any
) -> None:
    told: list[Any] = []

    @step(queue("work"), name="Work", delivery="transactional")
    async def work(data: Any, ctx: Any) -> None:
        await ctx.state.set("g", "k", {"n": 1}, ttl=1)
        result = await ctx.state.update("g", "k", {"type": "increment", "path": "n"})
        told.append(result["new_value"])
        await trio.sleep(5)

    async with open_runtime(App([work], root=tmp_path, store=store), observers=()) as rt:
        await rt.enqueue("work")
        await trio.sleep(10)
        assert told == [{"n": 2}]
        assert rt.tree()["Work"].deliveries.leased == 0
        assert await rt.state.get("g", "k") is None  # its time was over before it was kept


async def test_the_context_of_a_transaction_that_is_over_is_closed(
    tmp_path: Path, store: str
) -> None:
    kept: list[Any] = []

    @step(queue("work"), name="Work", delivery="transactional", enqueues=["work"])
    async def work(data: Any, ctx: Any) -> None:
        kept.append(ctx)

    async with open_runtime(App([work], root=tmp_path, store=store), observers=()) as rt:
        await rt.enqueue("work")
        await rt.quiesce()
        with pytest.raises(Closed, match="step 'Work': its handler has ended"):
            await kept[0].enqueue("work")
        with pytest.raises(Closed, match="its transaction"):
            await kept[0].state.set("g", "k", 1)


async def test_a_file_has_one_lock_by_whatever_name_it_is_called(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "store.db")
    async with SqliteStore(tmp_path / "store.db").opened(0.0):
        with pytest.raises(StoreLocked):
            async with SqliteStore(tmp_path / "link.db").opened(0.0):
                pass  # never


async def test_a_clock_that_is_set_back_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []
    go_on = trio.Event()

    @step(queue("work", config={"concurrency": 1}), name="Work")
    async def work(data: Any) -> None:
        await go_on.wait()
        done.append(data)

    async with open_runtime(App([work], root=tmp_path, store=FILE, mailbox=1), observers=()) as rt:
        for number in range(4):
            await rt.enqueue("work", number)
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() - 3600)
        await rt.enqueue("work", 4)
        go_on.set()
        with trio.fail_after(5):
            await rt.quiesce()
    assert done == [0, 1, 2, 3, 4]


async def test_a_clock_that_is_set_back_over_a_restart_turns_no_group_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[Any] = []

    @step(queue("work", infrastructure={"queue": {"type": "fifo"}}), name="Work")
    async def work(data: Any) -> None:
        done.append(data)

    app = App([work], root=tmp_path, store=FILE)
    async with open_runtime(app, idle=True, observers=()) as rt:
        await rt.enqueue("work", "first", group="g")
        await rt.enqueue("work", "second", group="g")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3600)
    async with open_runtime(app, observers=()) as rt:
        await rt.enqueue("work", "third", group="g")
        with trio.fail_after(5):
            await rt.quiesce()
    assert done == ["first", "second", "third"]


async def test_a_head_that_waits_for_what_is_on_its_way_is_asked_for_again_and_not_all_the_time(
    tmp_path: Path,
) -> None:
    """Here behind what takes as long as a vacuum does."""
    done: list[Any] = []

    @step(
        queue("work", config={"type": "fifo", "backoffType": "fixed", "backoffDelayMs": 300}),
        name="Work",
    )
    async def work(data: Any) -> None:
        done.append(data)
        if len(done) == 1:
            raise OSError("no luck")

    async with open_runtime(App([work], root=tmp_path, store=FILE), observers=()) as rt:
        agenda, rounds = rt.store.agenda, 0

        def count(now: float) -> Any:
            nonlocal rounds
            rounds += 1
            return agenda(now)

        rt.store.agenda = count  # type: ignore[method-assign]
        await rt.enqueue("work", "head", group="g")
        while not done:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert isinstance(rt.store, SqliteStore)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(rt.store.alone, lambda _: time.sleep(0.6))
            await trio.testing.wait_all_tasks_blocked(0.01)
            nursery.start_soon(lambda: rt.enqueue("work", "late", group="g", delay=1000))
        with trio.fail_after(5):
            while len(done) < 2:
                await trio.testing.wait_all_tasks_blocked(0.01)
    assert done == ["head", "head"]
    assert rounds < 200


async def test_quiesce_does_not_wait_for_a_step_that_is_not_there(tmp_path: Path) -> None:
    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        """Not loaded the second time."""

    async with open_runtime(App([work], root=tmp_path, store=FILE), idle=True) as rt:
        await rt.enqueue("work")
    async with open_runtime(App([], root=tmp_path, store=FILE), observers=()) as rt:
        with trio.fail_after(5):
            await rt.quiesce()


async def test_what_a_dead_process_had_in_hand_is_told_at_the_start(tmp_path: Path) -> None:
    notebook = Notebook()

    @step(queue("work"), name="Work")
    async def work(data: Any) -> None:
        """Handle it."""

    async def die(deaths: int) -> None:
        """Have a message in hand when the process ends, as far as the file can tell."""
        hands = tmp_path / "store.db.hands"
        store = SqliteStore(tmp_path / "store.db")
        for _ in range(deaths):
            async with store.opened(time.time()):
                for delivery in (await store.lease("Work", 10, time.time())).deliveries:
                    store.begin(delivery)
                noted = hands.read_bytes()
            hands.write_bytes(noted)

    store = SqliteStore(tmp_path / "store.db")
    async with store.opened(time.time()):
        message = Message(store.new_id(time.time()), "work", b"1", "0" * 32, time.time())
        await store.commit(Work([(message, [Route("Work", 0, time.time())])]), time.time())
    await die(1)
    app = App([work], root=tmp_path, store=FILE)
    async with open_runtime(app, observers=[notebook], idle=True):
        (warning,) = notebook.of(AppWarned)
        assert "the process died with 1 message in hand" in warning.message
    await die(2)
    async with open_runtime(app, observers=[notebook]) as rt:
        (told,) = notebook.of(DeadLettered)
        assert (told.step, told.message_id) == ("Work", message.id)
        assert "died 3 times" in told.reason
        assert rt.dead_letters.list()[0].message.id == message.id
