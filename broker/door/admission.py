"""How many connections may be open: in all, unproven, and of one person."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from broker.door.limits import Limits


class Admission:
    """Counts the unauthenticated by where they come from, the others by who they are."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.places = limits.connections
        """For connections of every kind."""
        self._open = 0
        self._total = 0
        self._by_origin: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Count one in; False when there is no place for it."""
        origin = _origin(address)
        if (
            self._open >= self.places
            or self._total >= self._limits.unauthenticated
            or self._by_origin[origin] >= self._limits.unauthenticated_per_address
        ):
            return False
        self._open += 1
        self._total += 1
        self._by_origin[origin] += 1
        return True

    def closed(self) -> None:
        """One that was let in gave its descriptor back."""
        self._open -= 1

    def leave(self, address: str) -> None:
        """One that was let in has proven who it is, or is gone."""
        origin = _origin(address)
        self._total -= 1
        self._by_origin[origin] -= 1
        if not self._by_origin[origin]:
            del self._by_origin[origin]

    def prove(self, user_id: str) -> bool:
        """Count one of that person in; False when they have all that they may have."""
        if self._by_user[user_id] >= self._limits.connections_per_user:
            return False
        self._by_user[user_id] += 1
        return True

    def part(self, user_id: str) -> None:
        """Count out one that was proven."""
        self._by_user[user_id] -= 1
        if not self._by_user[user_id]:
            del self._by_user[user_id]


def _origin(address: str) -> str:
    """An IPv4 address, or the /64 that an IPv6 host can choose its address from."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped else str(IPv6Address(int(parsed) >> 64 << 64))
