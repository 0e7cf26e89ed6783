"""From any live state to ENDED: a session ends when its container is known gone."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import EngineUnavailable, NotFound, StaleState
from broker.core.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.interfaces import Clock, Store
    from broker.core.model import Actor, Session, SessionId
    from broker.service.files import SessionKeys
    from broker.service.launch import Launcher

    Remove = Callable[[Session], Awaitable[None]]

log = structlog.get_logger()

#: What a stop may take, engine call included, before somebody else may try as well.
STOP_DEADLINE = timedelta(seconds=120)


class Ending:
    """Ends sessions; each step finds what an earlier try has done."""

    def __init__(
        self, *, store: Store, launcher: Launcher, keys: SessionKeys, clock: Clock
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._keys = keys
        self._clock = clock
        self._under_way: dict[SessionId, float] = {}

    def under_way(self) -> set[SessionId]:
        """Sessions whose end somebody in this process brings about, within the time for it."""
        late = self._clock.monotonic() - STOP_DEADLINE.total_seconds()
        return {session_id for session_id, since in self._under_way.items() if since > late}

    async def mark(self, session: Session, reason: str, actor: Actor | str) -> bool:
        """Compare-and-set to STOPPING from whatever live state it is in; False when it ended."""
        while True:
            current = await self._store.session(session.id)
            if current is None or not current.live:
                return False
            if current.state is SessionState.STOPPING:
                return True
            if await self.mark_from(current, reason, actor):
                return True

    async def mark_from(self, session: Session, reason: str, actor: Actor | str) -> bool:
        """The same from the one state that it was seen in; False when it has left that."""
        try:
            await self._store.advance(
                session.id,
                expected=session.state,
                to=SessionState.STOPPING,
                deadline=self._clock.now() + STOP_DEADLINE,
                reason=reason,
                actor=actor,
            )
        except StaleState:
            return False
        return True

    async def finish(self, session: Session, reason: str, actor: Actor | str) -> Session:
        """To STOPPING, the container gone, to ENDED. Raises `EngineUnavailable`: then it is
        STOPPING, keeps its leases, and the next reconcile ends it.
        """
        return await self._end(session, reason, actor, self._launcher.remove)

    async def kill(
        self, session: Session, reason: str, actor: Actor | str, *, force: bool
    ) -> Session:
        """The same without asking its programs. With `force` the record ends even when the engine
        does not answer; should the container be there still, the next reconcile removes it.
        """

        async def remove(session: Session) -> None:
            try:
                await self._launcher.kill(session)
            except EngineUnavailable as error:
                if not force:
                    raise
                log.warning("ended unseen", session=session.id, reason=str(error))

        return await self._end(session, reason, actor, remove)

    async def _end(
        self, session: Session, reason: str, actor: Actor | str, remove: Remove
    ) -> Session:
        began = self._under_way[session.id] = self._clock.monotonic()
        try:
            if await self.mark(session, reason, actor):
                await remove(session)
                try:
                    await self._store.advance(
                        session.id,
                        expected=SessionState.STOPPING,
                        to=SessionState.ENDED,
                        deadline=None,
                        reason=None,
                        actor=actor,
                    )
                except StaleState:
                    log.debug("ended by another", session=session.id)
                self._keys.remove(session.id)
                log.info("session ended", session=session.id, reason=reason)
        finally:
            if self._under_way.get(session.id) == began:  # else another one has begun since
                del self._under_way[session.id]
        ended = await self._store.session(session.id)
        if ended is None:
            raise NotFound(f"session {session.id} vanished")
        return ended
