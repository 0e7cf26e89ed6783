"""Networks that something is allowed from, and whether an address is in one of them."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

NETWORK_RULE = "allowed are addresses and networks: 192.0.2.7, 192.0.2.0/24, 2001:db8::/48"

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


def network(text: str) -> str:
    """`text` as `ADDRESS/BITS`, a lone address as a network of one; else `ValueError` with what is
    wrong and what is allowed.
    """
    address, slash, bits = text.partition("/")
    if slash and not (bits.isascii() and bits.isdigit()):  # the library takes netmasks too
        raise ValueError(NETWORK_RULE)
    if "%" in text:
        raise ValueError(f"a zone as in %eth0 means something on one host only; {NETWORK_RULE}")
    try:
        found = ipaddress.ip_network(text)
    except ValueError:
        try:
            wider = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(NETWORK_RULE) from None
        raise ValueError(f"{address} is not where a network of /{bits} begins: {wider}") from None
    if isinstance(found, ipaddress.IPv6Network) and found.subnet_of(_MAPPED):
        raise ValueError(f"who connects by IPv4 has an IPv4 address here; {NETWORK_RULE}")
    return str(found)


def within(address: str, networks: Sequence[str]) -> bool:
    """Whether the address is in one of the networks, each as `network` gives it; with none of
    them, every address is. An IPv4 address written as IPv6 counts as IPv4.
    """
    if not networks:
        return True
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(client, ipaddress.IPv6Address):
        client = client.ipv4_mapped or ipaddress.IPv6Address(int(client))  # without a zone
    return any(client in ipaddress.ip_network(one) for one in networks)
