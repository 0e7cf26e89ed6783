"""Ranges of numbers that are leased, and which of them is next."""

from __future__ import annotations

from dataclasses import dataclass

from broker.core.model import LeaseKind


@dataclass(frozen=True, slots=True)
class Pool:
    """The numbers from `first` to `last`, both included."""

    first: int
    last: int

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise ValueError(f"empty pool {self.first}-{self.last}")

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, number: int) -> bool:
        return self.first <= number <= self.last


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """What one host has to lease out to sessions, and uids to desktops."""

    ports: Pool
    displays: Pool
    addresses: Pool
    """IPv4 addresses of the instance's bridge, as integers."""
    uids: Pool

    @property
    def sizes(self) -> dict[LeaseKind, int]:
        """How many numbers there are of each kind."""
        return {
            LeaseKind.PORT: len(self.ports),
            LeaseKind.DISPLAY: len(self.displays),
            LeaseKind.ADDRESS: len(self.addresses),
            LeaseKind.UID: len(self.uids),
        }
