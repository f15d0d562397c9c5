"""One process a file, and one runtime of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from motia_trio.errors import StoreLocked
from motia_trio.store.sqlite import SqliteStore
from motia_trio.store.sqlite.lock import holder, locked
from motia_trio.testing.stores.probe import NOW, Probe, names

if TYPE_CHECKING:
    from pathlib import Path

# opens the store, says so, and waits to be told to leave
HOLD = """
import sys, trio
from motia_trio.store.sqlite import SqliteStore

async def main():
    async with SqliteStore(sys.argv[1]).opened(1.0):
        print("open", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)

trio.run(main)
"""


def hold(path: Path) -> subprocess.Popen[str]:
    """Let another process open the store."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


async def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with hold(path) as first:
        with pytest.raises(StoreLocked, match=rf"store\.db: process {first.pid} has it open; stop"):
            async with SqliteStore(path).opened(NOW):
                pass
        first.communicate("")
    async with SqliteStore(path).opened(NOW):
        pass


async def test_a_second_runtime_of_one_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    other_way = tmp_path / "folder" / ".." / "link.db"
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.db").symlink_to(path)
    store = SqliteStore(path)
    async with store.opened(NOW):
        for again in (store, SqliteStore(path), SqliteStore(other_way)):
            with pytest.raises(StoreLocked, match="this process has it open already"):
                async with again.opened(NOW):
                    pass
        assert names(await Probe(store).keep("m", take=True)) == ["m"]
    async with SqliteStore(other_way).opened(NOW):
        pass


async def test_the_lock_of_a_killed_process_is_none(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with hold(path) as first:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert path.with_name("store.db.lock").read_text() == f"{first.pid}\n"
    async with SqliteStore(path).opened(NOW):
        assert path.with_name("store.db.lock").read_text() == f"{os.getpid()}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel as Linux does")
async def test_who_asks_for_the_holder_does_not_lose_its_own_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with SqliteStore(path).opened(NOW):
        assert holder(path) is None
        done = await trio.run_process(
            [sys.executable, "-c", HOLD, str(path)], capture_stderr=True, check=False
        )
    assert f"process {os.getpid()} has it open" in done.stderr.decode()


def test_a_process_that_was_started_meanwhile_does_not_inherit_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with locked(path):
        child = subprocess.Popen(
            [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
        )
    with child, hold(path) as other:
        other.communicate("")
        child.communicate(b"\n")
    assert other.returncode == 0
