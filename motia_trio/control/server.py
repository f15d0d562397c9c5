"""The socket itself: takes connections, reads lines, has them answered."""

from __future__ import annotations

import logging
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from motia_trio import codec
from motia_trio.control.dispatch import dispatch, refusal
from motia_trio.control.place import SOCKET, NoSocket, listen, unlink
from motia_trio.control.protocol import request_limit
from motia_trio.errors import MalformedJson, MotiaTrioError, Overloaded
from motia_trio.events import AppWarned
from motia_trio.store.sqlite.file import make_folder

if TYPE_CHECKING:
    import os
    import socket
    from collections.abc import AsyncIterator

    from motia_trio.runtime import Runtime

__all__ = ["RequestUnfinished", "control_edge"]

# connections at once; a command has one for each thing it asks
MOST = 32
# seconds for a whole request to come, and for its answer to be taken
READ_WITHIN = 30.0
WRITE_WITHIN = 30.0
# seconds beyond the limit of a stop that requests have for their answers
GRACE = 1.0
CHUNK = 64 * 1024


@asynccontextmanager
async def control_edge(
    runtime: Runtime, folder: str | os.PathLike[str] | None
) -> AsyncIterator[None]:
    """Listen on ``control.sock`` in ``folder`` for the length of a scope; not at all on None.

    Where there cannot be one (the folder is read-only, or knows no sockets), observers are told and
    it goes without. Leaving the scope in order removes the socket, answers the requests that have
    come, and closes.

    Raises:
        NoSocket: another service listens there, or something else has the name.
    """
    if folder is None:
        yield
        return
    place = _absolute(folder)
    try:
        make_folder(place)
        listener, identity = await trio.to_thread.run_sync(listen, place)
    except NoSocket:
        raise
    except OSError as error:
        runtime.observers.tell(AppWarned(_without(place, error)))
        yield
        return
    desk = _Desk(runtime)
    with listener:
        try:
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(desk.accept, listener.dup(), connections)
                    yield
                    unlink(place, identity)
                    accepting.cancel_scope.cancel()
                limit = await runtime.begin_stop()
                desk.close()
                connections.cancel_scope.deadline = GRACE + max(limit, trio.current_time())
        finally:
            unlink(place, identity)


def _absolute(folder: str | os.PathLike[str]) -> Path:
    """Where it is now, wherever the program goes."""
    return Path(folder).absolute()


def _without(place: Path, error: OSError) -> str:
    return (
        f"{place / SOCKET}: cannot be made: {error.strerror or error}; motia-trio status, emit, "
        "dead-letters, state and store will not reach this service"
    )


class RequestUnfinished(MotiaTrioError):
    """A request has no end: it is too long, too slow, or was given up."""


class _Desk:
    """Answers whoever comes, each connection in a task of its own that nothing gets out of."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._started_at = time.time()
        self._limit = request_limit(runtime.settings.message_limit)
        self._connections = 0
        self._waiting: set[trio.CancelScope] = set()
        self._closing = False

    async def accept(self, listener: socket.socket, connections: trio.Nursery) -> None:
        """Take connections, until cancelled."""
        stream = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        await trio.serve_listeners(self._talk, [stream], handler_nursery=connections)

    def close(self) -> None:
        """End the connections that wait for a request, and each other when it is answered."""
        self._closing = True
        for scope in self._waiting:
            scope.cancel()

    async def _talk(self, stream: trio.SocketStream) -> None:
        self._connections += 1
        try:
            if self._connections > MOST:
                full = Overloaded(f"{MOST} commands are talking to this service; try again")
                await _send(stream, refusal(full))
            else:
                await self._answer_all(stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # it hung up
        except Exception:
            logging.getLogger("motia_trio").exception("control socket: a connection failed")
        finally:
            self._connections -= 1
            await trio.aclose_forcefully(stream)

    async def _answer_all(self, stream: trio.SocketStream) -> None:
        received = bytearray()
        while not self._closing:
            try:
                line = await self._line(stream, received)
            except RequestUnfinished as error:
                await _send(stream, refusal(error))
                return
            if line is None:
                return
            if not await _send(stream, await self._answer(line)):
                return

    async def _line(self, stream: trio.SocketStream, received: bytearray) -> bytes | None:
        """The next line, without its end. None: there comes no more."""
        searched = 0
        with trio.move_on_after(READ_WITHIN) as scope:
            self._waiting.add(scope)
            try:
                while (end := received.find(b"\n", searched)) < 0:
                    searched = len(received)
                    if searched > self._limit:
                        limit = self._runtime.settings.message_limit
                        raise RequestUnfinished(
                            f"a request of more than {self._limit} bytes; message_limit is {limit}"
                        )
                    chunk = await stream.receive_some(CHUNK)
                    if not chunk:
                        break
                    received += chunk
                else:
                    line = bytes(received[:end])
                    del received[: end + 1]
                    return line
            finally:
                self._waiting.discard(scope)
        if received and not self._closing:
            raise RequestUnfinished(f"a request ends with a newline, within {READ_WITHIN:g} s")
        return None

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = codec.decode(line)
        except MalformedJson as error:
            return refusal(error)
        return await dispatch(self._runtime, request, self._started_at)


async def _send(stream: trio.SocketStream, answer: dict[str, Any]) -> bool:
    """Send an answer. Gives False if it is not taken in time."""
    with trio.move_on_after(WRITE_WITHIN) as scope:
        await stream.send_all(codec.encode(answer) + b"\n")
    return not scope.cancelled_caught
