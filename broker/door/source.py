"""Where a connection comes from, as far as it tells one source from another."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

_BITS = {4: 32, 6: 128}


class Source(NamedTuple):
    """A network of IPv4 or IPv6 addresses, which often is a single one."""

    version: int
    address: int
    """The first of its addresses."""
    prefix: int

    @classmethod
    def of(cls, address: str, *, ipv4_prefix: int, ipv6_prefix: int) -> Source:
        """The source of a peer's address. Raises `ValueError` when it is none of IP."""
        parsed = ip_address(address.partition("%")[0])
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        prefix = ipv4_prefix if parsed.version == 4 else ipv6_prefix
        free = _BITS[parsed.version] - prefix
        return cls(parsed.version, int(parsed) >> free << free, prefix)

    @classmethod
    def read(cls, text: str) -> Source:
        """As `str` wrote it. Raises `ValueError`."""
        return cls.whole(ip_network(text))

    @classmethod
    def whole(cls, network: IPv4Network | IPv6Network) -> Source:
        return cls(network.version, int(network.network_address), network.prefixlen)

    def overlaps(self, other: Source) -> bool:
        """Whether one of the two holds the other."""
        free = _BITS[self.version] - min(self.prefix, other.prefix)
        return self.version == other.version and self.address >> free == other.address >> free

    def __str__(self) -> str:
        text = str(ip_network((self.address, self.prefix)))
        return text.removesuffix(f"/{_BITS[self.version]}")
