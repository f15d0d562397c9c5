"""Every store of ours passes the suite that is meant for everybody's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motia_trio.store import MemoryStore
from motia_trio.store.sqlite import SqliteStore
from motia_trio.testing import StoreConformance
from motia_trio.testing.stores.survival import SurvivalDuties
from motia_trio.testing.stores.tasks import TaskDuties

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


class TestSqliteWithoutSync(TaskDuties, SurvivalDuties):
    """Those of the duties that have to do with when the file is written."""

    durable = True

    def make_store(self, folder: Path) -> Store:
        return SqliteStore(folder / "store.db", synchronous="normal")
