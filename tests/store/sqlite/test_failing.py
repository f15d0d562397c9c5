"""A disk that is full or broken: nothing half-written, nothing wrongly remembered, and on it goes."""

# the writer is made to fail from within
# ruff: noqa: SLF001

from __future__ import annotations

import itertools
import sqlite3
import threading
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from motia_trio.errors import StoreBroken
from motia_trio.messages import Ack, Bury, GiveBack, Retry
from motia_trio.store import Counts, Place, Put, Seen, Update, Window, parse_ops
from motia_trio.store.sqlite import SqliteStore
from motia_trio.testing.stores.probe import NOW, Probe, failure, names

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from motia_trio.messages import Delivery, Outcome

LARGE = "x" * 100_000


@pytest.fixture
async def probe(tmp_path: Path) -> AsyncIterator[Probe]:
    store = SqliteStore(tmp_path / "store.db", synchronous="normal")
    async with store.opened(NOW):
        yield Probe(store)


def sqlite_of(probe: Probe) -> SqliteStore:
    assert isinstance(probe.store, SqliteStore)
    return probe.store


async def full(probe: Probe) -> None:
    """Let the disk be full: the file cannot grow."""

    def limit(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")

    await sqlite_of(probe).alone(limit)


async def room(probe: Probe) -> None:
    """Let there be room again."""
    await sqlite_of(probe).alone(
        lambda connection: connection.execute("PRAGMA max_page_count = 1000000").fetchone()
    )


@asynccontextmanager
async def held_up(probe: Probe, *, broken: bool) -> AsyncIterator[None]:
    """Let what is asked for meanwhile wait, and then be written as one; or, if broken, fail."""
    go, waiting = threading.Event(), trio.Event()
    token = trio.lowlevel.current_trio_token()

    def wait(connection: sqlite3.Connection) -> None:
        token.run_sync_soon(waiting.set)
        go.wait()
        connection.execute(f"PRAGMA query_only = {int(broken)}")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sqlite_of(probe).alone, wait)
        await waiting.wait()
        try:
            yield
        finally:
            go.set()


async def mended(probe: Probe) -> None:
    """Let what is broken be whole again."""
    await sqlite_of(probe).alone(lambda connection: connection.execute("PRAGMA query_only = 0"))


# one call


async def test_a_commit_on_a_full_disk_keeps_nothing_and_can_be_made_when_there_is_room(
    probe: Probe,
) -> None:
    held = await probe.take("held")
    await probe.put("k", "old")
    version = probe.version("k")
    await full(probe)
    message = probe.message(LARGE, key="key")
    commit = partial(
        probe.commit,
        (message, [probe.to(take=True), probe.to("B")]),
        writes=[Put(Place("", "g", "k"), b'"new"')],
        seen=[Seen("", "g", "k", version)],
        done=held,
    )
    for _ in range(2):
        with pytest.raises(StoreBroken, match="the disk is full"):
            await commit()
        assert (probe.counts(), probe.counts("B")) == (Counts(leased=1), Counts())
        assert (probe.read("k"), probe.version("k")) == ("old", version)
        assert probe.store.agenda(probe.now).due == set()
        assert await probe.lease() == []
    await room(probe)
    committed = await commit()
    assert names(committed.taken) == [LARGE]
    assert (probe.counts(), probe.counts("B")) == (Counts(leased=1), Counts(waiting=1))
    assert probe.read("k") == "new"
    with pytest.raises(KeyError):
        await probe.ack(held)


async def test_what_takes_several_statements_is_kept_whole_or_not_at_all(
    probe: Probe, tmp_path: Path
) -> None:
    await full(probe)
    many = [(probe.message(str(n) * 100), [probe.to()]) for n in range(5000)]
    with pytest.raises(StoreBroken, match="the disk is full"):
        await probe.commit(*many)
    assert probe.counts() == Counts()
    assert await probe.lease() == []
    with sqlite3.connect(tmp_path / "store.db") as other:
        assert other.execute("SELECT count(*) FROM message").fetchone() == (0,)
    other.close()
    await room(probe)
    await probe.commit(*many)
    assert probe.counts() == Counts(waiting=5000)


async def test_what_needs_no_room_is_kept_on_a_full_disk(probe: Probe) -> None:
    deliveries = await probe.keep(*(f"{n}" * 2000 for n in range(20)), take=True)
    await full(probe)
    await probe.ack(*deliveries)
    assert probe.counts() == Counts()


async def test_who_did_not_wait_is_told_that_it_was_not_kept(probe: Probe) -> None:
    delivery = await probe.take()
    told: list[Exception | None] = []
    ended = trio.Event()

    def then(error: Exception | None) -> None:
        told.append(error)
        ended.set()

    async with held_up(probe, broken=True):
        assert probe.store.acknowledge(delivery, then)
        with pytest.raises(KeyError):
            await probe.ack(delivery)
    await ended.wait()
    assert [type(error) for error in told] == [StoreBroken]
    with pytest.raises(StoreBroken):
        await probe.ack(delivery)
    await mended(probe)
    await probe.ack(delivery)
    assert probe.counts() == Counts()


# many calls in one batch, and those that were planned on top of it


async def test_everyone_in_a_batch_that_fails_is_told_and_nothing_of_it_is_remembered(
    probe: Probe,
) -> None:
    store = probe.store
    ends: list[Outcome | None] = [Ack(), Retry(probe.now + 9, failure(1)), Bury("why"), None]
    deliveries = await probe.keep(*"abcd", take=True)
    waits = probe.message("waits")
    await probe.commit((waits, [probe.to("W")]))
    letters = [await probe.bury("redriven", step="D"), await probe.bury("discarded", step="D")]
    await probe.put("k", 1)
    await probe.put("mortal", 1, ttl=0)
    before = (dict(store.counts(probe.now)), probe.items(), probe.version("k"))
    failed: list[object] = []

    def retry_each() -> list[Callable[[], Awaitable[object]]]:
        settled = [
            partial(probe.settle, delivery, end) if end else partial(probe.commit, done=delivery)
            for delivery, end in zip(deliveries, ends, strict=True)
        ]
        return [
            *settled,
            partial(probe.take, "taken", step="T", key="key"),
            partial(probe.keep, "behind", step="T", fifo="g"),
            partial(probe.put, "k", 2),
            partial(probe.put, "new", 3, group="h"),
            partial(store.cancel, waits.id, probe.now),
            partial(store.redrive, letters[:1], probe.now),
            partial(store.discard, letters[1:]),
            partial(store.sweep, 10, probe.now),
        ]

    async def expect_failure(call: Callable[[], Awaitable[object]]) -> None:
        with pytest.raises(StoreBroken, match="read-only"):
            await call()
        failed.append(call)

    async with trio.open_nursery() as nursery:
        async with held_up(probe, broken=True):
            for call in retry_each():
                nursery.start_soon(expect_failure, call)
            await trio.testing.wait_all_tasks_blocked()
            assert probe.read("k") == 1
            told = store.counts(probe.now)
            assert {step: told[step] for step in "ADW"} == {step: before[0][step] for step in "ADW"}
            assert told["T"] == Counts()
    assert len(failed) == len(retry_each())
    told = {step: each for step, each in store.counts(probe.now).items() if each != Counts()}
    assert (told, probe.items(), probe.version("k")) == before
    assert probe.groups() == ["g"]
    assert [letter.id for letter in store.dead_letters()] == letters
    assert store.agenda(probe.now).due == {Window("W")}
    await mended(probe)
    for call in retry_each():
        await call()
    assert store.counts(probe.now) == {
        "A": Counts(delayed=1, dead=1),
        "W": Counts(),
        "D": Counts(waiting=1),
        "T": Counts(waiting=1, leased=1),
    }
    assert (probe.items(), probe.items("h")) == ({"k": 2}, {"new": 3})
    assert [letter.message.data for letter in store.dead_letters()] == ["c"]


async def test_what_was_planned_on_top_of_a_failing_commit_fails_too(probe: Probe) -> None:
    await probe.put("k", 1)
    errors: list[str] = []

    async def add(value: int) -> None:
        try:
            await probe.put("k", value)
        except StoreBroken as error:
            errors.append(str(error))

    async def fail() -> None:
        with pytest.raises(StoreBroken, match="on purpose"):
            await sqlite_of(probe).alone(_fail)

    async with trio.open_nursery() as nursery:
        async with held_up(probe, broken=False):
            for call in (partial(add, 2), fail, partial(add, 3)):
                nursery.start_soon(call)
                await trio.testing.wait_all_tasks_blocked()
    assert (probe.read("k"), errors) == (2, ["on purpose"])
    await probe.put("k", 4)
    assert probe.read("k") == 4


async def test_who_hears_of_a_failure_relies_on_nothing_that_will_fail_for_it(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was planned before the news came fails later, and must not be built upon."""
    await probe.put("k", {"n": 1})
    await sqlite_of(probe).alone(lambda connection: connection.execute("PRAGMA query_only = 1"))
    writer = sqlite_of(probe)._writer
    commit, count = writer._commit, itertools.count()
    fail, failed, go = threading.Event(), threading.Event(), threading.Event()

    def commit_when_told(batch: Any) -> None:
        gate = (fail, go)[min(next(count), 1)]
        assert gate.wait(30)
        commit(batch)
        writer._connection.execute("PRAGMA query_only = 0")
        failed.set()

    monkeypatch.setattr(writer, "_commit", commit_when_told)
    increment = Update(Place("", "g", "k"), parse_ops({"type": "increment", "path": "n"}), 100)

    async def fail_and_increment() -> None:
        with pytest.raises(StoreBroken):
            await probe.put("other", 1)
        nursery.start_soon(partial(probe.commit, writes=[increment]))
        nursery.start_soon(partial(probe.keep, "kept", key="key"))
        await trio.testing.wait_all_tasks_blocked()
        go.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_and_increment)
        await trio.testing.wait_all_tasks_blocked()
        fail.set()
        assert failed.wait(30)  # and the Trio thread has not heard of it yet
        message = probe.message("lost", key="key")
        with pytest.raises(StoreBroken):
            await probe.commit(
                (message, [probe.to()]), writes=[Put(Place("", "g", "k"), b'{"n":100}')]
            )
    assert probe.items() == {"k": {"n": 2}}
    assert names(await probe.lease()) == ["kept"]


def _fail(_: sqlite3.Connection) -> None:
    raise sqlite3.OperationalError("on purpose")


async def test_the_words_of_one_failure_do_not_fail_the_others(probe: Probe) -> None:
    first, second = await probe.keep("a", "b", take=True)
    async with trio.open_nursery() as nursery:
        async with held_up(probe, broken=False):
            words = Retry(probe.now, failure(1, "caf\udce9"))
            nursery.start_soon(probe.settle, first, words)
            nursery.start_soon(probe.ack, second)
            await trio.testing.wait_all_tasks_blocked()
    assert probe.counts() == Counts(waiting=1)


# what is on its way


async def test_a_commit_that_is_on_its_way_is_not_told_of(probe: Probe) -> None:
    await probe.put("k", 1)
    async with trio.open_nursery() as nursery:
        async with held_up(probe, broken=False):
            nursery.start_soon(partial(probe.take, "m"))
            nursery.start_soon(partial(probe.put, "k", 2))
            await trio.testing.wait_all_tasks_blocked()
            assert probe.store.counts(probe.now).get("A", Counts()) == Counts()
            assert (probe.read("k"), probe.items()) == (1, {"k": 1})
    assert probe.counts() == Counts(leased=1)
    assert (probe.read("k"), probe.items()) == (2, {"k": 2})


async def test_two_of_a_group_are_not_leased_while_one_is_on_its_way_before_the_other(
    probe: Probe,
) -> None:
    """The head that is due next gives way to what was asked for just before."""
    await probe.keep("second", fifo="g", after=10)
    probe.now += 9
    leased: list[Delivery] = []
    async with trio.open_nursery() as nursery:
        async with held_up(probe, broken=False):
            nursery.start_soon(partial(probe.keep, "first", fifo="g"))
            await trio.testing.wait_all_tasks_blocked()
            probe.now += 1
            leased += await probe.lease()
    leased += await probe.lease()
    assert names(leased) == ["first"]
    await probe.ack(*leased)
    assert names(await probe.lease()) == ["second"]


async def test_nothing_is_taken_past_what_is_on_its_way(probe: Probe) -> None:
    taken: list[Delivery] = []

    async def take(name: str, **fields: Any) -> None:
        taken.extend(await probe.keep(name, take=True, **fields))

    letter = await probe.bury("dead", step="R")
    async with trio.open_nursery() as nursery:
        async with held_up(probe, broken=False):
            nursery.start_soon(partial(probe.keep, "waits"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(take, "too late")
            nursery.start_soon(partial(take, "first", fifo="g", step="G"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(partial(take, "second", fifo="g", step="G"))
            nursery.start_soon(probe.store.redrive, [letter], probe.now)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(partial(take, "after the redriven", step="R"))
            await trio.testing.wait_all_tasks_blocked()
    assert names(taken) == ["first"]
    assert names(await probe.lease()) == ["waits", "too late"]
    assert names(await probe.lease(step="R")) == ["dead", "after the redriven"]


def test_giving_back_needs_no_disk(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "store.db")
        async with store.opened(NOW):
            probe = Probe(store)
            delivery = await probe.take()
            async with held_up(probe, broken=True):
                await probe.settle(delivery, GiveBack())
            assert probe.counts() == Counts(waiting=1)

    trio.run(main)
