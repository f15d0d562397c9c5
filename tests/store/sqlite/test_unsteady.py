"""A disk that fails now and then: every duty holds for those who ask again."""

# the writer is made to fail from within
# ruff: noqa: SLF001

from __future__ import annotations

import itertools
import sqlite3
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
import trio
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from motia_trio.errors import StoreBroken
from motia_trio.store.sqlite import SqliteStore
from motia_trio.testing.stores.cancelling import CancellingDuties
from motia_trio.testing.stores.following import FollowDuties
from motia_trio.testing.stores.machine import StoreMachine
from motia_trio.testing.stores.running import OpenStore
from motia_trio.testing.stores.tasks import TaskDuties

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from motia_trio.messages import Delivery
    from motia_trio.store import Opened, Store
    from motia_trio.store.protocol import Follow, React


# stories, each of whose calls fails once before it is made


class OnceBroken(OpenStore):
    """Makes every call twice: with a disk that is read-only, and with one that is not."""

    def wait(self, call: str, *args: Any) -> Any:
        self._break(broken=True)
        try:
            return super().wait(call, *args)
        except StoreBroken:
            pass
        finally:
            self._break(broken=False)
        return super().wait(call, *args)

    def acknowledge(self, delivery: Delivery, now: float) -> None:
        self._break(broken=True)
        with pytest.raises((StoreBroken, KeyError)):
            super().acknowledge(delivery, now)
        self._break(broken=False)
        super().acknowledge(delivery, now)

    def _break(self, *, broken: bool) -> None:
        sql = f"PRAGMA query_only = {int(broken)}"
        super().wait("alone", lambda connection: connection.execute(sql).fetchall())


class OnceBrokenMachine(StoreMachine):
    opener: ClassVar[type[OpenStore]] = OnceBroken

    def follow(self, changes: Any, origin: Any) -> list[Any]:
        """What follows was asked for twice, and is kept once: as it was asked for the last time."""
        half = len(self.reactions) // 2
        if half:
            assert self.reactions[:half] == self.reactions[half:]
            self.reactions = self.reactions[half:]
            self.followed = self.followed[len(self.followed) // 2 :]
        return super().follow(changes, origin)


def test_a_store_whose_every_call_fails_once_agrees_with_the_model(tmp_path: Path) -> None:
    numbers = itertools.count()

    class Machine(OnceBrokenMachine):
        def __init__(self) -> None:
            path = tmp_path / f"{next(numbers)}.db"
            super().__init__(lambda: SqliteStore(path, synchronous="normal"), reopens=True)

    run_state_machine_as_test(
        Machine,
        settings=settings(
            deadline=None,
            max_examples=20,
            stateful_step_count=30,
            suppress_health_check=list(HealthCheck),
        ),
    )


class Unsteady(SqliteStore):
    """Fails to write every third batch, and has those who asked ask again."""

    @asynccontextmanager
    async def opened(
        self, now: float, react: React | None = None, follow: Follow | None = None
    ) -> AsyncIterator[Opened]:
        async with super().opened(now, react, follow) as opened:
            write, count = self._writer._write, itertools.count(1)

            def fail_at_times(rows: Any) -> None:
                if next(count) % 3 == 0:
                    raise sqlite3.OperationalError("disk I/O error")
                write(rows)

            self._writer._write = fail_at_times  # type: ignore[method-assign]
            yield opened

    @staticmethod
    async def _insist(call: Callable[[], Awaitable[Any]]) -> Any:
        while True:
            try:
                return await call()
            except StoreBroken:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def commit(self, *args: Any) -> Any:
        return await self._insist(partial(super().commit, *args))

    async def settle(self, *args: Any) -> Any:
        return await self._insist(partial(super().settle, *args))

    async def cancel(self, *args: Any) -> Any:
        return await self._insist(partial(super().cancel, *args))

    async def redrive(self, *args: Any) -> Any:
        return await self._insist(partial(super().redrive, *args))

    async def discard(self, *args: Any) -> Any:
        return await self._insist(partial(super().discard, *args))

    async def sweep(self, *args: Any) -> Any:
        return await self._insist(partial(super().sweep, *args))

    def acknowledge(self, *_: object) -> bool:
        return False


class TestUnsteady(TaskDuties, CancellingDuties, FollowDuties):
    """What many callers may rely on holds with a disk that fails them now and then."""

    def make_store(self, folder: Path) -> Store:
        return Unsteady(folder / "store.db", synchronous="normal")
