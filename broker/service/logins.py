"""Tells the audit, and the keys, of logins that succeeded: as many at once as wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import DeskError
from broker.core.model import LoginNote, UserId
from broker.service.identities import actor_of, key_of

if TYPE_CHECKING:
    from broker.core.gateway import Identity
    from broker.core.interfaces import Clock, Store
    from broker.service.flights import Spawn

log = structlog.get_logger()

#: Logins that wait to be written while the state cannot be.
_MOST = 10_000


class Logins:
    """Nobody's login waits for the disk, and a crowd of logins costs a few transactions."""

    def __init__(self, *, store: Store, clock: Clock, spawn: Spawn) -> None:
        self._store = store
        self._clock = clock
        self._spawn = spawn
        self._waiting: list[LoginNote] = []
        self._writing: asyncio.Task[None] | None = None

    def note(self, identity: Identity) -> None:
        """Somebody was let in."""
        if len(self._waiting) >= _MOST:
            log.error("a login is not in the audit", user=identity.user, address=identity.address)
            return
        self._waiting.append(
            LoginNote(
                user_id=UserId(identity.user_id),
                fingerprint=key_of(identity),
                at=self._clock.now(),
                address=identity.address,
                actor=actor_of(identity),
            )
        )
        if self._writing is None or self._writing.done():
            self._writing = self._spawn(self._write(), name="logins")

    async def settle(self) -> None:
        """Wait until all are written that can be."""
        if self._writing is not None:
            await asyncio.wait({self._writing})

    async def _write(self) -> None:
        while self._waiting:
            notes, self._waiting = self._waiting, []
            try:
                await self._store.note_logins(notes)
            except DeskError as error:
                self._waiting = notes + self._waiting  # with the next one
                log.warning("logins not written yet", count=len(notes), reason=str(error))
                return
