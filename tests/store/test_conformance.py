"""Every store of ours passes the suite that is meant for everybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motia_trio.store import MemoryStore
from motia_trio.store.sqlite import SqliteStore
from motia_trio.testing import StoreConformance

if TYPE_CHECKING:
    from pathlib import Path

    from motia_trio.store import Store


class TestMemory(StoreConformance):
    def make_store(self, folder: Path) -> Store:
        return MemoryStore()


class TestSqlite(StoreConformance):
    durable = True

    def make_store(self, folder: Path) -> Store:
        return SqliteStore(folder / "store.db")


class TestSqliteWithoutSync(StoreConformance):
    """With fewer stories: a killed process and an open file behave as with "full"."""

    durable = True
    examples = 10

    def make_store(self, folder: Path) -> Store:
        return SqliteStore(folder / "store.db", synchronous="normal")
