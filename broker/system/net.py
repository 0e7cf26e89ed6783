"""What the host's network has: routes that a bridge must not collide with, name servers."""

from __future__ import annotations

import ipaddress
from pathlib import Path

_ROUTES = Path("/proc/net/route")

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


def _address(little_endian_hex: str) -> ipaddress.IPv4Address:
    return ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(little_endian_hex), "little"))


def resolvers(files: tuple[Path, ...] = _RESOLV) -> tuple[str, ...]:
    """At most three name servers that a container can ask from its own network.

    Never one on loopback: the engine would ask it from the host's network, past every rule that
    holds for desktops.
    """
    for file in files:
        found = [server for server in _servers(file) if _is_elsewhere(server)]
        if found:
            return tuple(found[:3])
    return _PUBLIC


def _is_elsewhere(server: str) -> bool:
    address = ipaddress.IPv4Address(server)
    return not (address.is_loopback or address.is_unspecified)  # 0.0.0.0 is this host, too


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
