"""The one writer: batches, leaving, and clocks that are not the wall's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock

from motia_trio.errors import Closed, StoreBroken
from motia_trio.messages import Retry
from motia_trio.store import Counts
from motia_trio.store.sqlite import SqliteStore
from motia_trio.testing.stores.probe import NOW, Probe, failure

if TYPE_CHECKING:
    from pathlib import Path


async def test_what_many_ask_for_at_once_is_written_in_few_batches(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    async with store.opened(NOW):
        probe = Probe(store)
        await probe.keep("first")
        before = store._writer.batches  # noqa: SLF001 - how often it wrote is seen from within
        async with trio.open_nursery() as nursery:
            for n in range(200):
                nursery.start_soon(probe.keep, str(n))
        assert probe.counts() == Counts(waiting=201)
        assert store._writer.batches - before < 50  # noqa: SLF001 - as above


async def test_what_nobody_waited_for_is_written_when_the_scope_is_left(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    told: list[Exception | None] = []
    async with store.opened(NOW):
        for delivery in await Probe(store).keep(*map(str, range(100)), take=True):
            assert store.acknowledge(delivery, told.append)
    assert told == [None] * 100
    async with store.opened(NOW):
        assert Probe(store).counts() == Counts()


async def test_a_store_that_was_left_refuses_to_write(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "store.db")
    async with store.opened(NOW):
        probe = Probe(store)
        delivery = await probe.take()
    for call in (
        partial(probe.put, "k", 1),
        partial(probe.keep, "m", step="new"),
        partial(probe.ack, delivery),
        partial(store.sweep, 1, NOW),
    ):
        with pytest.raises((Closed, StoreBroken)):
            await call()


def test_a_virtual_clock_does_not_jump_while_the_store_writes(tmp_path: Path) -> None:
    async def main() -> None:
        store = SqliteStore(tmp_path / "store.db")
        async with store.opened(NOW):
            probe = Probe(store)
            with trio.fail_after(1e-3):
                for n in range(20):
                    delivery = await probe.take(str(n))
                    await probe.settle(delivery, Retry(probe.now, failure(1)))
                    await probe.acknowledge(*await probe.lease())
            await trio.sleep(3600)
            assert probe.counts() == Counts()

    trio.run(main, clock=MockClock(autojump_threshold=0))
