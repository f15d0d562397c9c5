"""What survives: the store's contract, and the stores that keep it."""

from motia_trio.store.memory import MemoryStore
from motia_trio.store.names import check_name
from motia_trio.store.protocol import (
    KEY_LIFETIME,
    MAX_CRASHES,
    Agenda,
    Counts,
    Follow,
    Leased,
    Missed,
    Opened,
    Snapshot,
    Store,
    Swept,
    Window,
)
from motia_trio.store.updates import Op, UpdateInvalid, apply_ops, parse_ops
from motia_trio.store.urls import store_at
from motia_trio.store.work import (
    Change,
    Clear,
    Committed,
    Item,
    Kind,
    Place,
    Put,
    Remove,
    Seen,
    Update,
    Work,
    Write,
)

__all__ = [
    "KEY_LIFETIME",
    "MAX_CRASHES",
    "Agenda",
    "Change",
    "Clear",
    "Committed",
    "Counts",
    "Follow",
    "Item",
    "Kind",
    "Leased",
    "MemoryStore",
    "Missed",
    "Op",
    "Opened",
    "Place",
    "Put",
    "Remove",
    "Seen",
    "Snapshot",
    "Store",
    "Swept",
    "Update",
    "UpdateInvalid",
    "Window",
    "Work",
    "Write",
    "apply_ops",
    "check_name",
    "parse_ops",
    "store_at",
]
