"""Live streams on web sockets: a port of their own, and the HTTP port.

The only room that knows trio-websocket.
"""

from __future__ import annotations

from motia_trio.stream_server.asgi import AsgiStreams
from motia_trio.stream_server.crowd import Crowd
from motia_trio.stream_server.server import listen

__all__ = ["AsgiStreams", "Crowd", "listen"]
