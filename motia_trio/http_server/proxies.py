"""Who a request comes from, where proxies that are trusted stand between. Pure."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Any

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from motia_trio.data import Data

__all__ = ["Caller", "TrustedProxies"]

_PAIR = re.compile(r'\s*([A-Za-z]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]*))\s*')
# the hosts that a name in a header may be: a name, an address, a port
_HOST = re.compile(r"[A-Za-z0-9._~%!$&'()*+=:\[\]-]{1,255}")


@frozen
class Caller:
    """Where a request comes from and how it was asked for."""

    client: str | None
    scheme: str
    host: str | None


class TrustedProxies:
    """Reads ``X-Forwarded-*`` or ``Forwarded``, when a proxy of these addresses or nets sent it."""

    def __init__(self, nets: Sequence[str]) -> None:
        self._nets = [ip_network(net, strict=False) for net in nets]

    def caller(self, scope: Any, headers: Data) -> Caller:
        """Tell who the caller of a request is.

        The client is the rightmost address that is not a trusted proxy's: what stands left of it
        may have been made up by anybody.
        """
        peer = scope.get("client")
        address = peer[0] if peer else None
        direct = Caller(address, scope.get("scheme", "http"), dict.get(headers, "host"))
        if not self._nets or not self._trusts(_address(address)):
            return direct
        if any(dict.__contains__(headers, f"x-forwarded-{name}") for name in _FORWARDED):
            hops = [
                {name: value for name, value in zip(_FORWARDED, row, strict=True) if value}
                for row in _rows([_list(headers, f"x-forwarded-{name}") for name in _FORWARDED])
            ]
        elif (forwarded := dict.get(headers, "forwarded")) is not None:
            hops = _forwarded(forwarded)
        else:
            return direct
        return self._behind(direct, hops)

    def _behind(self, direct: Caller, hops: list[dict[str, str]]) -> Caller:
        client, scheme, host = direct.client, direct.scheme, direct.host
        for hop in reversed(hops):
            if (proto := hop.get("proto", "").lower()) in {"http", "https"}:
                scheme = proto
            if (name := hop.get("host")) is not None and _HOST.fullmatch(name):
                host = name
            if "for" not in hop:
                continue
            found = _address(hop["for"])
            if found is None:
                break  # unknown, or hidden: nothing left of it can be believed
            client = str(found)
            if not self._trusts(found):
                break
        return Caller(client, scheme, host)

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in net for net in self._nets)


_FORWARDED = ("for", "proto", "host")


def _list(headers: Data, name: str) -> list[str]:
    return [part.strip() for part in dict.get(headers, name, "").split(",") if part.strip()]


def _rows(columns: list[list[str]]) -> list[tuple[str, ...]]:
    """Columns side by side, aligned at their last: the nearest proxy wrote that."""
    height = max(map(len, columns))
    return list(zip(*([""] * (height - len(each)) + each for each in columns), strict=True))


def _forwarded(value: str) -> list[dict[str, str]]:
    """The elements of a ``Forwarded`` header. Source: RFC 7239."""
    hops: list[dict[str, str]] = [{}]
    place = 0
    while place < len(value):
        if (pair := _PAIR.match(value, place)) is not None:
            quoted = pair[2]
            text = pair[3] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            hops[-1].setdefault(pair[1].lower(), text)
            place = pair.end()
        elif value[place] in "; \t":
            place += 1
        elif value[place] == ",":
            hops.append({})
            place += 1
        else:
            return []  # not what the standard says: none of it counts
    return hops


def _address(text: str | None) -> IPv4Address | IPv6Address | None:
    """The address in ``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``."""
    if not text:
        return None
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
