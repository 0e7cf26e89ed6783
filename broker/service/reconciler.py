"""Makes records and containers agree: before listening, every minute, and when a door asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.core.errors import DeskError
from broker.core.interfaces import ContainerState
from broker.core.model import SessionState
from broker.core.reconcile import End, Resume, Sweep, plan
from broker.core.spec import container_name

if TYPE_CHECKING:
    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import Session, SessionId
    from broker.core.reconcile import Action
    from broker.service.files import SessionKeys
    from broker.service.host import Host
    from broker.service.sessions import Sessions

log = structlog.get_logger()


class Reconciler:
    """Carries out the plan of `core.reconcile`, one idempotent step after the other."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        sessions: Sessions,
        keys: SessionKeys,
        host: Host,
        clock: Clock,
    ) -> None:
        self._store = store
        self._engine = engine
        self._sessions = sessions
        self._keys = keys
        self._host = host
        self._clock = clock
        self.succeeded_at: float | None = None
        """Monotonic time of the last pass that went through."""

    async def pass_once(self) -> None:
        """One look at everything. Raises `EngineUnavailable` when the engine does not answer; what
        was done stays done.
        """
        self._host.forget()
        await self._host.pools()
        listed_at = self._clock.now()
        containers = await self._engine.containers()
        sessions = await self._store.live_sessions(self._host.name)
        flying = {session.id for session in sessions if self._sessions.flies(session.desktop_id)}
        for action in plan(
            sessions,
            containers,
            busy=self._sessions.busy | flying,
            listed_at=listed_at,
            read_at=self._clock.now(),
        ):
            try:
                await self._carry_out(action)
            except DeskError as error:
                # One container that cannot be removed is no outage, and must not become one.
                await self._engine.ping()
                log.warning("left for the next pass", action=str(action), reason=str(error))
        await self._sweep_files()
        if not self._sessions.reconciled:
            log.info("records and containers agree", containers=len(containers))
        self._sessions.reconciled = True
        self.succeeded_at = self._clock.monotonic()

    async def _carry_out(self, action: Action) -> None:
        match action:
            case Sweep(name):
                log.info("container of no live session removed", container=name)
                await self._engine.remove(name)
            case Resume(session):
                desktop = await self._store.desktop(session.desktop_id)
                if desktop is not None:
                    await self._sessions.resume(desktop, session)
            case End(session, reason):
                await self._end(session, reason)

    async def _end(self, session: Session, reason: str) -> None:
        """A listing can be odd just after the engine's own start: ask for this very one again."""
        container = await self._engine.inspect(container_name(session.id))
        serves = container is not None and container.state in _SERVING
        now = await self._store.session(session.id)
        if now is None or (serves and now.state in _AT_REST):
            return
        await self._sessions.end(session, reason=reason)

    async def look_at(self, session_id: SessionId) -> None:
        """A door lost this one: end it at once when its container serves nobody."""
        session = await self._store.session(session_id)
        if session is None or not session.live or session.id in self._sessions.busy:
            return
        container = await self._engine.inspect(container_name(session_id))
        found = [] if container is None else [container]
        now = self._clock.now()
        for action in plan([session], found, busy=(), listed_at=now, read_at=now):
            await self._carry_out(action)

    async def _sweep_files(self) -> None:
        for session_id in self._keys.existing():
            session = await self._store.session(session_id)
            if session is None or not session.live:
                self._keys.remove(session_id)


_AT_REST = frozenset({SessionState.READY, SessionState.FROZEN})
_SERVING = frozenset({ContainerState.RUNNING, ContainerState.PAUSED})
