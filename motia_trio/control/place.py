"""Where the socket is: ``control.sock`` in the project's ``.motia``, for its owner alone."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import socket
import stat
import struct
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FOLDER", "SOCKET", "NoSocket", "connect", "listen", "peer_pid", "unlink"]

FOLDER = ".motia"
SOCKET = "control.sock"
# bytes of a path that every system takes for a socket: macOS has room for 104 with the zero,
# Linux for 108
LONGEST = 103
# connections that wait to be accepted
BACKLOG = 64
# where a socket gets its mode before it gets its name
_PRIVATE = ".control-"


class NoSocket(OSError):
    """The socket cannot be had: another service listens there, or something has its name."""


@contextmanager
def _reachable(folder: Path, name: str) -> Iterator[str]:
    """A path to ``name`` in ``folder`` that is short enough, for as long as this is open.

    A folder whose own path is too long is reached through a link in the folder for temporary files.
    """
    path = str(folder.absolute() / name)
    if len(os.fsencode(path)) <= LONGEST:
        yield path
        return
    place = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="motia-",
        dir=place if len(os.fsencode(place)) < LONGEST // 2 else "/tmp",  # noqa: S108
    ) as short:
        link = Path(short, "m")
        link.symlink_to(folder.absolute())
        yield str(link / name)


def connect(folder: Path, within: float) -> socket.socket | None:
    """Connect to whoever listens in ``folder``; None if nobody does.

    ``within`` is in seconds, and stays the socket's timeout.

    Raises:
        OSError: somebody may listen, but we cannot talk to them; ``TimeoutError``: nor they to us.
    """
    deadline = time.monotonic() + within
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(within)
        with _reachable(folder, SOCKET) as path:
            while True:
                try:
                    connection.connect(path)
                except BlockingIOError:  # more wait to be accepted than there is room for
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"{path}: too many connections wait there") from None
                    time.sleep(0.02)
                else:
                    return connection
    except (FileNotFoundError, ConnectionRefusedError):
        connection.close()
        return None
    except BaseException:
        connection.close()
        raise


def listen(folder: Path) -> tuple[socket.socket, tuple[int, int]]:
    """Listen in ``folder``, in the place of a socket that nobody listens on any more.

    The socket has mode 0600 when it gets its name, and whoever finds it there can connect. Gives
    its identity too, for :func:`unlink`.

    Raises:
        NoSocket: another process listens there, or something else has the name; says which.
        OSError: the folder cannot be written, or knows no sockets.
    """
    with _alone_in(folder):
        _clear(folder)
        return _listen(folder)


def _listen(folder: Path) -> tuple[socket.socket, tuple[int, int]]:
    private = Path(tempfile.mkdtemp(prefix=_PRIVATE, dir=folder))  # of mode 0700
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _reachable(private, "s") as path:
            listener.bind(path)
        (private / "s").chmod(0o600)
        listener.listen(BACKLOG)
        identity = _identity(private / "s")
        (private / "s").rename(folder / SOCKET)
    except BaseException:
        listener.close()
        raise
    finally:
        shutil.rmtree(private, ignore_errors=True)
    return listener, identity


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keep others from making a socket in ``folder`` at the same moment."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # a file system that knows no such lock
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _clear(folder: Path) -> None:
    """Remove what dead processes left; see that nothing else is in the way."""
    for left in folder.glob(f"{_PRIVATE}*"):
        shutil.rmtree(left, ignore_errors=True)
    path = folder / SOCKET
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        reason = f"{path} is in the way: it is no socket; remove it"
        raise NoSocket(errno.EEXIST, reason)
    other = connect(folder, within=1)
    if other is not None:
        with other:
            pid = peer_pid(other)
        who = f"process {pid}" if pid else "another process"
        reason = f"{who} serves this project already, and listens on {path}; stop it first"
        raise NoSocket(errno.EADDRINUSE, reason)
    path.unlink()


def unlink(folder: Path, identity: tuple[int, int]) -> None:
    """Remove the socket from ``folder`` if it is still the one of this identity.

    Do it before that one is closed: until then nobody else has its name, nor its identity.
    """
    path = folder / SOCKET
    with suppress(OSError), _alone_in(folder):
        if _identity(path) == identity:
            path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino


def peer_pid(connection: socket.socket) -> int | None:
    """Tell which process is at the other end, None if this system cannot tell."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = struct.Struct("3i")
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    pid: int = credentials.unpack(raw)[0]
    return pid or None
