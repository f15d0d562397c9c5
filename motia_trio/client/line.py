"""The connection of a client, made again whenever it is lost, and who is told what comes of it."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

import trio

from motia_trio.client.address import with_token
from motia_trio.client.connection import Lost, converse
from motia_trio.client.errors import ConnectionRefused
from motia_trio.client.wire import ANSWERS, ServerError, UnknownFrame, parse_message
from motia_trio.errors import Closed, MessageTooLarge

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable

    from motia_trio.client.address import Address, TokenIn
    from motia_trio.client.backoff import Backoff
    from motia_trio.client.connection import Limits, Outgoing
    from motia_trio.client.subscription import Subscription
    from motia_trio.client.wire import Heard

__all__ = ["Line"]

logger = logging.getLogger("motia_trio.client")


class Line:
    """All joins of a client, and the one connection on which they are made."""

    def __init__(
        self,
        address: Address,
        token: str | Callable[[], Awaitable[str]] | None,
        token_in: TokenIn,
        ssl_context: ssl.SSLContext | None,
        backoff: Backoff,
        limits: Limits,
    ) -> None:
        self._address = address
        self._token = token
        self._token_in: TokenIn = token_in
        self._ssl_context = ssl_context
        self._backoff = backoff
        self._limits = limits
        # by stream and group, in the order in which they were joined
        self._rooms: dict[tuple[str, str], list[Subscription]] = {}
        self._outgoing: Outgoing | None = None
        self._failure: Callable[[], Exception] | None = None
        self._stop = trio.Event()
        self._started: Callable[[], None] = lambda: None
        self._begun_at: float | None = None
        #: set when there will be no connection any more
        self.ended = trio.Event()
        #: connections that there have been
        self.connections = 0

    @property
    def connected(self) -> bool:
        """Whether there is a connection now, as far as is known."""
        return self._outgoing is not None

    # what followers do

    def join(self, subscription: Subscription) -> None:
        """Have a place followed, on this connection and on all to come."""
        if self._failure is not None:
            subscription.fail(self._failure)
            return
        self._rooms.setdefault((subscription.stream, subscription.group), []).append(subscription)
        if self._outgoing is not None:
            self._outgoing.join(subscription.id, subscription.join_frame())

    def leave(self, subscription: Subscription) -> None:
        """Have it followed no more. Once is enough."""
        if self._forget(subscription) and self._outgoing is not None:
            self._outgoing.leave(subscription.id, subscription.leave_frame())

    def _forget(self, subscription: Subscription) -> bool:
        place = subscription.stream, subscription.group
        room = self._rooms.get(place, [])
        if subscription not in room:
            return False
        room.remove(subscription)
        if not room:
            del self._rooms[place]
        return True

    def _all(self) -> list[Subscription]:
        return [subscription for room in self._rooms.values() for subscription in room]

    # one connection after the other

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect again and again, until it is stopped or has failed. Started once connected.

        Raises:
            ConnectionRefused, MessageTooLarge: before it was started. After that, followers do.
        """
        self._started = task_status.started
        attempt = 0
        try:
            while not self._stop.is_set():
                self._begun_at = None
                lost = await self._connect_once()
                if self._stop.is_set():
                    return
                attempt = 1 if self._was_stable() else attempt + 1
                wait = self._backoff.wait_before(attempt, random.random())  # noqa: S311  # no secret
                wait += min(lost.wait, self._backoff.longest)  # spread, too
                logger.warning("%s: %s; trying again in %.1f s", self._address.shown, lost, wait)
                with trio.move_on_after(wait):
                    await self._stop.wait()
        except (ConnectionRefused, MessageTooLarge) as error:
            if not self.connections:
                raise
            self._fail(error)
        finally:
            self.ended.set()

    async def _connect_once(self) -> Lost:
        """Hold one connection until it is lost, and tell how it was."""
        address = self._address
        if self._token is not None:
            token = self._token if isinstance(self._token, str) else await self._token()
            address = with_token(address, token, self._token_in)
        try:
            await converse(address, self._ssl_context, self._limits, self, self._stop)
        except Lost as lost:
            return lost
        finally:
            self._outgoing = None
            for subscription in self._all():
                subscription.disconnect()
        return Lost("it was closed here")

    def _was_stable(self) -> bool:
        began = self._begun_at
        return began is not None and trio.current_time() - began >= self._backoff.stable

    def stop(self) -> None:
        """Have the connection closed in order, and followers told that there is none any more."""
        self._stop.set()
        self._fail_with(lambda: Closed("the scope of open_stream_client has been left"))

    def _fail(self, error: ConnectionRefused | MessageTooLarge) -> None:
        logger.error("%s: %s; it is not tried again", self._address.shown, error)
        if isinstance(error, ConnectionRefused):
            self._fail_with(lambda: ConnectionRefused(str(error), error.status))
        else:
            self._fail_with(lambda: MessageTooLarge(str(error)))

    def _fail_with(self, failure: Callable[[], Exception]) -> None:
        """Have all followers raise an error, now and later: each its own."""
        self._failure = failure
        for subscription in self._all():
            subscription.fail(failure)
        self._rooms.clear()

    # what the connection does

    def begin(self, outgoing: Outgoing) -> None:
        """Join everything that is followed, from where it was."""
        self._begun_at = trio.current_time()
        self._outgoing = outgoing
        self.connections += 1
        if self.connections == 1:
            self._started()
        logger.info("%s: connected", self._address.shown)
        for subscription in self._all():
            if subscription.abandoned:
                self._forget(subscription)
            else:
                outgoing.join(subscription.id, subscription.join_frame())

    def hear(self, text: str | bytes) -> None:
        """Tell those whom a message concerns."""
        try:
            message = parse_message(text)
        except UnknownFrame as unknown:
            logger.debug("%s: not understood: %s", self._address.shown, unknown)
            return
        if isinstance(message, ServerError):
            self._hear_error(message)
            return
        room = self._rooms.get((message.stream, message.group), ())
        whom = [subscription for subscription in room if subscription.concerns(message)]
        try:
            self._tell(message, whom)
        except UnknownFrame as unknown:
            logger.warning("%s: not understood: %s", self._address.shown, unknown)

    def _hear_error(self, error: ServerError) -> None:
        logger.warning("%s: the server says: %s", self._address.shown, error.message)
        for subscription in self._all():
            if subscription.id == error.subscription:
                self._forget(subscription)
                subscription.refuse(error.message)

    def _tell_one(self, message: Heard, subscription: Subscription) -> None:
        waits = subscription.needs_sync
        subscription.hear(message)
        if subscription.needs_sync and not waits and self._outgoing is not None:
            self._outgoing.join(subscription.id, subscription.join_frame())

    def _tell(self, message: Heard, whom: list[Subscription]) -> None:
        # one that does not tell whose it is comes in the order of the joins: it is the first one's
        # that waits for one
        mine = None
        if message.kind in ANSWERS:
            mine = next((one for one in whom if one.is_answered_by(message)), None)
        for subscription in whom:
            if subscription.abandoned:
                self.leave(subscription)
            else:
                self._tell_one(message, subscription)
        if mine is not None:
            mine.answer(message)
            if mine.failure is not None:
                self._forget(mine)
