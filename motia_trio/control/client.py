"""Asks a running service something. Plain sockets: loads neither Trio nor pydantic."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from motia_trio.control.place import SOCKET, connect, peer_pid
from motia_trio.control.protocol import encode_request, read_answer
from motia_trio.errors import MotiaTrioError

if TYPE_CHECKING:
    import socket
    from pathlib import Path

__all__ = ["NoAnswer", "NobodyListens", "ask", "listens"]

# seconds to wait for an answer; the service gives up sooner, and says so
PATIENCE = 30.0
# what takes as long as it takes
LONG = frozenset({"store.vacuum", "store.backup"})


class NobodyListens(MotiaTrioError):
    """No service listens on the socket."""


class NoAnswer(MotiaTrioError):
    """A service listens on the socket, and does not answer."""


def listens(folder: Path) -> bool:
    """Whether a service listens on the socket in ``folder``.

    Raises:
        NoAnswer: one may, and cannot be talked to.
    """
    connection = _connect(folder)
    if connection is None:
        return False
    connection.close()
    return True


def ask(folder: Path, op: str, params: dict[str, Any]) -> Any:
    """Ask the service whose socket is in ``folder``; give the result.

    Raises:
        NobodyListens: no service runs there.
        NoAnswer: it did not answer; whether it did what was asked is not known.
        Refused: it did not do it, and says why.
        ValueError: something in ``params`` has no JSON form.
    """
    line = encode_request(op, params)
    connection = _connect(folder)
    if connection is None:
        raise NobodyListens(f"{folder / SOCKET}: nobody listens there (any more)")
    with connection:
        pid = peer_pid(connection)
        who = f"{folder / SOCKET}: process {pid or 'unknown'}"
        try:
            answer = _exchange(connection, line, None if op in LONG else PATIENCE)
        except TimeoutError:
            raise NoAnswer(f"{who} did not answer within {PATIENCE:g} s") from None
        except OSError as error:
            raise NoAnswer(f"{who} hung up: {error.strerror or error}") from None
    if not answer.endswith(b"\n"):
        raise NoAnswer(f"{who} hung up before it had answered: it was stopping, or has died")
    try:
        return read_answer(answer)
    except ValueError as error:
        raise NoAnswer(f"{who}: {error}") from None


def _connect(folder: Path) -> socket.socket | None:
    try:
        return connect(folder, PATIENCE)
    except OSError as error:
        reason = error.strerror or error
        raise NoAnswer(f"{folder / SOCKET}: cannot be connected to: {reason}") from None


def _exchange(connection: socket.socket, line: bytes, within: float | None) -> bytes:
    connection.settimeout(within)
    with suppress(BrokenPipeError, ConnectionResetError):  # it had enough, and may say why
        connection.sendall(line)
    with connection.makefile("rb") as answers:
        return answers.readline()
