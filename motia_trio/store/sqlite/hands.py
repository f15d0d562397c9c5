"""Which deliveries handlers have in hand, noted so that the end of the process does not erase it.

A mapped file of slots, each with the id of a delivery or zero. A note is a store into shared
memory (no system call, no sync), and the kernel keeps the page when the process is killed. What a
power cut does to it is no matter: that is nobody's poison.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING

from motia_trio.errors import StoreBroken

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Hands"]

SLOT = 8
FIRST_SIZE = mmap.PAGESIZE


class Hands:
    """The slots in one file. Opening it reads what the last process left, and clears it."""

    def __init__(self, path: Path) -> None:
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreBroken(f"{path}: {error.strerror}") from None
        try:
            size = max(FIRST_SIZE, os.fstat(self._file).st_size // SLOT * SLOT)
            os.posix_fallocate(self._file, 0, size)  # a full disk is met here, not as SIGBUS
            self._map = mmap.mmap(self._file, size)
        except OSError as error:
            os.close(self._file)
            raise StoreBroken(f"{path}: {error.strerror}") from None
        #: ids of the deliveries that were in hand when the last process ended
        self.left = [
            number
            for at in range(0, size, SLOT)
            if (number := int.from_bytes(self._map[at : at + SLOT], "little"))
        ]
        self._free = list(range(size - SLOT, -1, -SLOT))
        self._slots: dict[int, int] = {}

    def clear_left(self) -> None:
        """Forget what the last process left: it has been counted."""
        self._map[:] = bytes(len(self._map))
        self.left = []

    def take(self, number: int) -> None:
        """Note that a delivery is in hand."""
        if number in self._slots:
            return
        if not self._free and not self._grow():
            return
        at = self._slots[number] = self._free.pop()
        self._map[at : at + SLOT] = number.to_bytes(SLOT, "little")

    def put_down(self, number: int) -> None:
        """Note that it is not any more."""
        at = self._slots.pop(number, None)
        if at is not None:
            self._map[at : at + SLOT] = bytes(SLOT)
            self._free.append(at)

    def _grow(self) -> bool:
        """Double the slots. On a full disk there are no more: what is over goes unnoted."""
        size = len(self._map)
        try:
            os.posix_fallocate(self._file, size, size)
            self._map.resize(size * 2)
        except OSError:
            return False
        self._free.extend(range(size * 2 - SLOT, size - SLOT, -SLOT))
        return True

    def close(self) -> None:
        """Close in order: nothing is in hand any more. What was left and not counted stays."""
        if not self.left:
            self._map[:] = bytes(len(self._map))
        self._map.close()
        os.close(self._file)
