"""Which store a URL means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from motia_trio.errors import SettingInvalid
from motia_trio.store.memory import MemoryStore

if TYPE_CHECKING:
    from motia_trio.store.protocol import Store

__all__ = ["store_at"]


def store_at(url: str) -> Store:
    """Give the store that a URL names. ``memory:`` is the only one of this version.

    Raises:
        SettingInvalid: no store goes by this URL.
    """
    if url in {"memory:", "memory://"}:
        return MemoryStore()
    raise SettingInvalid(f"store = {url!r}: this version has one store, 'memory:'")
