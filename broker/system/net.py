"""What the host's network has: routes that a bridge must not collide with, addresses, name servers."""

from __future__ import annotations

import ipaddress
from pathlib import Path

_ROUTES = Path("/proc/self/net/route")
_ADDRESSES = Path("/proc/self/net/fib_trie")

#: No network that a host is in is larger: such a route stands for a half of the default one.
_LARGEST = 8

#: The second is where systemd-resolved keeps the real name servers behind its loopback stub.
_RESOLV = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))

#: Public resolvers (Quad9, Cloudflare), for a host that names none but on loopback.
_PUBLIC = ("9.9.9.9", "1.1.1.1")


def routed_networks(own: str, routes: Path = _ROUTES) -> list[ipaddress.IPv4Network]:
    """Every IPv4 network that the host routes, but the default and those of the interface `own`."""
    networks = []
    for line in routes.read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = _address(fields[1]), _address(fields[7])
        if int(mask) and fields[0] != own:
            networks.append(ipaddress.IPv4Network(f"{destination}/{mask}"))
    return networks


def own_addresses(addresses: Path = _ADDRESSES) -> frozenset[ipaddress.IPv4Address]:
    """Every IPv4 address of the host itself, those on loopback too."""
    found, last = set(), ""
    try:
        lines = addresses.read_text(encoding="ascii").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        words = line.split()
        if words[:1] == ["|--"]:
            last = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found.add(ipaddress.IPv4Address(last))
    return frozenset(found)


def neighbours(
    own: str, routes: Path = _ROUTES, addresses: Path = _ADDRESSES
) -> list[ipaddress.IPv4Network]:
    """The IPv4 networks in which the host has an address, but those of the interface `own`."""
    ours = own_addresses(addresses)
    return [
        network
        for network in routed_networks(own, routes)
        if network.prefixlen >= _LARGEST and any(address in network for address in ours)
    ]


def _address(little_endian_hex: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(little_endian_hex), "little"))


def resolvers(files: tuple[Path, ...] = _RESOLV, addresses: Path = _ADDRESSES) -> tuple[str, ...]:
    """At most three name servers that a container can ask from its own network.

    Never one on loopback: the engine would ask it from the host's network, past every rule that
    holds for desktops. Nor one at another address of the host: no desktop reaches the host.
    """
    ours = own_addresses(addresses)
    for file in files:
        found = [server for server in _servers(file) if _is_elsewhere(server, ours)]
        if found:
            return tuple(found[:3])
    return _PUBLIC


def _is_elsewhere(server: str, ours: frozenset[ipaddress.IPv4Address]) -> bool:
    address = ipaddress.IPv4Address(server)
    # 0.0.0.0 is this host, too
    return not (address.is_loopback or address.is_unspecified or address in ours)


def _servers(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = [line.split() for line in lines]
    return [w[1] for w in words if len(w) > 1 and w[0] == "nameserver" and _is_ipv4(w[1])]


def _is_ipv4(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True
