"""What of the items is kept in memory, and how much."""

# how much is in memory is seen from within
# ruff: noqa: SLF001

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from motia_trio.store import Place
from motia_trio.store.sqlite import SqliteStore, items
from motia_trio.testing.stores.probe import NOW, Probe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def probe(tmp_path: Path) -> AsyncIterator[Probe]:
    store = SqliteStore(tmp_path / "store.db", synchronous="normal")
    async with store.opened(NOW):
        yield Probe(store)


def cached(probe: Probe) -> items.Items:
    assert isinstance(probe.store, SqliteStore)
    return probe.store._items


async def test_memory_for_items_is_bounded(probe: Probe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(items, "CACHE_BYTES", 20_000)
    for n in range(100):
        await probe.put(str(n), "x" * 1000)
        assert probe.read(f"nothing {n}") is None
        assert cached(probe)._used <= 20_000
    assert 5 < len(cached(probe)._cache) < 30
    for n in range(100):
        assert probe.read(str(n)) == "x" * 1000
    assert cached(probe)._used <= 20_000
    await probe.put("larger than all of it", "x" * 50_000)
    assert probe.read("larger than all of it") == "x" * 50_000
    assert cached(probe)._used <= 20_000
    for n in range(100):
        await probe.remove(str(n))
    await probe.remove("larger than all of it")
    assert probe.items() == {}


async def test_what_is_counted_is_what_is_kept(probe: Probe) -> None:
    for n in (1, 10, 100):
        await probe.put("k", "x" * n)
        await probe.put("l", "x")
        await probe.remove("l")
    cache = cached(probe)
    assert cache._used == sum(items._cost(item) for item in cache._cache.values())


async def test_what_is_in_memory_is_not_read_from_the_file(
    probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    await probe.put("k", 1)
    assert probe.read("nothing") is None
    monkeypatch.setattr(cached(probe)._reader, "item", None)
    assert (probe.read("k"), probe.read("nothing")) == (1, None)
    assert probe.store.read(Place("", "g", "k"), probe.now) is not None
