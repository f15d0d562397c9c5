"""Live streams: who follows what, and what they are sent. Knows no sockets."""

from __future__ import annotations

from motia_trio.streams.hub import Hub, HubStatistics
from motia_trio.streams.sessions import Session

__all__ = ["Hub", "HubStatistics", "Session"]
