"""The bytes below a web socket, watched: when something was last heard, and when they ended."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import trio

from motia_trio.client.errors import ConnectionRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from motia_trio.client.address import Address

__all__ = ["Link", "dial"]


class Link(trio.abc.Stream):
    """A stream that notes what trio-websocket does not tell."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self._stream = stream
        #: the time, on Trio's clock, at which something came last
        self.heard = trio.current_time()
        #: whether a frame may have gone out in part: then no other can follow it
        self.torn = False
        #: called when nothing more will come
        self.on_end: Callable[[], object] | None = None

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Receive what there is."""
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()
            raise
        if data:
            self.heard = trio.current_time()
        else:
            self._end()
        return data

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of it."""
        self.torn = True
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._end()
            raise
        self.torn = False

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until there is room."""
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        """Close it."""
        self._end()
        await self._stream.aclose()

    def _end(self) -> None:
        if self.on_end is not None:
            self.on_end()


async def dial(address: Address, context: ssl.SSLContext | None) -> trio.abc.Stream:
    """Connect to a server's port, and agree on TLS if its URL begins with wss.

    Raises:
        OSError, trio.BrokenResourceError: there is no connection to be had now.
        ConnectionRefused: its certificate is not to be trusted.
    """
    if not address.secure:
        return await trio.open_tcp_stream(address.host, address.port)
    stream = await trio.open_ssl_over_tcp_stream(
        address.host, address.port, ssl_context=context, https_compatible=True
    )
    try:
        await stream.do_handshake()
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(error.__cause__, ssl.SSLCertVerificationError):
            raise ConnectionRefused(  # noqa: ASYNC104 - what cancels has no such cause
                f"the certificate of {address.shown} is not to be trusted: "
                f"{error.__cause__.verify_message}; give ssl_context= one that knows who signed it"
            ) from error
        raise
    return stream
