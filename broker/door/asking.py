"""Who asks the HTTP port for something, and the parts of it that answer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aiohttp import web

    from broker.door.cookies import Secrets


@dataclass(frozen=True, slots=True, kw_only=True)
class Asker:
    """Of one request."""

    client: str
    """Their address: the peer's, or whom a listed proxy in front names."""
    port: int | None
    """Theirs, where nobody is in between."""
    secure: bool
    """Whether their browser speaks https."""
    secrets: Secrets

    @property
    def peer(self) -> str:
        """`ADDRESS:PORT`, or the address where that is all that is known."""
        address = f"[{self.client}]" if ":" in self.client else self.client
        return self.client if self.port is None else f"{address}:{self.port}"


class Guard(Enum):
    """What of a place must come from the pages of this Desk, or with a token."""

    NOTHING = auto()
    """It is the same for everybody, and to be read alone."""
    CHANGES = auto()
    """What does more than to read."""
    EVERYTHING = auto()


class Place(Protocol):
    """A part of the HTTP port, with addresses of its own."""

    guard: Guard

    def answers(self, path: str) -> bool:
        """Whether the address, without its query, is one of its own."""

    async def answer(self, request: web.Request, asker: Asker) -> web.StreamResponse:
        """What is there. Raises `Refused`, and `DeskError` for what only the broker could do."""
