"""The HTTP edge: triggers as an ASGI application, and that application on sockets."""

from motia_trio.http_server.asgi import ASGIApp, asgi_app
from motia_trio.http_server.server import listen

__all__ = ["ASGIApp", "asgi_app", "listen"]
