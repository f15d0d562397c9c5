"""Answers that are sent while their handler still runs, from its hand to the edge."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import trio

from motia_trio import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from motia_trio.context import Context
    from motia_trio.data import Request

__all__ = ["MotiaHttpArgs", "MotiaHttpResponse", "Streamed", "is_event_stream", "take_body"]

# chunks that may wait for the edge before whoever awaits its write has to wait
CHUNKS = 8
# bytes that may wait at the most, for those who do not await their writes
UNSENT = 16 * 1024 * 1024


class Streamed:
    """An answer whose body comes in pieces. The edge iterates over it, the hand fills it.

    ``head`` is what the handler gave as its answer, with a status and headers.
    """

    def __init__(
        self,
        head: Any,
        abandon: Callable[[], None] = lambda: None,
        closed: Callable[[], None] = lambda: None,
    ) -> None:
        self.head = head
        self._abandon = abandon
        self._closed = closed
        self._chunks: deque[Any] = deque()
        self._unsent = 0
        self._ended = self._gone = False
        self._error: Exception | None = None
        self._come = trio.Event()
        self._room = trio.Event()

    # the hand's side

    def put(self, chunk: Any) -> None:
        """Have a piece sent as it is now, and do not wait.

        Raises:
            BufferError: too much waits for a client that does not read: await the writes.
        """
        if self._ended:
            raise ValueError("the answer was closed: nothing can be written to it any more")
        if self._gone:
            return  # the handler is being cancelled
        chunk = _as_it_is(chunk)
        if isinstance(chunk, (str, bytes)):
            size = len(chunk)
        else:  # to measure it costs as much as to send it, and only what piles up must be known
            size = _size(chunk) if self._chunks else 0
        if self._unsent + size > UNSENT and self._chunks:
            raise BufferError(
                f"{self._unsent} bytes wait for a client that does not read them; await each write"
            )
        self._chunks.append((size, chunk))
        self._unsent += size
        self._come.set()

    async def room(self) -> None:
        """Wait until few pieces wait. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while len(self._chunks) >= CHUNKS:
            if self._room.is_set():  # else others wait for this one
                self._room = trio.Event()
            await self._room.wait()

    async def send(self, chunk: Any) -> None:
        """Have a piece sent, once there is room for it. A checkpoint."""
        self.put(chunk)
        await self.room()

    def end(self, error: Exception | None = None) -> None:
        """There are no more pieces; with an error, what was sent is not all there should be."""
        if not self._ended:
            self._ended, self._error = True, error
            self._come.set()
            self._closed()

    # the edge's side

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        while not self._chunks:
            if self._ended:
                if self._error is not None:
                    raise self._error
                raise StopAsyncIteration
            self._come = trio.Event()
            await self._come.wait()
        size, chunk = self._chunks.popleft()
        self._unsent -= size
        self._room.set()
        return chunk

    def abandon(self) -> None:
        """The client has left, or cannot be sent to: the handler is cancelled."""
        self._gone = True
        self._chunks.clear()
        self._room.set()
        self._abandon()


def _as_it_is(chunk: Any) -> Any:
    """A piece that stays what it is, whatever becomes of the buffer or the dict that it came in."""
    if isinstance(chunk, (str, bytes)):
        return chunk
    if isinstance(chunk, (bytearray, memoryview)):
        return bytes(chunk)
    try:
        return deepcopy(chunk)
    except Exception:  # noqa: BLE001 - what cannot be copied is sent as it will be
        return chunk


def _size(chunk: Any) -> int:
    try:
        return len(codec.encode(chunk))
    except Exception:  # noqa: BLE001 - the edge has words for it
        return 1


def take_body(result: object) -> tuple[Any, AsyncIterator[Any] | Iterator[Any]] | None:
    """Give the head and the pieces of an answer whose body is an iterator; None if it is not."""
    body = _get(result, "body")
    if not hasattr(body, "__next__") and not hasattr(body, "__aiter__"):
        return None
    names = ("status", "status_code", "statusCode", "headers")
    head = {name: value for name in names if (value := _get(result, name)) is not None}
    if not head.keys() - {"headers"}:
        return None  # no answer at all, which the edge has words for
    return head, body if hasattr(body, "__next__") else aiter(body)


def is_event_stream(head: object) -> bool:
    """Whether an answer is a stream of server-sent events, which ends when its client has enough.

    Such a client connects again by itself. Source: the HTML standard, 9.2.
    """
    headers = _get(head, "headers")
    if not isinstance(headers, Mapping):
        return False
    kinds = [value for name, value in headers.items() if str(name).lower() == "content-type"]
    return any("text/event-stream" in str(kind).lower() for kind in kinds)


def _get(result: Any, name: str) -> Any:
    return result.get(name) if isinstance(result, Mapping) else getattr(result, name, None)


class _Written:
    """A write that was done. Awaiting it waits until the client has taken most of what waits."""

    __slots__ = ("_streamed",)

    def __init__(self, streamed: Streamed) -> None:
        self._streamed = streamed

    def __await__(self) -> Generator[Any, Any, None]:
        return self._streamed.room().__await__()


class _Done:
    """Something that was done at once, and may be awaited."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield  # what makes it a generator


_DONE = _Done()


class _Writer:
    """Writes the body: ``response.writer.write(…)``, or ``response.writer.stream.write(…)``."""

    __slots__ = ("_response",)

    def __init__(self, response: MotiaHttpResponse) -> None:
        self._response = response

    @property
    def stream(self) -> _Writer:
        """The writer itself. Source: Motia 1.0 writes to ``writer.stream``."""
        return self

    def write(self, chunk: Any) -> Any:
        """Send a piece of the body: bytes, a text, or for event streams a dict with ``data``.

        From a thread it waits until there is room; elsewhere it gives something to await for that,
        and what is not awaited is sent all the same.

        Raises:
            BufferError: too much waits for a client that does not read: await the writes.
        """
        return self._response._write(chunk)  # noqa: SLF001 - one object in two parts

    def end(self) -> Any:
        """End the body."""
        return self._response.close()

    close = end


class MotiaHttpResponse:
    """The answer to a request, as a handler writes it itself. Source: Motia 1.0.4.

    ``status`` and ``headers`` count until the first piece of the body is written.
    """

    def __init__(self, ctx: Context, begin: Callable[[Any], Streamed]) -> None:
        self._ctx = ctx
        self._begin = begin
        self._status = 200
        self._headers: dict[str, Any] = {}
        self._streamed: Streamed | None = None
        self.writer = _Writer(self)
        #: whether the handler said anything through this object
        self.used = False

    def status(self, code: int) -> Any:
        """Set the status."""
        self._set_head()
        self._status = code
        return _DONE

    def headers(self, headers: Mapping[str, Any]) -> Any:
        """Add headers; a value that is a list is repeated."""
        self._set_head()
        self._headers.update(headers)
        return _DONE

    def _set_head(self) -> None:
        if self._streamed is not None:
            raise RuntimeError("the answer has begun: status and headers come before the body")
        self.used = True

    @property
    def head(self) -> dict[str, Any]:
        """Status and headers, as a handler would have returned them."""
        return {"status": self._status, "headers": self._headers}

    def close(self) -> Any:
        """End the answer. It ends with the handler anyway."""
        if self._ctx.in_thread:
            trio.from_thread.run_sync(self._end)
        else:
            self._end()
        return _DONE

    def _end(self) -> None:
        self._started().end()

    def fail(self, error: Exception) -> None:
        """What was written is not all there should be. The runtime's."""
        if self._streamed is not None:
            self._streamed.end(error)

    def _write(self, chunk: Any) -> Any:
        if self._ctx.in_thread:

            async def send() -> None:
                await self._started().send(chunk)

            return trio.from_thread.run(send)
        streamed = self._started()
        streamed.put(chunk)
        return _Written(streamed)

    def _started(self) -> Streamed:
        self.used = True
        if self._streamed is None:
            self._streamed = self._begin(self.head)
        return self._streamed


class MotiaHttpArgs:
    """What a handler gets whose input is annotated so: the request, and the answer to write.

    What else is asked of it is asked of the request. Source: Motia 1.0.4.
    """

    def __init__(self, request: Request, response: MotiaHttpResponse) -> None:
        self.request = request
        self.response = response

    def __class_getitem__(cls, item: Any) -> type[MotiaHttpArgs]:
        """``MotiaHttpArgs[Body]``: the type of the body is for those who read the code."""
        return cls

    def get(self, key: str, default: Any = None, /) -> Any:
        """Give ``request``, ``response``, or a field of the request."""
        if key in {"request", "response"}:
            return getattr(self, key)
        return self.request.get(key, default)

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key) if key in {"request", "response"} else self.request[key]

    def __getattr__(self, name: str) -> Any:
        if name in {"request", "response"} or name.startswith("__"):  # one that is being copied
            raise AttributeError(name)
        return getattr(self.request, name)
