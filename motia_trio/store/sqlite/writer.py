"""The one writer: takes everything that waits, commits it as one, and wakes who waited, once."""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import trio

from motia_trio.actors import is_virtual
from motia_trio.errors import Closed, StoreBroken, StoreDamaged
from motia_trio.store.sqlite.schema import COLUMNS

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.store.sqlite.rows import Row

__all__ = ["Op", "Writer", "broken"]

T = TypeVar("T")

WIDTH = len(COLUMNS)
# so many rows, or bytes of payloads, are committed together at the most
BATCH_ROWS = 1024
BATCH_BYTES = 16 * 1024 * 1024
_NOTHING = (0,) * WIDTH
# seconds for which the Trio thread sleeps between two looks, on a virtual clock alone
SPIN = 0.00005


def broken(error: sqlite3.Error) -> StoreBroken:
    """Tell what SQLite says in the house's words."""
    words, name = str(error), getattr(error, "sqlite_errorname", "")
    if "disk is full" in words or name == "SQLITE_IOERR_SHMSIZE":  # the log's index does not fit
        words = "the disk is full"
    elif "readonly" in words:
        words = "the file cannot be written: it, or its disk, is read-only"
    elif "image is malformed" in words or "not a database" in words:
        return StoreDamaged("the file is damaged: restore a backup")
    elif "I/O" in words and name:
        words = f"{words} ({name})"
    return StoreBroken(words)


class Op(Generic[T]):
    """Something to be written: rows of ``act``, or a call that wants the connection to itself."""

    __slots__ = (
        "acts", "call", "ended", "epoch", "error", "result", "size", "task", "then", "virtual",
    )  # fmt: skip

    def __init__(self, call: Callable[[sqlite3.Connection], T] | None = None) -> None:
        self.acts: list[Row] = []
        #: bytes of payloads in the rows
        self.size = 0
        self.call = call
        self.epoch = 0
        self.virtual = False
        self.error: Exception | None = None
        self.result: T | None = None
        self.task: trio.lowlevel.Task | None = None
        self.ended = False
        #: called when it has ended, with what went wrong
        self.then: Callable[[Exception | None], None] | None = None

    def kept(self) -> None:
        """It is in the file. Called on the Trio thread."""

    def lost(self) -> None:
        """It is not in the file, and never will be. Called on the Trio thread."""

    async def wait(self) -> T | None:
        """Wait until it is written, once it was submitted. Shielded: it cannot be cancelled.

        Raises:
            StoreBroken: it was not written.
        """
        if self.virtual:
            # a virtual clock would jump while all tasks sleep and a thread works
            while not self.ended:
                await trio.lowlevel.cancel_shielded_checkpoint()
                time.sleep(SPIN)  # noqa: ASYNC251 - lets the writer have Python's lock
        elif self.ended:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            self.task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(_go_on)
        if self.error is not None:
            raise self.error
        return self.result


def _go_on(_: object) -> trio.lowlevel.Abort:
    return trio.lowlevel.Abort.FAILED


class Writer:
    """A thread that owns the writing connection.

    What is planned on the Trio thread relies on everything that was submitted before it. So when a
    commit fails, everything that was submitted until the Trio thread hears of it fails too: it
    bears an older ``epoch``. :attr:`on_failure` is called on the Trio thread when it hears of it.
    """

    def __init__(self, connection: sqlite3.Connection, on_failure: Callable[[], None]) -> None:
        self._connection = connection
        self._on_failure = on_failure
        self._queue: queue.SimpleQueue[Op[Any] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="motia_trio store", daemon=True)
        self._token = trio.lowlevel.current_trio_token()
        self._epoch = 0  # the writer's
        self._planned_epoch = 0  # the Trio thread's
        self._reason: Exception = StoreBroken("closed")
        limit = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
        most = min(BATCH_ROWS, limit // WIDTH)
        self._sizes = [size for size in _sizes() if size <= most]
        self._sql = {size: _insert(size) for size in self._sizes}
        self._stopped = False
        #: whether Trio runs on a virtual clock
        self.virtual = is_virtual()
        self.batches = 0

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    async def stop(self) -> None:
        """Write what was submitted, and end. Shielded: a checkpoint that cannot be cancelled."""
        self._stopped = True
        self._queue.put(None)
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(self._thread.join)

    def submit(self, op: Op[Any]) -> None:
        """Have something written. It takes effect after all that was submitted before.

        Raises:
            Closed: the writer was stopped.
        """
        if self._stopped:
            raise Closed("the store is closed")
        op.epoch = self._planned_epoch
        op.virtual = self.virtual
        self._queue.put(op)

    async def do(self, op: Op[T]) -> T | None:
        """Have something written, and wait until it is. A checkpoint; cancelled before or not.

        Raises:
            StoreBroken: it was not written.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        self.submit(op)
        return await op.wait()

    # on the writer's thread

    def _run(self) -> None:
        take = self._queue.get
        waiting: Op[Any] | None = None
        while True:
            first = waiting or take()
            waiting = None
            if first is None:
                return
            batch = [first]
            ended = False
            if first.call is None:
                rows, size = len(first.acts), first.size
                while rows < BATCH_ROWS and size < BATCH_BYTES:
                    try:
                        op = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if op is None:
                        ended = True
                        break
                    if op.call is not None or rows + len(op.acts) > BATCH_ROWS:
                        waiting = op
                        break
                    batch.append(op)
                    rows += len(op.acts)
                    size += op.size
            self._commit(batch)
            try:
                self._token.run_sync_soon(self._finish, batch)
            except trio.RunFinishedError:
                return
            if ended:
                return

    def _commit(self, batch: list[Op[Any]]) -> None:
        valid = [op for op in batch if op.epoch == self._epoch]
        for op in batch:
            if op.epoch != self._epoch:
                op.error = self._reason
        try:
            if len(valid) == 1 and valid[0].call is not None:
                valid[0].result = valid[0].call(self._connection)
            elif rows := [row for op in valid for row in op.acts]:
                self._write_where_room_is(rows)
        except Exception as error:  # noqa: BLE001 - told to everybody whom it concerns
            reason: Exception = broken(error) if isinstance(error, sqlite3.Error) else error
            self._fail(valid, reason)

    def _fail(self, ops: list[Op[Any]], reason: Exception) -> None:
        self._roll_back()
        self._epoch += 1
        self._reason = reason
        for op in ops:
            op.error = reason

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            with suppress(sqlite3.Error):  # SQLite rolls back by itself on a full disk
                self._connection.execute("ROLLBACK")

    def _write_where_room_is(self, rows: list[Row]) -> None:
        """Write; on a full disk again, in the log's own room, if what it holds can be moved."""
        try:
            self._write(rows)
        except sqlite3.OperationalError as error:
            if "disk is full" not in str(error):
                raise
            self._roll_back()
            if not self._move_log():
                raise
            self._write(rows)

    def _move_log(self) -> bool:
        """Move what is in the log into the file: the log is written from its beginning then."""
        with suppress(sqlite3.Error):
            _, pages, moved = self._connection.execute("PRAGMA wal_checkpoint").fetchone()
            return 0 < pages == moved  # type: ignore[no-any-return]
        return False

    def _write(self, rows: list[Row]) -> None:
        """Carry the rows out in one transaction: one statement, if they are not too many."""
        self.batches += 1
        most = self._sizes[-1]
        if len(rows) <= most:
            self._insert(rows)
            return
        self._connection.execute("BEGIN IMMEDIATE")
        for at in range(0, len(rows), most):
            self._insert(rows[at : at + most])
        self._connection.execute("COMMIT")

    def _insert(self, rows: list[Row]) -> None:
        size = next(size for size in self._sizes if size >= len(rows))
        values: list[Any] = []
        for row in rows:
            values += row
        values += _NOTHING * (size - len(rows))
        self._connection.execute(self._sql[size], values)

    # on the Trio thread

    def _finish(self, batch: list[Op[Any]]) -> None:
        failed = False
        for op in batch:
            if op.error is None:
                op.kept()
            else:
                op.lost()
                failed = True
        if failed and self._planned_epoch != self._epoch:
            self._planned_epoch = self._epoch  # all who plan from here on have heard of it
            self._on_failure()
        for op in batch:
            op.ended = True
            if op.then is not None:
                op.then(op.error)
            if op.task is not None:
                task, op.task = op.task, None
                trio.lowlevel.reschedule(task)


def _sizes() -> list[int]:
    """How many rows a statement may have: powers of two, and those in the middle."""
    powers = [2**n for n in range(11)]
    return sorted({*powers, *(power * 3 // 2 for power in powers[1:-1])})


def _insert(size: int) -> str:
    row = f"({','.join('?' * WIDTH)})"
    return f"INSERT INTO act VALUES {','.join([row] * size)}"  # noqa: S608 - question marks only
