"""What a door received, added up from what each connection counts for itself anyhow."""

from __future__ import annotations

from enum import Enum, auto
from typing import Protocol


class Sender(Enum):
    """Whose bytes they are."""

    CLIENT = auto()
    DESKTOP = auto()


class Counting(Protocol):
    """A connection."""

    @property
    def received(self) -> int:
        """Bytes so far."""


class Traffic:
    """Nothing is done for it while bytes flow: connections are asked when somebody wants to know."""

    def __init__(self) -> None:
        self._open: dict[Sender, set[Counting]] = {sender: set() for sender in Sender}
        self._over = dict.fromkeys(Sender, 0)
        """Of connections that are gone."""

    def begins(self, sender: Sender, connection: Counting) -> None:
        self._open[sender].add(connection)

    def ends(self, sender: Sender, connection: Counting) -> None:
        """Once is enough."""
        if connection in self._open[sender]:
            self._open[sender].discard(connection)
            self._over[sender] += connection.received

    def received(self, sender: Sender) -> int:
        """Bytes since the door began."""
        return self._over[sender] + sum(one.received for one in self._open[sender])
