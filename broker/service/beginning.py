"""Starts that somebody waits for only so long; they go on when nobody does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CapacityExhausted, DeskError

if TYPE_CHECKING:
    from broker.core.model import Actor, Desktop, Session
    from broker.service.flights import Spawn
    from broker.service.sessions import Sessions

log = structlog.get_logger()

#: Such starts that may be under way, or wait for their turn.
MOST = 1024


class Begin:
    """Starts desktops, or wakes them."""

    def __init__(self, *, sessions: Sessions, spawn: Spawn) -> None:
        self._sessions = sessions
        self._spawn = spawn
        self._under_way = 0

    async def begin(self, desktop: Desktop, *, actor: Actor, wait: float) -> Session | None:
        """The READY session; None when it takes longer than `wait` seconds. Raises what a start
        does, and `CapacityExhausted` when too many are under way.
        """
        if self._under_way >= MOST:
            raise CapacityExhausted(f"{MOST} starts of the API are under way")
        self._under_way += 1
        task = self._spawn(self._start(desktop, actor), name=f"start {desktop.id}")
        await asyncio.wait({task}, timeout=wait)
        if not task.done():
            return None
        outcome = task.result()
        if isinstance(outcome, DeskError):
            raise outcome
        return outcome

    async def _start(self, desktop: Desktop, actor: Actor) -> Session | DeskError:
        """An error is an answer here: nobody may wait for it any more."""
        try:
            return await self._sessions.ensure(desktop, actor=actor)
        except DeskError as error:
            log.info("start refused", desktop=desktop.id, code=error.code, problem=str(error))
            return error
        finally:
            self._under_way -= 1
