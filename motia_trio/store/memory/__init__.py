"""The store that lasts as long as its scope."""

from motia_trio.store.memory.store import MemoryStore

__all__ = ["MemoryStore"]
