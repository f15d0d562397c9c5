"""A loop of `write` over sockets, and no server: what is left when all else costs nothing.

    python -m benchmarks.crowd.bare

It shakes hands and answers the join, each time with the same bytes and without looking, and writes
each message as one ready frame. It prints its port, and does what `control` says.
"""

from __future__ import annotations

import base64
import hashlib
import os
import sys

import trio
from benchmarks.crowd.control import allow_files, obey_on_trio, ready
from benchmarks.crowd.messages import SYNC, message_of

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


def frame(text: str) -> bytes:
    """A text of up to 65,535 bytes, as a server sends it."""
    data = text.encode()
    if len(data) < 126:
        return bytes([0x81, len(data)]) + data
    return b"\x81\x7e" + len(data).to_bytes(2, "big") + data


def _accept(request: bytes) -> bytes:
    key = request.partition(b"Sec-WebSocket-Key: ")[2].partition(b"\r\n")[0]
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())  # noqa: S324 - the RFC's
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )


async def main() -> None:
    """Serve and obey, for ever."""
    followers: list[trio.SocketStream] = []

    async def follow(stream: trio.SocketStream) -> None:
        await stream.send_all(_accept(await stream.receive_some()))
        await stream.receive_some()
        followers.append(stream)
        await stream.send_all(frame(SYNC))
        while await stream.receive_some():
            pass

    async def publish(number: int) -> None:
        data = frame(message_of(number))
        for follower in followers:
            # Trio's `send` would be a checkpoint each time
            if os.write(follower.socket.fileno(), data) != len(data):
                sys.exit("a socket's buffer is full; publish less at a time")

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, follow, 0)
        ready(listeners[0].socket.getsockname()[1])
        await obey_on_trio(publish)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    allow_files()
    trio.run(main)
