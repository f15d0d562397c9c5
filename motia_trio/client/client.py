"""A client of live streams, for Trio programs."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from motia_trio.client.address import parse_address, with_token
from motia_trio.client.backoff import Backoff
from motia_trio.client.connection import CLOSE_WITHIN, Limits
from motia_trio.client.follower import Follower
from motia_trio.client.line import Line
from motia_trio.client.subscription import Subscription
from motia_trio.client.views import EventsView, GroupView, ItemView
from motia_trio.store import check_name

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from motia_trio.client.address import TokenIn
    from motia_trio.client.subscription import Gap
    from motia_trio.client.views import StreamEvent

__all__ = ["StreamClient", "open_stream_client"]


class StreamClient:
    """Followers of one server's streams. Made by :func:`~motia_trio.client.open_stream_client`.

    All of them have one connection. Each has states of its own, which it may change as it likes.
    """

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def connected(self) -> bool:
        """Whether there is a connection now, as far as is known."""
        return self._line.connected

    @property
    def connections(self) -> int:
        """How many connections there have been, with the one that there is."""
        return self._line.connections

    def group(
        self, stream: str, group: str, *, on_gap: Callable[[Gap], object] | None = None
    ) -> Follower[list[Any]]:
        """Follow a group: gives the list of its items, now and whenever it has changed.

        Each item is as it was set, with its ``id``. They are in the order in which the server has
        them at first; those that are made later come last.
        """
        return self._follow(stream, group, None, GroupView(), on_gap)

    def item(
        self,
        stream: str,
        group: str,
        id: str,  # noqa: A002  # Motia's word
        *,
        on_gap: Callable[[Gap], object] | None = None,
    ) -> Follower[Any]:
        """Follow one item: gives it with its ``id``, or None when there is none."""
        return self._follow(stream, group, check_name("id", id), ItemView(), on_gap)

    def events(
        self,
        stream: str,
        group: str,
        id: str | None = None,  # noqa: A002  # Motia's word
        type: str | None = None,  # noqa: A002  # Motia's word
        *,
        buffer: int = 1_000,
        on_gap: Callable[[Gap], object] | None = None,
    ) -> Follower[StreamEvent]:
        """Follow what steps ``send``: to a group and its items, or to the item ``id`` alone.

        With ``type``, only events of that type. Up to ``buffer`` of them wait to be taken; then
        the oldest goes for the newest. Nobody keeps events, so those that are sent while there is
        no connection are lost. Both are gaps.
        """
        if buffer < 1:
            raise ValueError(f"buffer is a number of events, 1 or more, not {buffer!r}")
        key = None if id is None else check_name("id", id)
        return self._follow(stream, group, key, EventsView(type, buffer), on_gap)

    def _follow(
        self,
        stream: str,
        group: str,
        key: str | None,
        view: GroupView | ItemView | EventsView,
        on_gap: Callable[[Gap], object] | None,
    ) -> Follower[Any]:
        subscription = Subscription(
            check_name("stream", stream), check_name("group", group), key, view
        )
        return Follower(self._line, subscription, on_gap)


@asynccontextmanager
async def open_stream_client(
    url: str,
    *,
    token: str | Callable[[], Awaitable[str]] | None = None,
    token_in: TokenIn = "protocol",  # noqa: S107  # a place, no secret
    headers: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    backoff: Backoff | None = None,
    connect_timeout: float = 10.0,
    ping_interval: float = 20.0,
    ping_timeout: float = 20.0,
    message_limit: int = 64 * 2**20,
) -> AsyncIterator[StreamClient]:
    """Follow the live streams of a server for the length of a scope.

    ``url`` is the server's, such as ``ws://127.0.0.1:3112`` (``service.streams_url``). The scope is
    entered once there is a connection. It is made again whenever it is lost, with the waits of
    ``backoff``, and what was missed is asked for. Every loss, wait and gap is told to the standard
    library's logger ``motia_trio.client``.

    ``token`` is sent as the sub-protocol list ``Authorization, <token>``, or with
    ``token_in="query"`` as ``?authToken=``, which may end up in logs. It may be an async function:
    that is asked before each attempt to connect, and what it raises ends the scope. ``headers`` go
    with the handshake. ``ssl_context`` is for ``wss://``; without one, certificates are checked as
    the system says.

    An attempt may take ``connect_timeout`` seconds. A ping is sent every ``ping_interval`` seconds;
    when nothing at all is heard for that and ``ping_timeout`` seconds more, the connection is
    taken for dead. ``message_limit`` is in bytes: a whole group comes as one message.

    A checkpoint at both ends. Leaving closes the connection in order, within two seconds.

    A server that refuses is not asked again: any 4xx but 408, 425 and 429, what is no web socket,
    and a certificate that is not to be trusted. After the first connection, followers raise that.

    Raises:
        ConnectionRefused: the server does not let this client in.
        ValueError: the URL, a header, the token or a limit cannot be used.
    """
    address = parse_address(url, headers)
    if isinstance(token, str):
        with_token(address, token, token_in)  # raises now what it would raise later
    limits = Limits(connect_timeout, ping_interval, ping_timeout, message_limit)
    line = Line(address, token, token_in, ssl_context, backoff or Backoff(), limits)
    try:
        async with trio.open_nursery(strict_exception_groups=True) as nursery:
            await nursery.start(line.run)
            try:
                yield StreamClient(line)
            finally:
                line.stop()
            with trio.move_on_after(CLOSE_WITHIN):
                await line.ended.wait()
            nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        # what was raised in the scope comes out as it was: around it is one group, the nursery's
        found = [error for error in group.exceptions if not isinstance(error, trio.Cancelled)]
        if len(found) != 1:
            raise
        sole = found[0]
    else:
        return
    raise sole from sole.__cause__
