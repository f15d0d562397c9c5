"""One process a file: a lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from motia_trio.errors import StoreBroken, StoreLocked

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["holder", "locked"]

# a record lock belongs to the process: within it, this set says what is open
_open_here: set[str] = set()
_guard = threading.Lock()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the store at ``path``, in the file ``path`` + ``.lock``.

    The kernel gives the lock back however the process ends, and a child does not inherit it. The
    file holds the pid of who has the lock, and is left when it is given back: to remove it would
    let two processes lock two files of one name.

    Raises:
        StoreLocked: somebody has it; says who.
        StoreBroken: the lock file cannot be written.
    """
    name = os.path.realpath(path)
    with _guard:
        if name in _open_here:
            raise StoreLocked(f"{path}: this process has it open already, in another runtime")
        _open_here.add(name)
    try:
        descriptor = _lock(path)
        try:
            yield
        finally:
            os.close(descriptor)
    finally:
        with _guard:
            _open_here.discard(name)


def _lock(path: Path) -> int:
    lock = path.with_name(path.name + ".lock")
    try:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreBroken(f"{lock}: {error.strerror}") from None
    try:
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if not isinstance(error, (BlockingIOError, PermissionError)):
                raise StoreBroken(f"{lock}: cannot be locked: {error.strerror}") from None
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip() or "unknown"
            raise StoreLocked(
                f"{path}: process {pid} has it open; stop it first, or talk to it"
            ) from None
        try:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
        except OSError as error:
            raise StoreBroken(f"{lock}: {error.strerror}") from None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


# struct flock of Linux on 64 bits: type, whence, start, length, pid
_FLOCK = struct.Struct("@hhqqi4x")


def holder(path: Path) -> int | None:
    """Tell which other process has the lock of the store at ``path``, without taking it.

    None: nobody has, or this system cannot tell.
    """
    if sys.platform != "linux":
        return None
    with _guard:  # to close any descriptor of the file would give this process's own lock away
        if os.path.realpath(path) in _open_here:
            return None
    try:
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        question = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None if kind == fcntl.F_UNLCK else pid
