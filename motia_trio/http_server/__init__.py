"""The HTTP edge: triggers as an ASGI application, and that application on sockets."""

from motia_trio.http_server.asgi import ASGIApp, asgi_app
from motia_trio.http_server.incoming import BodyReader, BodyStream
from motia_trio.http_server.mounts import Mounts
from motia_trio.http_server.refusals import BodyTooLarge, BodyTooSlow, ClientGone, Malformed
from motia_trio.http_server.server import Tls, listen
from motia_trio.http_server.uploads import UploadedFile

__all__ = [
    "ASGIApp",
    "BodyReader",
    "BodyStream",
    "BodyTooLarge",
    "BodyTooSlow",
    "ClientGone",
    "Malformed",
    "Mounts",
    "Tls",
    "UploadedFile",
    "asgi_app",
    "listen",
]
