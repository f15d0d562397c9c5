"""How large the file becomes, and copies of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

import trio

from motia_trio.store import Counts, Place, Put
from motia_trio.store.sqlite import SqliteStore
from motia_trio.store.sqlite.file import copy_to
from motia_trio.testing.stores.probe import NOW, Probe, names

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

T = TypeVar("T")


def use(path: Path, visit: Callable[[Probe], Awaitable[T]]) -> T:
    """Open the store, let somebody visit it, and leave it in order."""

    async def main() -> T:
        store = SqliteStore(path, synchronous="normal")
        async with store.opened(NOW):
            return await visit(Probe(store))

    return trio.run(main)


def pages(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("PRAGMA page_count").fetchone()
    return int(count)


def test_the_pages_of_what_is_done_are_used_again(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    sizes: list[int] = []

    async def visit(probe: Probe) -> None:
        for n in range(10):
            await probe.keep(*(f"{n} {m}" * 20 for m in range(1000)))
            for key in "abc":
                await probe.put(key, f"{n}" * 5000)
            await probe.acknowledge(*await probe.lease())
            sizes.append(pages(path))

    use(path, visit)
    assert sizes[-1] <= sizes[0] * 1.1


def test_a_copy_is_whole_while_writing_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    copies: list[tuple[int, Path]] = []
    written = 0

    async def write(probe: Probe, writing: trio.CancelScope) -> None:
        nonlocal written
        while not writing.cancel_called:
            writes = [Put(Place("", "g", f"{written:05}"), b"1")]
            await probe.commit((probe.message(f"{written:05}"), [probe.to()]), writes=writes)
            written += 1

    async def visit(probe: Probe) -> None:
        await probe.keep(*(str(n) * 200 for n in range(1000)), step="bulk")
        async with trio.open_nursery() as nursery:
            writing = trio.CancelScope()
            nursery.start_soon(write, probe, writing)
            for n in range(3):
                before, target = written, tmp_path / f"copy{n}.db"
                size = await trio.to_thread.run_sync(copy_to, path, target)
                copies.append((before, target))
                assert size
            writing.cancel()

    async def look(probe: Probe) -> int:
        assert names(await probe.lease()) == list(probe.items())
        assert probe.counts("bulk") == Counts(waiting=1000)
        return len(probe.items())

    use(path, visit)
    assert not list(tmp_path.glob("*.part"))
    for before, target in copies:
        assert before <= use(target, look) <= written
