"""The store in one SQLite file."""

from motia_trio.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
