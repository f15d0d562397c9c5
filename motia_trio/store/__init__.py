"""What survives: the store's contract, and the stores that keep it."""

from motia_trio.store.memory import MemoryStore
from motia_trio.store.protocol import Agenda, Counts, Leased, Store
from motia_trio.store.urls import store_at

__all__ = ["Agenda", "Counts", "Leased", "MemoryStore", "Store", "store_at"]
