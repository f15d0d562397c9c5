"""What the store in memory does beyond the contract."""

# how much is in memory is seen from within
# ruff: noqa: SLF001

from __future__ import annotations

from pathlib import Path

import pytest

from motia_trio.messages import Bury
from motia_trio.store import Counts, MemoryStore, Place, Put, Window
from motia_trio.store.sqlite import SqliteStore
from motia_trio.testing.stores.probe import NOW, Probe, names


async def test_opening_again_finds_what_there_was_and_gives_back_what_was_leased() -> None:
    store = MemoryStore()
    async with store.opened(NOW):
        probe = Probe(store)
        await probe.keep("a", "b", take=True)
        await probe.keep("c", "d", take=True, fifo="g")
        await probe.retry(await probe.take("r"))
        await probe.put("k", 1)
        assert names(await probe.lease()) == ["r"]
    async with store.opened(NOW):
        assert store.agenda(NOW).due == {Window("A")}
        assert probe.counts() == Counts(waiting=5)
        assert [(each.message.data, each.attempt) for each in await probe.lease()] == [
            ("a", 1), ("b", 1), ("c", 1), ("r", 2),
        ]  # fmt: skip
        assert probe.read("k") == 1


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_message_that_cannot_have_so_many_deliveries_keeps_nothing(
    kind: str, tmp_path: Path
) -> None:
    store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "store.db")
    async with store.opened(NOW):
        probe = Probe(store)
        good, wrong = probe.message("good", key="k"), probe.message("wrong")
        with pytest.raises(ValueError, match="a message goes to 4095 steps at the most"):
            await probe.commit(
                (good, [probe.to(take=True)]),
                (wrong, [probe.to()] * 4096),
                writes=[Put(Place("", "g", "k"), b"1")],
            )
        assert (probe.counts(), probe.items(), probe.groups()) == (Counts(), {}, [])
        await probe.commit((good, [probe.to()]), (wrong, [probe.to()] * 4095))
        assert probe.counts() == Counts(waiting=4096)


async def test_memory_does_not_grow_with_what_is_gone() -> None:
    """Each round leaves notes of claims that are not open any more; they are forgotten too."""
    store = MemoryStore()
    async with store.opened(NOW):
        probe = Probe(store)
        sizes: list[int] = []
        for _ in range(5):
            await probe.ack(*await probe.keep(*map(str, range(100)), take=True))
            await probe.keep(*map(str, range(100)), fifo="g")
            while leased := await probe.lease():
                await probe.ack(*leased)
            delivery = await probe.take()
            await probe.settle(delivery, Bury("why"))
            await probe.store.discard([delivery.id])
            for n in range(100):
                await probe.put(str(n), n, ttl=0)
            await store.sweep(1000, probe.now)
            await probe.lease()
            shelf = store._shelves["A", "queue"]
            sizes.append(
                len(shelf.ready) + len(shelf.later) + len(shelf.groups) + len(shelf.claims)
                + len(store._items._expiry) + len(store._dead)
            )  # fmt: skip
        assert sizes == [0] * 5
