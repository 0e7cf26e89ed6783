"""Whose request it is: the peer's, or whom a listed proxy in front names."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from broker.door.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from broker.door.websettings import WebSettings

    Address = IPv4Address | IPv6Address

#: Bits that tell one source from another: a host chooses its address within an IPv6 /64.
_IPV4, _IPV6 = 32, 64


class Clients:
    """Pure: addresses are as a socket or a header has them."""

    def __init__(self, settings: WebSettings) -> None:
        self._tls = settings.tls
        self._proxies = _networks(settings.proxies)
        self._monitors = _networks(settings.monitors)

    def may_come(self, peer: str) -> bool:
        """Whether it may have a connection: without TLS what it sends could be read on its way."""
        address = _parsed(peer)
        return address is not None and (self._tls or address.is_loopback or self._trusts(address))

    def is_proxy(self, peer: str) -> bool:
        address = _parsed(peer)
        return address is not None and self._trusts(address)

    def of(self, peer: str, forwarded: Sequence[str]) -> str:
        """The client's address, for the peer's and each `X-Forwarded-For` that it sent: what stands
        furthest right and is no proxy's, for all left of it anybody could have written.
        """
        client = _parsed(peer)
        if client is None:
            return peer
        hops = [hop for value in forwarded for hop in value.split(",")]
        while hops and self._trusts(client):
            before = _parsed(hops.pop().strip())
            if before is None:
                break
            client = before
        return str(client)

    def may_watch(self, client: str) -> bool:
        """Whether it may hear how Desk is: this host always may."""
        address = _parsed(client)
        return address is not None and (address.is_loopback or _within(address, self._monitors))

    def _trusts(self, address: Address) -> bool:
        return _within(address, self._proxies)


def source_of(address: str) -> Source:
    """By which clients are counted."""
    return Source.of(address, ipv4_prefix=_IPV4, ipv6_prefix=_IPV6)


def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped


def _networks(texts: Iterable[str]) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    return [ipaddress.ip_network(text) for text in texts]


def _within(
    address: Address, networks: Iterable[ipaddress.IPv4Network | ipaddress.IPv6Network]
) -> bool:
    return any(address in network for network in networks)
