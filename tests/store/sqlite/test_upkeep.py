"""What people do to a store's file: look at it, copy it, make it smaller."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from motia_trio.errors import StoreBroken, StoreDamaged, StoreTooNew
from motia_trio.messages import Ack, Bury, Message, Route
from motia_trio.store import Counts, Place, Put, Work
from motia_trio.store.sqlite import SqliteStore
from motia_trio.store.sqlite.file import copy_to, stoppable
from motia_trio.store.sqlite.lock import holder, locked
from motia_trio.store.sqlite.upkeep import backup, info, look, vacuum
from motia_trio.store.sqlite.visiting import groups_after, items_after

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractContextManager
    from pathlib import Path

NOW = 1000.0


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    made = SqliteStore(tmp_path / "store.db")
    async with made.opened(NOW):
        yield made


async def put(store: SqliteStore, step: str, count: int, due_at: float = NOW) -> None:
    """Keep some messages of 1 kB for one step."""
    bundles = [
        (
            Message(store.new_id(NOW), "t", b'"%s"' % (b"x" * 1000), "0" * 32, NOW),
            [Route(step, 0, due_at)],
        )
        for _ in range(count)
    ]
    await store.commit(Work(messages=bundles), NOW)


def found(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern))


async def ack(store: SqliteStore, step: str, count: int) -> None:
    async with trio.open_nursery() as nursery:
        for delivery in (await store.lease(step, count, NOW)).deliveries:
            nursery.start_soon(store.settle, delivery, Ack(), NOW)


async def test_info_counts_what_is_there_by_step_and_by_space(store: SqliteStore) -> None:
    await put(store, "A", 5)
    await put(store, "A", 2, due_at=NOW + 60)
    await put(store, "B", 1)
    leased = await store.lease("A", 3, NOW)
    await store.settle(leased.deliveries[0], Bury("why"), NOW)
    await store.commit(Work(writes=[Put(Place("", "g", "k"), b"1")]), NOW)
    await store.commit(Work(writes=[Put(Place("chat", "g", k), b"1") for k in "ab"]), NOW)
    told = await info(store, NOW)
    assert told.steps == {
        "A": Counts(waiting=2, leased=2, delayed=2, dead=1),
        "B": Counts(waiting=1),
    }
    assert told.steps == store.counts(NOW)
    assert (told.dead_letters, told.items) == (1, {"": 1, "chat": 2})
    assert told.path == str(store.path)
    assert 0 < told.pages * told.page_bytes < told.bytes + told.log_bytes
    assert told.schema_version == 3


async def test_the_store_can_be_looked_at_from_another_process(store: SqliteStore) -> None:
    """Its lock is neither needed nor taken."""
    await put(store, "A", 3)
    program = f"""
from pathlib import Path
from motia_trio.store.sqlite.upkeep import look
print(look(Path({str(store.path)!r}), {NOW}).steps["A"].waiting)
"""
    done = await trio.run_process([sys.executable, "-c", program], capture_stdout=True)
    assert done.stdout == b"3\n"
    await put(store, "A", 1)
    assert look(store.path, NOW).steps["A"].waiting == 4


def test_what_a_killed_process_kept_is_seen_before_anybody_opens_the_store(tmp_path: Path) -> None:
    """It may be in the log alone."""
    path = tmp_path / "store.db"
    program = f"""
import os, trio
from motia_trio.messages import Message, Route
from motia_trio.store import Work
from motia_trio.store.sqlite import SqliteStore
async def main():
    store = SqliteStore({str(path)!r})
    async with store.opened({NOW}):
        message = Message(store.new_id({NOW}), "t", b"1", "0" * 32, {NOW})
        await store.commit(Work(messages=[(message, [Route("A", 0, {NOW})])]), {NOW})
        os._exit(9)
trio.run(main)
"""
    done = subprocess.run([sys.executable, "-c", program], check=False)
    assert done.returncode == 9
    assert look(path, NOW).steps == {"A": Counts(waiting=1)}


def test_what_is_no_store_of_ours_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreBroken, match=r"missing.db: there is no store yet"):
        look(tmp_path / "missing.db", NOW)
    (tmp_path / "text.db").write_text("something else entirely, that is no database\n" * 100)
    with pytest.raises(StoreDamaged, match=r"text.db: damaged, or not a store"):
        look(tmp_path / "text.db", NOW)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (a)")
    other.close()
    with pytest.raises(StoreDamaged, match="not a store of motia_trio"):
        look(tmp_path / "other.db", NOW)


async def test_a_newer_store_is_refused(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "store.db").opened(NOW):
        pass
    connection = sqlite3.connect(tmp_path / "store.db")
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreTooNew, match="version 99"):
        look(tmp_path / "store.db", NOW)


async def test_vacuum_gives_back_what_is_free_and_work_goes_on(store: SqliteStore) -> None:
    await put(store, "A", 2000)
    await ack(store, "A", 1990)
    kept = await store.lease("A", 5, NOW)
    done = await vacuum(store)
    assert done.after < done.before / 10
    assert done.after == store.path.stat().st_size
    assert (await info(store, NOW)).free_pages == 0
    await store.settle(kept.deliveries[0], Ack(), NOW)
    await put(store, "A", 1)
    assert store.counts(NOW)["A"] == Counts(waiting=6, leased=4)


async def test_a_vacuum_that_fails_is_told_to_nobody_else(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What others write meanwhile is kept."""
    await put(store, "A", 10)

    async def write() -> None:
        await put(store, "B", 1)

    def stop_at_once(connection: sqlite3.Connection, _: object) -> AbstractContextManager[None]:
        return stoppable(connection, lambda: True)

    monkeypatch.setattr("motia_trio.store.sqlite.file.STEPS_BETWEEN", 1)
    monkeypatch.setattr("motia_trio.store.sqlite.upkeep.stoppable", stop_at_once)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        with pytest.raises(StoreBroken, match=r"store.db: interrupted"):
            await vacuum(store)
    assert store.counts(NOW) == {"A": Counts(waiting=10), "B": Counts(waiting=1)}


async def test_a_cancelled_vacuum_leaves_the_file_as_it_was(store: SqliteStore) -> None:
    await put(store, "A", 100)
    with trio.CancelScope() as scope:
        scope.cancel()
        await vacuum(store)
    assert scope.cancelled_caught
    assert (await store.lease("A", 1, NOW)).deliveries


async def test_a_backup_is_a_store_with_everything_in_it(
    store: SqliteStore, tmp_path: Path
) -> None:
    await put(store, "A", 3)
    await store.commit(Work(writes=[Put(Place("", "g", "k"), b'"v"')]), NOW)
    target = tmp_path / "copy.db"
    assert await backup(store, target) == target.stat().st_size
    await put(store, "A", 1)
    copy = SqliteStore(target)
    async with copy.opened(NOW):
        assert copy.counts(NOW) == {"A": Counts(waiting=3)}
        item = copy.read(Place("", "g", "k"), NOW)
        assert item is not None
        assert item.value == b'"v"'


async def test_a_backup_replaces_nothing(store: SqliteStore, tmp_path: Path) -> None:
    target = tmp_path / "copy.db"
    target.write_text("precious")
    with pytest.raises(FileExistsError, match=r"copy.db: exists already; name another file"):
        await backup(store, target)
    assert target.read_text() == "precious"
    with pytest.raises(StoreBroken, match="unable to open database"):
        await backup(store, tmp_path / "nowhere" / "copy.db")


async def test_a_cancelled_backup_leaves_no_part(store: SqliteStore, tmp_path: Path) -> None:
    await put(store, "A", 100)
    with trio.CancelScope() as scope:
        scope.cancel()
        await backup(store, tmp_path / "copy.db")
    assert scope.cancelled_caught
    assert not found(tmp_path, "copy.db*")


async def test_a_copy_that_is_told_to_stop_stops(store: SqliteStore, tmp_path: Path) -> None:
    await put(store, "A", 3000)
    with pytest.raises(StoreBroken, match="interrupted"):
        copy_to(store.path, tmp_path / "copy.db", stop=lambda: True)
    assert not found(tmp_path, "copy.db*")


async def test_items_are_read_a_page_at_a_time(store: SqliteStore) -> None:
    """Expired ones are not there; what comes after is by the names, in their order."""
    places = [Place("", group, key) for group in ("a", "b", "ä") for key in ("1", "2", "3")]
    writes = [Put(place, b'"%s"' % place.key.encode()) for place in places]
    writes += [Put(Place("", "b", "0"), b"0", NOW - 1), Put(Place("", "gone", "0"), b"0", NOW - 1)]
    writes += [Put(Place("chat", "c", "0"), b"0")]
    await store.commit(Work(writes=writes), NOW - 2)
    assert groups_after(store.path, "", "", 2, NOW) == ["a", "b"]
    assert groups_after(store.path, "", "b", 2, NOW) == ["ä"]
    assert groups_after(store.path, "", "", 9, NOW) == list(store.groups("", NOW))
    page = items_after(store.path, "", "b", "1", 9, 1000, NOW)
    assert page == [("2", b'"2"'), ("3", b'"3"')]
    assert [key for key, _ in items_after(store.path, "", "b", "", 2, 1000, NOW)] == ["1", "2"]
    assert [key for key, _ in items_after(store.path, "", "b", "", 9, 6, NOW)] == ["1", "2"]


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel as Linux does")
def test_who_holds_the_lock_is_told_and_asking_does_not_take_it(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    assert holder(path) is None
    program = f"""
from pathlib import Path
from motia_trio.store.sqlite.lock import locked
with locked(Path({str(path)!r})):
    print("locked", flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"locked\n"
        assert holder(path) == process.pid
        process.stdin.close()
    assert holder(path) is None
    with locked(path):
        assert holder(path) is None  # its own lock is no other's


async def test_a_store_that_was_moved_is_still_one(tmp_path: Path) -> None:
    """A backup is restored by putting it in the place of the file."""
    store = SqliteStore(tmp_path / "store.db")
    async with store.opened(NOW):
        await put(store, "A", 2)
        await backup(store, tmp_path / "copy.db")
        await ack(store, "A", 2)
    for left in found(tmp_path, "store.db-*"):
        left.unlink()
    shutil.move(tmp_path / "copy.db", tmp_path / "store.db")
    async with store.opened(NOW):
        assert store.counts(NOW) == {"A": Counts(waiting=2)}


async def test_work_goes_on_while_the_file_is_copied_and_rebuilt(
    store: SqliteStore, tmp_path: Path
) -> None:
    """Nothing is lost, and every copy is of one moment: a pair that was kept together is there."""
    await put(store, "A", 300)
    done = False
    kept = 0

    async def work() -> None:
        nonlocal kept
        while not done:
            writes = [Put(Place("", "g", f"{kept}{side}"), b"1") for side in ("l", "r")]
            await store.commit(Work(writes=writes), NOW)
            kept += 1
            await ack(store, "A", 1)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        for number in range(5):
            await vacuum(store)
            await backup(store, tmp_path / f"{number}.db")
            await info(store, NOW)
        done = True
    assert kept > 0
    assert len(store.items("", "g", NOW)) == 2 * kept
    assert store.counts(NOW)["A"] == Counts(waiting=max(0, 300 - kept))
    for number in range(5):
        copy = SqliteStore(tmp_path / f"{number}.db")
        async with copy.opened(NOW):
            keys = set(copy.items("", "g", NOW))
            assert {key[:-1] + "l" for key in keys} | {key[:-1] + "r" for key in keys} == keys
