"""Which files are a store, how an older one is brought up to date, and what all others are told."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import trio

from motia_trio import codec
from motia_trio.errors import StoreBroken, StoreDamaged, StoreTooNew
from motia_trio.store import Counts
from motia_trio.store.sqlite import SqliteStore
from motia_trio.store.sqlite.file import migrate
from motia_trio.store.sqlite.schema import APPLICATION_ID, MIGRATIONS
from motia_trio.testing.stores.probe import NOW, Probe, names
from tests.support import open_to_all

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

T = TypeVar("T")

# what a store may leave beside its file when it is closed
BESIDE = {"store.db.hands", "store.db.lock"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


def use(path: Path, visit: Callable[[Probe], Awaitable[T]] | None = None) -> T | None:
    """Open the store, let somebody visit it, and leave it in order."""

    async def main() -> T | None:
        store = SqliteStore(path, synchronous="normal")
        async with store.opened(NOW):
            return await visit(Probe(store)) if visit else None

    return trio.run(main)


def beside(path: Path) -> set[str]:
    return {each.name for each in path.parent.iterdir()} - {path.name}


def tell(path: Path, sql: str) -> list[tuple[object, ...]]:
    """What a connection that is no store's says."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(sql).fetchall()
        connection.commit()
    return rows


# a new store


def test_a_store_makes_its_folder_and_says_whose_its_file_is(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".motia" / "store.db"
    use(path)
    assert tell(path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert tell(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]
    assert tell(path, "PRAGMA journal_mode") == [("wal",)]
    assert (path.parent / ".gitignore").read_text() == "*\n"


def test_a_store_that_is_left_in_order_is_one_file_and_its_lock(path: Path) -> None:
    async def look(_: Probe) -> set[str]:
        return beside(path)

    assert "store.db-wal" in (use(path, look) or ())
    assert beside(path) == BESIDE


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    use(path)
    assert tell(path, "PRAGMA user_version") == [(len(MIGRATIONS),)]


@pytest.mark.parametrize("name", ["store.db", "a b%20c?mode=ro#x.db", "é🦊.db"])
def test_a_file_may_have_any_name(tmp_path: Path, name: str) -> None:
    use(tmp_path / name)
    assert (tmp_path / name).stat().st_size
    assert {each.name.removeprefix(name) for each in tmp_path.iterdir()} == {"", ".hands", ".lock"}


# what is no store


def whole_store(path: Path) -> None:
    """A file with something on many pages."""
    use(path, lambda probe: probe.keep(*(str(n) * 500 for n in range(100))))


def other_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE theirs (a)")
        connection.execute("INSERT INTO theirs VALUES ('precious')")
        connection.commit()


@pytest.mark.parametrize("kept", [10, 100, 4096, 5000, 0.5, 0.9])
def test_a_truncated_file_is_told_and_left_as_it_is(path: Path, kept: float) -> None:
    whole_store(path)
    whole = path.read_bytes()
    part = whole[: kept if isinstance(kept, int) else int(len(whole) * kept)]
    path.write_bytes(part)
    with pytest.raises(StoreDamaged, match=r"store\.db: damaged, or not a store.*Left as it is"):
        use(path)
    assert path.read_bytes() == part
    assert beside(path) <= BESIDE


@pytest.mark.parametrize(
    "garbage",
    [b"x", b"no database, but text\n" * 1000, b"SQLite format 3\0" + b"\xff" * 9000, b"\0" * 5000],
)
def test_garbage_is_told_and_left_as_it_is(path: Path, garbage: bytes) -> None:
    path.write_bytes(garbage)
    with pytest.raises(StoreDamaged, match=r"store\.db: damaged, or not a store"):
        use(path)
    assert path.read_bytes() == garbage
    assert beside(path) <= {"store.db.lock"}


def test_another_program_s_database_is_told_and_left_as_it_is(path: Path) -> None:
    other_database(path)
    before = path.read_bytes()
    with pytest.raises(StoreDamaged, match="a SQLite file, but not a store of motia_trio"):
        use(path)
    assert path.read_bytes() == before
    assert beside(path) <= {"store.db.lock"}


def test_a_newer_store_is_told_and_left_as_it_is(path: Path) -> None:
    use(path)
    tell(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreTooNew, match=r"version 99; this one knows 3\); upgrade motia_trio"):
        use(path)
    assert path.read_bytes() == before
    assert beside(path) <= BESIDE


def test_a_file_that_could_not_be_opened_can_be_when_it_is_mended(path: Path) -> None:
    path.write_bytes(b"x" * 100)
    store = SqliteStore(path)

    async def enter() -> None:
        async with store.opened(NOW):
            assert names(await Probe(store).keep("m", take=True)) == ["m"]

    for _ in range(2):
        with pytest.raises(StoreDamaged):
            trio.run(enter)
    path.unlink()
    trio.run(enter)


# what cannot be written


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of a user who may not write everywhere, as root may; we are that user for a test."""
    root = os.geteuid() == 0
    with open_to_all() as made:
        if not root:
            yield made
            return
        os.chown(made, 65534, 65534)
        os.seteuid(65534)
        try:
            yield made
        finally:
            os.seteuid(0)
            made.chmod(0o700)


def test_a_read_only_file_is_told(folder: Path) -> None:
    path = folder / "store.db"
    use(path)
    before = path.read_bytes()
    path.chmod(0o400)
    with pytest.raises(StoreBroken, match=r"store\.db: cannot be written: Permission denied"):
        use(path)
    assert path.read_bytes() == before
    assert beside(path) == BESIDE
    path.chmod(0o600)
    use(path)


def test_a_read_only_folder_is_told(folder: Path) -> None:
    folder.chmod(0o500)
    with pytest.raises(StoreBroken, match=r"store\.db\.lock: Permission denied"):
        use(folder / "store.db")
    with pytest.raises(StoreBroken, match="the folder cannot be made: Permission denied"):
        use(folder / "new" / "store.db")
    assert list(folder.iterdir()) == []


def test_a_file_whose_folder_has_become_read_only_is_told(folder: Path) -> None:
    path = folder / "store.db"
    use(path)
    before = path.read_bytes()
    folder.chmod(0o500)
    with pytest.raises(StoreBroken, match=r"store\.db: .*read-only"):
        use(path)
    assert path.read_bytes() == before
    folder.chmod(0o700)
    assert beside(path) == BESIDE
    use(path)


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreBroken, match="the folder cannot be made"):
        use(tmp_path / "file" / "store.db")


def test_a_folder_in_the_place_of_the_file_is_told(path: Path) -> None:
    path.mkdir()
    with pytest.raises(StoreBroken, match=r"store\.db: cannot be written: Is a directory"):
        use(path)


# older versions


def version_one(path: Path) -> None:
    """A store as the first version wrote it, with a message that waits and a dead letter."""
    number, dead = int(NOW * 1000) << 8, (int(NOW * 1000) << 8) + 1
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, path, 0, MIGRATIONS[:1])
        connection.execute("INSERT INTO step VALUES (1, 'A', 'queue')")
        for each, name in ((number, "waits"), (dead, "buried")):
            connection.execute(
                "INSERT INTO message VALUES (?, 't', ?, ?, ?, NULL, NULL, 0, 3, NULL)",
                (each, codec.encode(name), "0" * 32, NOW),
            )
        connection.execute(
            "INSERT INTO delivery (id, step, trigger, head, priority, due_at) VALUES (?,1,0,1,3,?)",
            (number << 12 | 1, NOW),
        )
        connection.execute(
            "INSERT INTO dead VALUES (?, 1, 0, NULL, 'why', ?, NULL)", (dead << 12 | 1, NOW)
        )


def test_an_older_store_is_brought_up_to_date_and_a_copy_is_kept(path: Path) -> None:
    version_one(path)
    old = tell(path, "SELECT * FROM message ORDER BY id")

    async def visit(probe: Probe) -> None:
        assert probe.counts() == Counts(waiting=1, dead=1)
        await probe.put("k", 1)
        (letter,) = probe.store.dead_letters()
        (delivery,) = await probe.lease()
        assert (letter.message.data, delivery.message.data) == ("buried", "waits")
        assert probe.store.new_id(0) > letter.message.id

    use(path, visit)
    assert tell(path, "PRAGMA user_version") == [(3,)]
    copy = path.with_name("store.db.v1")
    assert beside(path) == {*BESIDE, "store.db.v1"}
    assert tell(copy, "PRAGMA user_version") == [(1,)]
    assert tell(copy, "SELECT * FROM message ORDER BY id") == old
    assert tell(copy, "SELECT name FROM sqlite_master WHERE name = 'item'") == []


def test_a_copy_of_an_older_try_is_replaced(path: Path) -> None:
    version_one(path)
    copy = path.with_name("store.db.v1")
    copy.write_text("half a copy")
    use(path)
    assert tell(copy, "SELECT count(*) FROM message") == [(2,)]


def test_a_migration_that_fails_leaves_the_file_as_it_was(path: Path) -> None:
    version_one(path)

    def told() -> list[list[tuple[object, ...]]]:
        return [
            tell(path, sql)
            for sql in (
                "PRAGMA user_version",
                "SELECT name FROM sqlite_master ORDER BY name",
                "SELECT * FROM message ORDER BY id",
            )
        ]

    before = told()
    wrong = "CREATE TABLE new (a); UPDATE message SET topic = 'x'; CREATE TABLE step (a);"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="step already exists"):
            migrate(connection, path, 1, (MIGRATIONS[0], wrong))
        assert not connection.in_transaction
    assert told() == before


def test_a_store_that_cannot_be_copied_is_not_migrated(path: Path) -> None:
    version_one(path)
    path.with_name("store.db.v1").mkdir()
    before = path.read_bytes()
    with pytest.raises(StoreBroken, match=r"store\.db\.v1"):
        use(path)
    assert path.read_bytes() == before
    assert tell(path, "PRAGMA user_version") == [(1,)]


# pages that are damaged


@pytest.mark.parametrize("page", range(1, 22, 2))
def test_a_page_that_is_damaged_is_told_as_that_and_closes_all(path: Path, page: int) -> None:
    """Whatever page it is: an ``OSError`` that says so, or it was not needed."""
    whole_store(path)
    damaged = bytearray(path.read_bytes())
    damaged[page * 4096 : (page + 1) * 4096] = b"\xa5" * 4096
    path.write_bytes(damaged)
    words: list[str] = []

    async def visit(probe: Probe) -> None:
        async def lease() -> None:
            await probe.ack(*await probe.lease())

        async def put() -> None:
            await probe.put("k", probe.read("k"))

        for call in (lease, partial(probe.keep, "m", step="new", key="k"), put):
            try:
                await call()
            except StoreBroken as error:
                words.append(str(error))

    try:
        use(path, visit)
    except StoreBroken as error:
        words.append(str(error))
    assert all("damaged" in each for each in words)
