"""How much the stores remember of streams, and what that costs: both of them."""

# how much is in memory is seen from within
# ruff: noqa: SLF001

from __future__ import annotations

import random
import sqlite3
from contextlib import asynccontextmanager, closing
from typing import TYPE_CHECKING

import pytest

from motia_trio.store import MemoryStore, Place, Put, Remove, ages
from motia_trio.store.sqlite import SqliteStore
from motia_trio.testing.stores.probe import NOW, Probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from motia_trio.store import Change, Write
    from motia_trio.store.log import Log

KINDS = ["memory", "sqlite"]


@pytest.fixture(params=KINDS)
def opened(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Callable[[int], AbstractAsyncContextManager[Probe]]:
    """Opens a store that remembers so many changes."""

    @asynccontextmanager
    async def open_store(log: int) -> AsyncIterator[Probe]:
        heard: list[object] = []
        store: MemoryStore | SqliteStore = MemoryStore(log)
        if request.param == "sqlite":
            store = SqliteStore(tmp_path / "store.db", "normal", log=log)
        async with store.opened(NOW, follow=heard.append):
            yield Probe(store, heard=heard)  # type: ignore[arg-type]

    return open_store


def rows_in_file(probe: Probe) -> int:
    assert isinstance(probe.store, SqliteStore)
    with closing(sqlite3.connect(probe.store.path)) as connection:
        return int(connection.execute("SELECT count(*) FROM log").fetchone()[0])


def log_of(probe: Probe) -> Log:
    assert isinstance(probe.store, (MemoryStore, SqliteStore))
    return probe.store._log


async def change(probe: Probe, n: int) -> int:
    """Change one of a few items, and give the number of the change."""
    committed = await probe.put(f"{n % 3}", n, space="chat", group=f"{n % 2}")
    return committed.changes[0].seq


@pytest.mark.parametrize("log", [0, 1, 20, 300])
async def test_the_log_is_bounded_and_what_it_has_is_told(
    opened: Callable[[int], AbstractAsyncContextManager[Probe]], log: int
) -> None:
    spare = max(log // 10, 16) + 1
    async with opened(log) as probe:
        numbers = [await change(probe, n) for n in range(log + 100)]
        told = [
            probe.store.snapshot("chat", "0", None, NOW, since).missed is not None
            for since in numbers
        ]
        remembered = sum(told)
        assert max(log, 1) <= remembered <= log + spare
        assert told == [False] * (len(told) - remembered) + [True] * remembered, "the newest"
        log_in_memory = log_of(probe)
        assert sum(map(len, log_in_memory._groups.values())) == len(log_in_memory._places)
        if isinstance(probe.store, SqliteStore):
            assert rows_in_file(probe) <= log + spare


async def test_one_commit_of_more_than_the_log_holds_is_told_and_forgotten_with_the_next(
    opened: Callable[[int], AbstractAsyncContextManager[Probe]],
) -> None:
    async with opened(10) as probe:
        first = await change(probe, 0)
        writes: list[Write] = [Put(Place("chat", "0", f"{n:03}"), b"1") for n in range(500)]
        await probe.commit(writes=writes)
        missed = probe.store.snapshot("chat", "0", None, NOW, first).missed
        assert missed is not None
        assert len(missed) == 500
        last = await change(probe, 1)
        assert probe.store.snapshot("chat", "0", None, NOW, first).missed is None
        assert probe.store.snapshot("chat", "0", None, NOW, last).missed == []
        assert len(log_of(probe)._places) == 10 + 1


async def test_a_log_that_was_longer_is_cut_when_it_is_used_again(tmp_path: Path) -> None:
    for log in (1000, 10):
        store = SqliteStore(tmp_path / "store.db", "normal", log=log)
        async with store.opened(NOW):
            probe = Probe(store)
            for n in range(200 if log == 1000 else 2):
                last = await change(probe, n)
            assert (rows_in_file(probe) > 200) == (log == 1000)
            assert probe.store.snapshot("chat", "0", None, NOW, last).missed == []


async def test_a_new_store_continues_no_other(
    opened: Callable[[int], AbstractAsyncContextManager[Probe]],
) -> None:
    """Who comes with the number of another store's change is not told that it missed nothing."""
    other = MemoryStore()
    async with other.opened(NOW - 1):
        theirs = Probe(other, NOW - 1)
        seen = [theirs.store.snapshot("chat", "0", None, NOW).seq]
        seen += [await change(theirs, n) for n in range(3)]
    async with opened(100) as probe:
        await change(probe, 0)
        for since in seen:
            assert probe.store.snapshot("chat", "0", None, NOW, since).missed is None


async def test_a_memory_store_goes_on_where_it_was() -> None:
    store = MemoryStore()
    async with store.opened(NOW) as found:
        assert found.latest == 0
        last = await change(Probe(store), 1)
    async with store.opened(NOW - 60) as found:
        assert found.latest >= last / 1_000_000
        assert await change(Probe(store, NOW - 60), 2) > last


# which keys are the oldest


def ages_of(probe: Probe) -> ages.Ages:
    store = probe.store
    if isinstance(store, SqliteStore):
        return store._ahead._ages
    assert isinstance(store, MemoryStore)
    return store._items._ages


def replayed(heard: list[list[Change]]) -> Iterator[dict[str, list[str]]]:
    """The keys of each group by age, after each commit."""
    groups: dict[str, list[str]] = {}
    for changes in heard:
        for each in changes:
            keys = groups.setdefault(each.place.group, [])
            if each.kind == "create":
                keys.append(each.place.key)
            elif each.kind == "delete":
                keys.remove(each.place.key)
        yield groups


async def test_memory_for_ages_is_bounded_and_what_was_forgotten_is_found_again(
    opened: Callable[[int], AbstractAsyncContextManager[Probe]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ages, "KEYS", 20)
    chance = random.Random(3)
    async with opened(100) as probe:
        for n in range(300):
            group = f"{chance.randrange(8)}"
            place = Place("chat", group, f"{chance.randrange(30)}")
            write: Write = Put(place, b"1", keep=5)
            if n % 4 == 0:
                write = Remove(place)
            elif n % 7 == 0:
                write = Put(place, b"1")
            before = [*probe.items(group, "chat")]
            known = len(probe.heard)
            await probe.commit(writes=[write])
            if n % 4 and n % 7 and place.key not in before:
                assert len(probe.items(group, "chat")) == 5 or len(before) < 5
            assert len(probe.heard) <= known + 1
            kept = ages_of(probe)
            assert kept._count == sum(len(each.keys) for each in kept._groups.values()) <= 20
        *_, groups = replayed(probe.heard)  # type: ignore[arg-type]
        for group, keys in groups.items():
            assert sorted(keys) == [*probe.items(group, "chat")]
            assert [*kept.of("chat", group, NOW)] == keys


async def test_a_group_that_is_larger_than_all_that_is_remembered_is_bounded(
    opened: Callable[[int], AbstractAsyncContextManager[Probe]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ages, "KEYS", 5)
    async with opened(100) as probe:
        for n in range(60):
            await probe.put(f"{n:02}", n, space="chat", keep=20)
            await probe.put(f"{n:02}", n, space="chat", group="h", keep=2)
        assert [*probe.items(space="chat")] == [f"{n:02}" for n in range(40, 60)]
        assert [*probe.items("h", "chat")] == ["58", "59"]
        for n in range(60):  # and where there is no bound any more, memory has one
            await probe.put(f"{n} more", n, space="chat", group="h")
            assert ages_of(probe)._count <= 20 + 5
