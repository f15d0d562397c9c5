"""Two stores to hold ours against, behind the same contract and in the same runtime.

``LogStore`` is what an append-only log reaches: everything in memory, each commit one record in a
file, and a thread that writes all records that wait and syncs once for all of them. It cannot even
be opened again; it is there for its speed. ``HopStore`` is ours, written as most programs would:
each operation goes to a worker thread and is a transaction of its own.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from motia_trio.store import MemoryStore
from motia_trio.store.sqlite import SqliteStore
from motia_trio.store.sqlite import store as sqlite_store
from motia_trio.store.sqlite.writer import Op, Writer


class LogStore(MemoryStore):
    """A store whose writes are records in a log, synced in batches."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._records: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @asynccontextmanager
    async def opened(self, now: float, react: Any = None) -> AsyncIterator[Any]:
        """Open the log."""
        self._token = trio.lowlevel.current_trio_token()
        self._file = os.open(self._path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            async with super().opened(now, react) as found:
                yield found
        finally:
            self._records.put(None)
            await trio.to_thread.run_sync(thread.join)  # noqa: ASYNC102 - a benchmark's end
            os.close(self._file)

    async def commit(self, work: Any, now: float) -> Any:
        """Write a record with all that there is to know of the messages."""
        committed = await super().commit(work, now)
        parts = []
        for message, routes in work.messages:
            head = repr((message.id, message.topic, message.trace_id, now, message.sender, routes))
            parts += [head.encode(), message.payload]
        await self._log(b"\0".join(parts))
        return committed

    def acknowledge(self, delivery: Any, then: Any) -> bool:
        """Write a record that says that it is done."""
        self._end(delivery)
        self._records.put((b"%d done" % delivery.id, partial(then, None)))
        return True

    async def _log(self, record: bytes) -> None:
        self._records.put((record, partial(trio.lowlevel.reschedule, trio.lowlevel.current_task())))
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    def _run(self) -> None:
        while True:
            batch = [self._records.get()]
            while len(batch) < 1024:
                try:
                    batch.append(self._records.get_nowait())
                except queue.Empty:
                    break
            kept = [each for each in batch if each is not None]
            if kept:
                os.write(self._file, b"".join(b"%d:%b" % (len(r), r) for r, _ in kept))
                os.fdatasync(self._file)
                self._token.run_sync_soon(_wake, kept)
            if len(kept) < len(batch):
                return


def _wake(batch: list[tuple[bytes, Any]]) -> None:
    for _, then in batch:
        then()


class _HopWriter(Writer):
    """Carries each operation out by itself, in a worker thread."""

    def __init__(self, connection: sqlite3.Connection, on_failure: Any) -> None:
        super().__init__(connection, on_failure)
        self._one_at_a_time = trio.CapacityLimiter(1)
        self._token_nursery: Any = None

    def submit(self, op: Op[Any]) -> None:
        """Send it to a thread."""
        op.epoch = self._planned_epoch

        async def hop() -> None:
            await trio.to_thread.run_sync(self._commit, [op], limiter=self._one_at_a_time)
            self._finish([op])

        trio.lowlevel.spawn_system_task(hop)


class HopStore(SqliteStore):
    """Ours with a thread hop, and a commit, for each operation."""

    @asynccontextmanager
    async def opened(self, now: float, react: Any = None) -> AsyncIterator[Any]:
        """Open it with the other writer."""
        sqlite_store.Writer = _HopWriter  # type: ignore[misc]
        try:
            async with super().opened(now, react) as found:
                sqlite_store.Writer = Writer  # type: ignore[misc]
                yield found
        finally:
            sqlite_store.Writer = Writer  # type: ignore[misc]
