"""Follow live streams from a Trio program: :func:`~motia_trio.client.open_stream_client`."""

from __future__ import annotations

from motia_trio.client.backoff import Backoff
from motia_trio.client.client import StreamClient, open_stream_client
from motia_trio.client.errors import ConnectionRefused, NotJoined, Unauthorized
from motia_trio.client.follower import Follower
from motia_trio.client.subscription import Gap
from motia_trio.client.views import StreamEvent

__all__ = [
    "Backoff",
    "ConnectionRefused",
    "Follower",
    "Gap",
    "NotJoined",
    "StreamClient",
    "StreamEvent",
    "Unauthorized",
    "open_stream_client",
]
