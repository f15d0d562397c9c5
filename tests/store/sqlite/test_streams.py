"""Streams in a file: what is on its way, what fails, and what an older file has."""

# the writer is made to fail from within
# ruff: noqa: SLF001

from __future__ import annotations

import itertools
import queue
import sqlite3
import threading
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from motia_trio.errors import Closed, StoreBroken
from motia_trio.store import Place, Put, Remove
from motia_trio.store.sqlite import SqliteStore
from motia_trio.store.sqlite.file import migrate
from motia_trio.store.sqlite.schema import MIGRATIONS
from motia_trio.testing.stores.probe import NOW, Probe
from tests.store.sqlite.test_failing import full, held_up, mended, room

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from motia_trio.store import Change, Snapshot
    from motia_trio.store.sqlite.writer import Writer

LARGE = "x" * 100_000


@pytest.fixture
async def probe(tmp_path: Path) -> AsyncIterator[Probe]:
    heard: list[Sequence[Change]] = []
    store = SqliteStore(tmp_path / "store.db", synchronous="normal")
    async with store.opened(NOW, follow=heard.append) as opened:
        yield Probe(store, NOW, opened, heard)


def keys(probe: Probe) -> list[str]:
    return [*probe.items(space="chat")]


def snapshot(probe: Probe, since: int | None = None) -> Snapshot:
    return probe.store.snapshot("chat", "g", None, probe.now, since)


def heard_last(probe: Probe) -> int:
    return probe.heard[-1][-1].seq


def store_of(probe: Probe) -> SqliteStore:
    assert isinstance(probe.store, SqliteStore)
    return probe.store


def writer_of(probe: Probe) -> Writer:
    return store_of(probe)._writer


class News:
    """What the writer has to say to the Trio thread, held back until it is let :meth:`come`."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()

    def run_sync_soon(self, call: Callable[..., object], *args: object) -> None:
        self._calls.put(partial(call, *args))

    def come(self, enough: Callable[[], bool]) -> None:
        while not enough():
            self._calls.get(timeout=30)()


def until_written(probe: Probe, seq: int) -> Snapshot:
    """Wait until the file is further than ``seq``."""
    end = time.monotonic() + 30
    while (found := snapshot(probe)).seq == seq:
        assert time.monotonic() < end
        time.sleep(0.001)
    return found


async def test_a_snapshot_is_of_the_file_which_may_be_ahead_of_what_is_told(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    await probe.put("a", 1, space="chat")
    before = snapshot(probe)
    await probe.put("b", 2, space="chat")
    heard, told = list(probe.heard), heard_last(probe)
    news = News()
    monkeypatch.setattr(writer_of(probe), "_token", news)
    async with trio.open_nursery() as nursery:
        for call in (
            partial(probe.put, "c", 4, space="chat"),
            partial(probe.remove, "a", space="chat"),
        ):
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
        found = until_written(probe, told)
        while len(found.items) != 2:  # the second may be in a batch of its own
            found = until_written(probe, found.seq)
        assert [*found.items] == ["b", "c"]
        assert probe.heard == heard
        for since, expected in (
            (before.seq, [("create", "b"), ("create", "c"), ("delete", "a")]),
            (told, [("create", "c"), ("delete", "a")]),
            (found.seq, []),
        ):
            missed = snapshot(probe, since).missed
            assert missed is not None
            assert [(each.kind, each.key) for each in missed] == expected
        one = probe.store.snapshot("chat", "g", "a", probe.now, told)
        assert one.missed is not None
        assert [each.kind for each in one.missed] == ["delete"]
        news.come(lambda: heard_last(probe) == found.seq)
    assert len(probe.heard) == len(heard) + 2


async def test_what_fails_is_told_to_nobody_and_its_numbers_are_not_used(probe: Probe) -> None:
    await probe.put("a", 1, space="chat", keep=2)
    await probe.put("b", 1, space="chat", keep=2)
    before, heard = snapshot(probe), list(probe.heard)

    async def fail(key: str) -> None:
        with pytest.raises(StoreBroken):
            await probe.put(key, 1, space="chat", keep=2)

    async with trio.open_nursery() as nursery, held_up(probe, broken=True):
        for key in "cde":
            nursery.start_soon(fail, key)
        await trio.testing.wait_all_tasks_blocked()
        assert snapshot(probe) == before
    assert probe.heard == heard
    assert (snapshot(probe), keys(probe)) == (before, ["a", "b"])
    await mended(probe)
    committed = await probe.put("f", 1, space="chat", keep=2)
    assert [(each.kind, each.place.key) for each in committed.changes] == [
        ("create", "f"), ("delete", "a"),
    ]  # fmt: skip
    assert probe.heard[2:] == [committed.changes]
    missed = snapshot(probe, before.seq).missed
    assert missed is not None
    assert [(each.kind, each.key) for each in missed] == [("create", "f"), ("delete", "a")]


async def test_a_full_disk_keeps_nothing_of_a_write_that_would_remove_another(
    probe: Probe,
) -> None:
    for key in "ab":
        await probe.put(key, 1, space="chat", keep=2)
    heard = list(probe.heard)
    await full(probe)
    for _ in range(2):
        with pytest.raises(StoreBroken, match="the disk is full"):
            await probe.put("large", LARGE, space="chat", keep=2)
        assert (keys(probe), probe.heard) == (["a", "b"], heard)
    await room(probe)
    await probe.put("large", LARGE, space="chat", keep=2)
    assert keys(probe) == ["b", "large"]


async def test_a_plan_that_is_given_up_before_it_is_submitted_leaves_the_ages_right(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in "ab":
        await probe.put(key, 1, space="chat", keep=2)
    with monkeypatch.context() as patch:
        patch.setattr(writer_of(probe), "_stopped", True)
        with pytest.raises(Closed):
            await probe.put("c", 1, space="chat", keep=2)
    await probe.put("d", 1, space="chat", keep=2)
    assert keys(probe) == ["b", "d"]


async def test_who_hears_of_a_failure_counts_nothing_that_will_fail_for_it(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was planned before the news came fails later, and is no item of its group."""
    await probe.put("a", 1, space="chat", keep=2)
    writer = writer_of(probe)
    commit, fail, failed, go = writer._commit, *(threading.Event() for _ in range(3))
    gates = itertools.chain([fail], itertools.repeat(go))

    def commit_when_told(batch: Any) -> None:
        assert next(gates).wait(30)
        commit(batch)
        writer._connection.execute("PRAGMA query_only = 0")
        failed.set()

    async def fail_and_go_on() -> None:
        with pytest.raises(StoreBroken):
            await probe.put("other", 1)
        nursery.start_soon(partial(probe.put, "c", 1, space="chat", keep=2))
        await trio.testing.wait_all_tasks_blocked()
        go.set()

    await store_of(probe).alone(lambda connection: connection.execute("PRAGMA query_only = 1"))
    monkeypatch.setattr(writer, "_commit", commit_when_told)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail_and_go_on)
        await trio.testing.wait_all_tasks_blocked()
        fail.set()
        assert failed.wait(30)  # and the Trio thread has not heard of it yet
        with pytest.raises(StoreBroken):
            await probe.put("b", 1, space="chat", keep=2)
    assert keys(probe) == ["a", "c"]


async def test_ages_are_found_in_the_file_and_in_what_is_on_its_way(probe: Probe) -> None:
    """The group is asked about for the first time while four writes to it are under way."""
    for key in "abc":
        await probe.put(key, 1, space="chat")
    place = Place("chat", "g", "b")
    async with trio.open_nursery() as nursery, held_up(probe, broken=False):
        for call in (
            partial(probe.put, "a", 2, space="chat"),
            partial(probe.put, "d", 1, space="chat"),
            partial(probe.commit, writes=[Remove(place), Put(place, b"2")]),
            partial(probe.remove, "c", space="chat"),
            partial(probe.put, "e", 1, space="chat", keep=3),
            partial(probe.put, "f", 1, space="chat", keep=3),
        ):
            nursery.start_soon(call)
            await trio.testing.wait_all_tasks_blocked()
    assert keys(probe) == ["b", "e", "f"]
    gone = [
        change.place.key for changes in probe.heard for change in changes if change.kind == "delete"
    ]
    assert gone == ["b", "c", "a", "d"]


def test_an_older_file_has_its_order_of_items_and_begins_a_log(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, path, 0, MIGRATIONS[:2])
        for version, (space, key) in enumerate(
            [("chat", "b"), ("", "k"), ("chat", "c"), ("chat", "a")], 1
        ):
            connection.execute(
                "INSERT INTO item (space, grp, key, value, version) VALUES (?, 'g', ?, ?, ?)",
                (space, key, b"1", version),
            )

    async def main() -> None:
        store = SqliteStore(path, synchronous="normal")
        async with store.opened(NOW) as opened:
            probe = Probe(store)
            assert opened.latest < 1
            assert probe.items() == {"k": 1}
            first = snapshot(probe)
            assert ([*first.items], first.seq) == (["a", "b", "c"], int(NOW * 1_000_000))
            await probe.put("b", 2, space="chat", keep=3)
            await probe.put("d", 1, space="chat", keep=3)
            await probe.put("e", 1, space="chat", keep=3)
            assert keys(probe) == ["a", "d", "e"]
            missed = snapshot(probe, first.seq).missed
            assert missed is not None
            assert [(each.kind, each.key) for each in missed] == [
                ("create", "d"), ("delete", "b"), ("create", "e"), ("delete", "c"),
            ]  # fmt: skip

    trio.run(main)
    assert {each.name for each in tmp_path.iterdir()} >= {"store.db", "store.db.v2"}
