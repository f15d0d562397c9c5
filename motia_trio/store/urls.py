"""Which store a URL means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from motia_trio.errors import SettingInvalid
from motia_trio.store.log import LOG_ROWS
from motia_trio.store.memory import MemoryStore

if TYPE_CHECKING:
    import os

    from motia_trio.store.protocol import Store
    from motia_trio.store.sqlite.file import Synchronous

__all__ = ["sqlite_path", "store_at"]

_FILE = "sqlite:///"


def sqlite_path(url: str, root: str | os.PathLike[str] = "") -> Path | None:
    """Give the path of the file that a URL names, None if it names none.

    ``sqlite:///.motia/store.db`` is below ``root``, ``sqlite:////var/lib/store.db`` is absolute:
    as SQLAlchemy reads them.
    """
    if not url.startswith(_FILE) or not url.removeprefix(_FILE).strip("/"):
        return None
    return Path(root, url.removeprefix(_FILE))


def store_at(
    url: str,
    root: str | os.PathLike[str] = "",
    synchronous: Synchronous = "full",
    log: int = LOG_ROWS,
) -> Store:
    """Give the store that a URL names: ``memory:``, or ``sqlite:///`` and a path below ``root``.

    ``log``: how many changes of streams it remembers, for those who come back.

    Raises:
        SettingInvalid: no store goes by this URL.
    """
    if url in {"memory:", "memory://"}:
        return MemoryStore(log)
    path = sqlite_path(url, root)
    if path is None:
        raise SettingInvalid(
            f"store = {url!r}: expected 'memory:', 'sqlite:///' and a path below the project, or "
            "'sqlite:////' and an absolute one"
        )
    from motia_trio.store.sqlite import SqliteStore  # noqa: PLC0415 - who needs none loads none

    return SqliteStore(path, synchronous, log)
