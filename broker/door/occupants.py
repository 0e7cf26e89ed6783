"""Somebody in a desktop by the HTTP port: from the request until it, or somebody, ends it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from enum import Enum, auto
from typing import TYPE_CHECKING

from broker.door.endings import Ended

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.core.gateway import Identity
    from broker.door.endings import Code

#: The method by which guests are let in.
GUEST = "guest"


class Purpose(Enum):
    """What somebody is there for; each is counted by itself."""

    SCREEN = auto()
    SOUND = auto()
    FILES = auto()
    PICTURE = auto()


#: Whom a door that is about to leave does not wait for: their pages come back at once, elsewhere.
PAGES = {Purpose.SCREEN, Purpose.SOUND}


class Occupant:
    """One web socket or request that is in a desktop, or about to be."""

    def __init__(self, purpose: Purpose) -> None:
        self.purpose = purpose
        self.identity: Identity | None = None
        """Once the broker said who it is."""
        self.session_id: str | None = None
        """Where they are, or are about to be."""
        self.is_inside = False
        self._scope = asyncio.timeout(None)
        self._ended: Ended | None = None

    @asynccontextmanager
    async def present(self) -> AsyncIterator[None]:
        """Be there, until somebody ends it: raises `Ended` then, whatever else that brought about."""
        try:
            async with self._scope:
                yield
        except Exception:
            if self._ended is None:
                raise
            raise self._ended from None

    @property
    def is_ended(self) -> bool:
        return self._ended is not None

    def end(self, code: Code, sentence: str) -> None:
        """The first who says so counts."""
        if self._ended is None:
            self._ended = Ended(code, sentence)
            self._scope.reschedule(asyncio.get_running_loop().time())


def person_of(occupant: Occupant) -> str | None:
    """Guests are there as themselves, though it is the owner's desktop."""
    identity = occupant.identity
    if identity is None:
        return None
    return identity.credential if identity.method == GUEST else identity.user_id
