"""Which store a URL means."""

from __future__ import annotations

from pathlib import Path

import pytest

from motia_trio.errors import SettingInvalid
from motia_trio.store import MemoryStore, store_at
from motia_trio.store.sqlite import SqliteStore
from motia_trio.store.urls import sqlite_path
from motia_trio.testing.stores.probe import NOW, Probe


@pytest.mark.parametrize("url", ["memory:", "memory://"])
def test_memory_is_a_store(url: str) -> None:
    assert isinstance(store_at(url), MemoryStore)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///.motia/store.db", "/project/.motia/store.db"),
        ("sqlite:////var/lib/store.db", "/var/lib/store.db"),
        ("sqlite:///a b?c#d.db", "/project/a b?c#d.db"),
    ],
)
def test_a_file_is_below_the_project_or_absolute(url: str, path: str) -> None:
    store = store_at(url, "/project")
    assert isinstance(store, SqliteStore)
    assert store.path == Path(path)
    assert sqlite_path(url, "/project") == Path(path)


@pytest.mark.parametrize(
    "url",
    ["", "redis://x", "memory", "sqlite:", "sqlite://", "sqlite:///", "sqlite:////", "sqlite:x.db"],
)
def test_an_unknown_store_is_told_with_what_there_is(url: str) -> None:
    assert sqlite_path(url) is None
    with pytest.raises(SettingInvalid) as caught:
        store_at(url)
    assert str(caught.value) == (
        f"store = {url!r}: expected 'memory:', 'sqlite:///' and a path below the project, or "
        "'sqlite:////' and an absolute one"
    )


@pytest.mark.parametrize("url", ["memory:", "sqlite:///store.db"])
async def test_a_store_remembers_as_many_changes_of_streams_as_it_is_told_to(
    url: str, tmp_path: Path
) -> None:
    store = store_at(url, tmp_path, "normal", log=3)
    async with store.opened(NOW):
        probe = Probe(store)
        first = store.snapshot("chat", "g", None, NOW).seq
        await probe.put("k", 0, space="chat")
        assert store.snapshot("chat", "g", None, NOW, first).missed is not None
        for n in range(30):
            await probe.put("k", n, space="chat")
        assert store.snapshot("chat", "g", None, NOW, first).missed is None
