"""One connection of a client: what it has joined, and what it is sent. Knows no sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import trio
from attrs import frozen

from motia_trio.data import Data
from motia_trio.errors import nearest
from motia_trio.failures import tell_error
from motia_trio.streams.outbox import Outbox
from motia_trio.streams.rooms import Subscription
from motia_trio.streams.wire import BadFrame, error_message, parse_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from motia_trio.steps import StreamDeclaration
    from motia_trio.streams.gates import Gates
    from motia_trio.streams.hub import Hub
    from motia_trio.streams.quotas import Quota
    from motia_trio.streams.wire import Batch, Frame, Message

__all__ = ["Bounds", "Closing", "Line", "Session"]

# frames that are no good after which a client is sent away
MAX_BAD = 20
# bytes that are sent at once, at least one message of any size
_PIECE = 64 * 1024


class Line(Protocol):
    """What carries messages to one client, in order."""

    def write(self, message: Message) -> bool:
        """Send a message, now, if that can be done without waiting.

        False: nothing of it was taken. Never raises.
        """
        ...

    def write_batch(self, batch: Batch) -> bool:
        """Send messages, now, as :meth:`write` does: all or none of them are taken."""
        ...

    @property
    def is_blocked(self) -> bool:
        """Whether some of what was taken has not gone out yet."""
        ...

    async def flush(self) -> None:
        """Send what was taken. A checkpoint if there is something.

        Raises:
            BrokenResourceError, ClosedResourceError: the client is gone.
        """
        ...

    async def send(self, messages: Sequence[Message]) -> None:
        """Send messages, however long that takes. A checkpoint.

        Raises:
            BrokenResourceError, ClosedResourceError: the client is gone.
        """
        ...


@frozen
class Bounds:
    """What one connection may have. ``buffer`` in messages, ``buffer_bytes`` in bytes.

    ``drain``: seconds in which what waits may still be sent at a stop.
    """

    buffer: int
    buffer_bytes: int
    subscriptions: int
    drain: float


@frozen
class Closing:
    """Why we close a connection: a code of RFC 6455, or one of ours, and words."""

    code: int
    reason: str


class Session:
    """Reads what a client asks for, and has it sent what it follows: a member of the hub.

    What cannot be sent at once waits in an outbox, which a task empties. A join is answered when
    nothing waits of what waited when it came: so there is one snapshot in memory at the most,
    whatever a client asks for, and one that never catches up is answered as well.
    """

    __slots__ = (
        "_address", "_answering", "_auth", "_awaited", "_bad", "_before", "_bounds", "_closing",
        "_gates", "_gone", "_hub", "_idle", "_joined", "_line", "_nursery", "_outbox", "_pending",
        "_pump_scope", "_pumping", "_quota", "_scope", "_stopping", "_streams", "unsent",
    )  # fmt: skip

    def __init__(
        self,
        hub: Hub,
        gates: Gates,
        streams: Mapping[str, StreamDeclaration],
        line: Line,
        nursery: trio.Nursery,
        *,
        bounds: Bounds,
        quota: Quota,
        address: str,
        auth: Any,
    ) -> None:
        self._hub = hub
        self._gates = gates
        self._streams = streams
        self._line = line
        self._nursery = nursery
        self._bounds = bounds
        self._quota = quota
        self._address = address
        self._auth = auth
        self._scope = trio.CancelScope()
        self._closing: Closing | None = None
        self._stopping = self._gone = self._pumping = self._answering = False
        self._bad = 0
        #: messages that waited when it was closed, and were dropped
        self.unsent = 0
        self._joined: dict[str, tuple[Subscription, StreamDeclaration]] = {}
        # joins that wait for their answer, and the one that is to come from the hub
        self._pending: list[Subscription] = []
        self._awaited: Subscription | None = None
        # what has to go out of the outbox before the next of them is answered
        self._before: int | None = None
        # there while something waits
        self._outbox: Outbox | None = None
        self._pump_scope: trio.CancelScope | None = None
        self._idle: trio.Event | None = None
        hub.connections += 1

    async def run(self, receive: Callable[[], Awaitable[str | bytes | None]]) -> Closing | None:
        """Serve until the client is gone (gives None), or is to be closed. A checkpoint.

        ``receive`` gives each frame, and None when there will be none.
        """
        with self._scope:
            await self._read(receive)
        if self._stopping and not (self._gone or self._closing):
            with trio.move_on_after(self._bounds.drain):
                while self._pumping and self._closing is None:
                    if self._idle is None:
                        self._idle = trio.Event()
                    await self._idle.wait()
            self._closing = self._closing or Closing(1001, "the service is stopping")
        if self._pump_scope is not None:
            self._pump_scope.cancel()
        return None if self._gone else self._closing

    async def leave(self) -> None:
        """Leave everything: once it is called nothing more is sent. A checkpoint with hooks.

        They run to their end, also if this is cancelled.
        """
        joined = list(self._joined.values())
        self._joined = {}
        self._gone = True
        self._hub.connections -= 1
        if not joined:
            return
        self._quota.give(self._address, len(joined))
        for subscription, _ in joined:
            self._hub.depart(self, subscription)
        hooked = [pair for pair in joined if pair[1].on_leave is not None]
        if hooked:
            async with trio.open_nursery() as nursery:
                for subscription, declaration in hooked:
                    data = _data_of(subscription)
                    nursery.start_soon(self._gates.leave, declaration, data, self._auth)

    def stop(self) -> None:
        """Have it end when all that waits has been sent."""
        self._stopping = True
        self._scope.cancel()

    def close(self, code: int, reason: str) -> None:
        """Have it end now. What waits is dropped."""
        if self._closing is None:
            self._closing = Closing(code, reason)
            if self._outbox is not None:
                self.unsent, self._outbox = len(self._outbox), None
            self._scope.cancel()
            if self._idle is not None:
                self._idle.set()

    # what the client asks for

    async def _read(self, receive: Callable[[], Awaitable[str | bytes | None]]) -> None:
        while (text := await receive()) is not None:
            if not isinstance(text, str):
                self.close(1003, "expected text: JSON")
                return
            try:
                frame = parse_frame(text)
            except BadFrame as error:
                self._bad += 1
                if self._bad > MAX_BAD:
                    self.close(1008, "too many bad frames")
                    return
                self.push(error_message(str(error)))
                continue
            if frame.leaves:
                await self._leave_one(frame)
            else:
                await self._join(frame)
        self._gone = True

    async def _join(self, frame: Frame) -> None:
        declaration = self._streams.get(frame.stream)
        if declaration is None:
            words = f"join: no stream {frame.stream!r}"
            self.push(error_message(words, frame.subscription))
            # cut: to look for the nearest costs as the square of the length
            close = nearest(frame.stream[:64], self._streams)
            hint = f"; did it mean {close!r}?" if close else ""
            self._gates.tell_refused(self._address, "no such stream", f"{frame.stream!r:.80}{hint}")
            return
        known = self._joined.get(frame.subscription)
        if known is not None:
            self._join_again(known[0], frame)
            return
        if len(self._joined) >= self._bounds.subscriptions:
            limit: str | None = f"{self._bounds.subscriptions} for one connection"
        else:
            limit = self._quota.take(self._address)
        if limit is not None:
            words = f"join: too many subscriptions: {limit}"
            self.push(error_message(words, frame.subscription))
            self._gates.tell_refused(self._address, "too many subscriptions", f"at most {limit}")
            return
        subscription = Subscription(
            frame.subscription, frame.stream, frame.group, frame.key, frame.since
        )
        allowed = False
        try:
            allowed = await self._gates.join(declaration, _data_of(subscription), self._auth)
        finally:
            if not allowed:
                self._quota.give(self._address)
        if not allowed:
            self.push(self._hub.refusal(subscription))
            what = f"{frame.stream!r:.80}, {frame.group!r:.80}"
            self._gates.tell_refused(self._address, "unauthorized", what)
            return
        self._joined[frame.subscription] = subscription, declaration
        self._hub.arrive(self, subscription)
        self._pending.append(subscription)
        self._answer_pending()

    def _join_again(self, known: Subscription, frame: Frame) -> None:
        """Answer a join once more that is in effect: with another sync, and no other hook."""
        if (known.stream, known.group, known.key) != (frame.stream, frame.group, frame.key):
            words = f"join: subscriptionId {frame.subscription!r} is that of another subscription"
            self.push(error_message(words))
        elif known not in self._pending:
            known.since = frame.since
            self._pending.append(known)
            self._answer_pending()

    async def _leave_one(self, frame: Frame) -> None:
        found = self._joined.pop(frame.subscription, None)
        if found is None:
            return
        subscription, declaration = found
        self._quota.give(self._address)
        self._hub.depart(self, subscription)
        if subscription in self._pending:  # who never reads may join and leave for ever
            self._pending.remove(subscription)
        if self._awaited is subscription:
            self._awaited = None
            self._answer_pending()
        if declaration.on_leave is not None:
            await self._gates.leave(declaration, _data_of(subscription), self._auth)

    # what the client is sent

    def push(self, message: Message) -> None:
        """Have a message sent. What cannot be taken any more closes the connection as lagged."""
        if self._closing is not None or self._gone:
            return
        if not self._pumping and self._line.write(message):
            if self._line.is_blocked:
                self._start_pump()
            return
        if self._outbox is None:
            self._outbox = Outbox(self._bounds.buffer, self._bounds.buffer_bytes)
        if self._outbox.put(message):
            self._start_pump()
        else:
            self._hub.lagged += 1
            self.close(4008, "lagged")

    def push_batch(self, batch: Batch) -> None:
        """Have messages sent, all at once if that can be."""
        if self._closing is not None or self._gone:
            return
        if not self._pumping and self._line.write_batch(batch):
            if self._line.is_blocked:
                self._start_pump()
            return
        for message in batch.messages:
            self.push(message)

    def answer(self, messages: Sequence[Message]) -> None:
        """Have a join answered."""
        self._awaited = None
        if self._closing is not None or self._gone:
            return
        rest = list(messages)
        while rest and not self._pumping and self._line.write(rest[0]):
            del rest[0]
            if self._line.is_blocked:
                self._start_pump()
        if rest:
            if self._outbox is None:
                self._outbox = Outbox(self._bounds.buffer, self._bounds.buffer_bytes)
            self._outbox.answer(rest)
            self._start_pump()
        self._answer_pending()

    def _answer_amid(self) -> None:
        """Have a join answered though more waits, once that which waited before it was sent."""
        if not self._pending or self._awaited is not None or self._closing is not None:
            return
        outbox = self._outbox
        if self._before is None:
            self._before = 0 if outbox is None else outbox.end
        if outbox is None or outbox.has_sent(self._before):
            self._before = None
            self._answer_pending(amid=True)

    def _answer_pending(self, *, amid: bool = False) -> None:
        """Have the joins answered that wait, one after the other, as long as nothing else waits.

        ``amid`` what waits, one of them is.
        """
        if self._answering:  # the hub has answered one at once: the loop below goes on
            return
        self._answering = True
        try:
            while self._pending and self._awaited is None and (amid or not self._pumping):
                amid = False
                subscription = self._pending.pop(0)
                if not subscription.over:
                    self._awaited = subscription
                    self._hub.begin(self, subscription)
        except OSError as error:
            self.push(error_message(f"the store cannot be read: {tell_error(error).error}"))
            self.close(1011, "the store cannot be read")
        finally:
            self._answering = False

    def _start_pump(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._nursery.start_soon(self._pump)

    async def _pump(self) -> None:
        """Send what waits, until nothing does."""
        with trio.CancelScope() as self._pump_scope:
            try:
                await self._line.flush()
                while messages := self._next():
                    await self._line.send(messages)
                    self._answer_amid()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._gone = True
                self._scope.cancel()
        self._pump_scope = None
        self._pumping, self._before = False, None
        if self._idle is not None:
            self._idle.set()
            self._idle = None
        if not self._gone and self._closing is None:
            self._answer_pending()

    def _next(self) -> list[Message]:
        """Take out what is to be sent next, some of it at once."""
        messages: list[Message] = []
        size = 0
        while self._outbox is not None and size < _PIECE:
            message = self._outbox.take()
            if message is None:
                self._outbox = None
                if self._before is not None:
                    self._before = 0  # the next outbox counts anew
                break
            messages.append(message)
            size += len(message.text)
        return messages


def _data_of(subscription: Subscription) -> Data:
    """A subscription as hooks get it."""
    return Data(
        stream_name=subscription.stream,
        group_id=subscription.group,
        id=subscription.key,
        subscription_id=subscription.id,
    )
