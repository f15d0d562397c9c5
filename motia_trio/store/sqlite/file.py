"""Opens the file: creates it, brings an older one up to date, refuses what it cannot be."""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from motia_trio.errors import StoreBroken, StoreDamaged, StoreTooNew
from motia_trio.store.sqlite.schema import ACTIONS, APPLICATION_ID, MIGRATIONS
from motia_trio.store.sqlite.writer import broken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "Synchronous",
    "connect_reader",
    "connect_visitor",
    "connect_writer",
    "copy_to",
    "make_folder",
    "migrate",
    "stoppable",
]

Synchronous = Literal["full", "normal"]

# UPSERT, RETURNING and row values are older; 3.35 is where what we test with begins
OLDEST_SQLITE = (3, 35)
# pages of 4 KiB after which a commit also moves the log into the file
CHECKPOINT_PAGES = 2000
# steps of SQLite's machine between two looks at whether to stop: about a millisecond
STEPS_BETWEEN = 10_000
# bytes that the log's file keeps when it has been moved
LOG_BYTES = 32 * 1024 * 1024
# KiB of pages that a connection keeps in memory
WRITER_CACHE, READER_CACHE = 16 * 1024, 32 * 1024


def make_folder(path: Path) -> None:
    """Make a folder, if there is none; a ``.motia`` that we make stays out of version control.

    Raises:
        StoreBroken: it cannot be made.
    """
    if path.is_dir():
        return
    try:
        path.mkdir(parents=True, exist_ok=True)
        if path.name == ".motia":
            (path / ".gitignore").write_text("*\n")
    except OSError as error:
        raise StoreBroken(f"{path}: the folder cannot be made: {error.strerror}") from None


def connect_writer(path: Path, synchronous: Synchronous) -> sqlite3.Connection:
    """Open the file for writing, as the version that this program writes.

    Raises:
        StoreDamaged: it is damaged, or is no store. It was left as it is.
        StoreTooNew: a newer version wrote it. It was left as it is.
        StoreBroken: it cannot be opened or written.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise StoreBroken(
            f"SQLite {sqlite3.sqlite_version} is too old; Python must have been built with "
            f"{'.'.join(map(str, OLDEST_SQLITE))} or newer"
        )
    _check_writable(path)
    connection = _connect(path)
    try:
        version = _check(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {synchronous.upper()}")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE}")
        connection.execute("PRAGMA temp_store = MEMORY")
        migrate(connection, path, version)
        connection.executescript(ACTIONS)
    except sqlite3.DatabaseError as error:
        connection.close()
        if isinstance(error, sqlite3.OperationalError):
            raise StoreBroken(f"{path}: {broken(error)}") from error
        raise _damaged(path, error) from error
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open the file for reading, once :func:`connect_writer` has made it."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = 1")
    connection.execute(f"PRAGMA cache_size = -{READER_CACHE}")
    return connection


def connect_visitor(path: Path) -> tuple[sqlite3.Connection, int]:
    """Open the file for reading whoever has it open, and give its version too. Changes nothing.

    Raises:
        StoreDamaged, StoreTooNew: as :func:`connect_writer`.
        StoreBroken: there is no file, or it cannot be read.
    """
    if not path.is_file():
        raise StoreBroken(f"{path}: there is no store yet")
    connection = _connect(path, "ro")
    try:
        return connection, _check(connection, path)
    except sqlite3.OperationalError as error:
        connection.close()
        raise StoreBroken(f"{path}: {broken(error)}") from error
    except sqlite3.DatabaseError as error:
        connection.close()
        raise _damaged(path, error) from error
    except BaseException:
        connection.close()
        raise


def _connect(path: Path, mode: str = "rwc") -> sqlite3.Connection:
    try:
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            timeout=10,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=128,
        )
    except sqlite3.Error as error:
        raise StoreBroken(f"{path}: {error}") from error


def _check_writable(path: Path) -> None:
    """See that the file can be written, before SQLite opens it for reading alone."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        pass
    except OSError as error:
        raise StoreBroken(f"{path}: cannot be written: {error.strerror}") from None


def _check(connection: sqlite3.Connection, path: Path) -> int:
    """See whose the file is, before anything is changed. Gives its version."""
    if path.stat().st_size == 1:  # SQLite would take it for an empty one
        raise _damaged(path, sqlite3.DatabaseError("file is not a database"))
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if tables and application != APPLICATION_ID:
        raise StoreDamaged(f"{path}: a SQLite file, but not a store of motia_trio; left as it is")
    if version > len(MIGRATIONS):
        raise StoreTooNew(
            f"{path}: a newer motia_trio wrote it (version {version}; this one knows "
            f"{len(MIGRATIONS)}); upgrade motia_trio, or name another store. Left as it is"
        )
    return int(version)


def _damaged(path: Path, error: sqlite3.Error) -> StoreDamaged:
    return StoreDamaged(
        f"{path}: damaged, or not a store: {error}. Left as it is; restore a backup, or move it "
        "away to begin anew"
    )


def migrate(
    connection: sqlite3.Connection,
    path: Path,
    version: int,
    migrations: Sequence[str] = MIGRATIONS,
) -> None:
    """Bring the file from ``version`` up to date, in one transaction, after a copy was made.

    The copy is ``path`` + ``.v1`` for a file of version 1; a new file has none.

    Raises:
        StoreBroken: the copy cannot be made; nothing was changed.
    """
    if version == len(migrations):
        return
    if version:
        copy_to(path, path.with_name(f"{path.name}.v{version}"), replace=True)
    connection.execute("BEGIN IMMEDIATE")
    try:
        for script in migrations[version:]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(migrations)}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def copy_to(
    path: Path, target: Path, *, replace: bool = False, stop: Callable[[], bool] | None = None
) -> int:
    """Copy the store at ``path``, in use or not, as it is at one moment. Gives the copy's bytes.

    The copy appears under its name when it is whole and on disk. From when ``stop`` says so, it is
    given up.

    Raises:
        FileExistsError: there is something at ``target`` already.
        StoreBroken: it cannot be read or written, or was given up.
    """
    if not replace and target.exists():
        raise FileExistsError(f"{target}: exists already; name another file")
    part = target.with_name(target.name + ".part")
    try:
        part.unlink(missing_ok=True)
        source = _connect(path)
        try:
            with stoppable(source, stop):
                source.execute("VACUUM INTO ?", (str(part),))
        finally:
            source.close()
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(target)
    except sqlite3.Error as error:
        part.unlink(missing_ok=True)
        raise StoreBroken(f"{path}: could not be copied to {target}: {broken(error)}") from error
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StoreBroken(f"{target}: {error.strerror or error}") from error
    return target.stat().st_size


@contextmanager
def stoppable(connection: sqlite3.Connection, stop: Callable[[], bool] | None) -> Iterator[None]:
    """End a long statement, with an error, soon after ``stop`` says so."""
    connection.set_progress_handler(stop, STEPS_BETWEEN)
    try:
        yield
    finally:
        connection.set_progress_handler(None, 0)
