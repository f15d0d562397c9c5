"""All who follow streams, by whatever edge they came: how many there may be, and who is let in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from motia_trio.events import StreamClientClosed, StreamClientRefused
from motia_trio.http_server.proxies import TrustedProxies
from motia_trio.stream_server.handshakes import Refusal, handshake_of, is_welcome
from motia_trio.streams import Session
from motia_trio.streams.quotas import Quota
from motia_trio.streams.sessions import Bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import trio

    from motia_trio.data import Data
    from motia_trio.runtime import Runtime
    from motia_trio.streams.sessions import Closing, Line

__all__ = ["Crowd", "Guest"]


class Crowd:
    """Lets clients in, and counts them."""

    def __init__(self, runtime: Runtime) -> None:
        settings = runtime.settings
        self.settings = settings
        self.observers = runtime.observers
        self.hub = runtime.shared.hub
        self._streams = runtime.shared.streams
        self._gates = runtime.gates
        self._proxies = TrustedProxies(settings.trusted_proxies)
        self._origins = settings.stream_origins
        if self._origins is None:
            self._origins = settings.cors_origins
        self._connections = Quota(
            settings.stream_max_connections, settings.stream_max_connections_per_address
        )
        self._subscriptions = Quota(
            settings.stream_max_subscriptions, settings.stream_max_subscriptions_per_address
        )
        self._bounds = Bounds(
            settings.stream_buffer,
            settings.stream_buffer_bytes,
            settings.stream_max_subscriptions_per_connection,
            settings.shutdown_timeout,
        )

    @property
    def connections(self) -> int:
        """How many clients have a place, or are being asked who they are."""
        return self._connections.out

    @property
    def subscriptions(self) -> int:
        """How many subscriptions they have."""
        return self._subscriptions.out

    async def admit(
        self,
        headers: Data,
        target: str,
        protocols: Sequence[str],
        scope: dict[str, Any],
        *,
        same_host: bool = False,
    ) -> Guest | Refusal:
        """Let a client in, or say why not. A checkpoint if it has to be authenticated.

        ``scope`` has ``client``, as of ASGI. ``same_host``: pages of the host that it connects to
        are always welcome. A guest has a place until :meth:`Guest.leave`.
        """
        address = self._proxies.caller(scope, headers).client or "unknown"
        host = dict.get(headers, "host") if same_host else None
        if not is_welcome(dict.get(headers, "origin"), self._origins or (), host):
            return self._refused(address, 403, "Origin not allowed")
        limit = self._connections.take(address)
        if limit is not None:
            return self._refused(address, 503, "Overloaded", f"at most {limit}")
        admitted = False
        try:
            admission = await self._gates.admit(handshake_of(headers, target, protocols, address))
            admitted = admission.allowed
        finally:
            if not admitted:
                self._connections.give(address)
        if not admitted:
            return self._refused(address, 401, "Unauthorized")
        return Guest(self, address, admission.context)

    def _refused(self, address: str, status: int, error: str, detail: str = "") -> Refusal:
        self.observers.tell(StreamClientRefused(address, error, status, detail))
        return Refusal(status, error)

    def leave(self, address: str) -> None:
        """One client less."""
        self._connections.give(address)

    def session(self, guest: Guest, line: Line, nursery: trio.Nursery) -> Session:
        """Give the session of a client that was let in."""
        return Session(
            self.hub,
            self._gates,
            self._streams,
            line,
            nursery,
            bounds=self._bounds,
            quota=self._subscriptions,
            address=guest.address,
            auth=guest.context,
        )

    def tell_closed(self, guest: Guest, closing: Closing | None, unsent: int) -> None:
        """Tell the observers that a client is gone, why, and what it was not sent any more."""
        code, reason = (1006, "gone") if closing is None else (closing.code, closing.reason)
        self.observers.tell(StreamClientClosed(guest.address, code, reason, unsent))


class Guest:
    """A client that was let in: from where, and as whom."""

    __slots__ = ("_crowd", "address", "context")

    def __init__(self, crowd: Crowd, address: str, context: Any) -> None:
        self._crowd = crowd
        self.address = address
        self.context = context

    def leave(self) -> None:
        """Give its place back."""
        self._crowd.leave(self.address)
