"""Makes records and containers agree: before listening, every minute, on an event of the engine, and
when a door asks.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import DeskError, EngineUnavailable, NotFound
from broker.core.interfaces import ContainerState, EventKind
from broker.core.model import SessionId, SessionState
from broker.core.reconcile import End, Pause, Resume, Sweep, Unpause, doubtful, plan
from broker.core.spec import container_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from broker.core.interfaces import Clock, Container, Engine, EngineEvent, Store
    from broker.core.model import Session
    from broker.core.reconcile import Action
    from broker.service.files import SessionKeys
    from broker.service.firewall import Firewall
    from broker.service.host import Host
    from broker.service.sessions import Sessions

log = structlog.get_logger()

#: Seconds before a listing that looks odd is asked for again.
SECOND_LOOK = 2.0

#: Seconds between two signs of life of whoever listens to the engine.
BEAT_EVERY = 20.0

#: Actions at once: after a reboot a hundred dead sessions end in seconds.
_AT_ONCE = 8


class Reconciler:
    """Carries out the plan of `core.reconcile`; each action is idempotent."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        sessions: Sessions,
        keys: SessionKeys,
        host: Host,
        firewall: Firewall,
        clock: Clock,
    ) -> None:
        self._store = store
        self._engine = engine
        self._sessions = sessions
        self._keys = keys
        self._host = host
        self._firewall = firewall
        self._clock = clock
        self._unseen: str | None = "the broker"
        self.hears_since: datetime | None = None
        """Since when the engine's events are heard without a break; None while they are not."""
        self._passing = asyncio.Lock()
        self._awaited: set[str] = set()

    async def pass_once(self) -> None:
        """One look at everything. Raises `EngineUnavailable` when the engine does not answer; what
        was done stays done.
        """
        async with self._passing:
            try:
                await self._pass()
            except EngineUnavailable:
                self._unseen = self._unseen or "the container engine"
                raise

    async def differences(self) -> Sequence[Action]:
        """What a pass would do now; nothing is done. Raises `EngineUnavailable`."""
        async with self._passing:
            return self._plan(*await self._look())

    async def _pass(self) -> None:
        self._host.forget()
        await self._host.pools()
        await self._firewall.keep()
        directories = self._keys.existing()
        listed_at, containers, sessions = await self._look()
        actions = self._plan(listed_at, containers, sessions)
        await self._carry_out_all(actions)
        await self._sweep_files(directories, {session.id for session in sessions})
        if not self._sessions.reconciled:
            log.info("records and containers agree", containers=len(containers))
        self._sessions.reconciled = True
        self._unseen = None

    def _plan(
        self, listed_at: datetime, containers: Sequence[Container], sessions: Sequence[Session]
    ) -> Sequence[Action]:
        flying = {session.id for session in sessions if self._sessions.flies(session.desktop_id)}
        return plan(
            sessions,
            containers,
            busy=self._sessions.busy | flying,
            listed_at=listed_at,
            read_at=self._clock.now(),
            unseen=self._unseen,
        )

    async def _look(self) -> tuple[datetime, Sequence[Container], Sequence[Session]]:
        """Containers first, records second. A listing that an engine gives just after it started
        can lack what it is about to find: one that looks so, or that comes after an outage, has to
        be confirmed.
        """
        first = await self._list()
        doubted = self._unseen is not None and self._sessions.reconciled
        if not doubted and not doubtful(first[2], first[1]):
            return first
        await self._clock.sleep(SECOND_LOOK)
        return await self._list()

    async def _list(self) -> tuple[datetime, Sequence[Container], Sequence[Session]]:
        listed_at = self._clock.now()
        containers = await self._engine.containers()
        return listed_at, containers, await self._store.live_sessions(self._host.name)

    async def _carry_out_all(self, actions: Sequence[Action]) -> None:
        places = asyncio.Semaphore(_AT_ONCE)

        async def one(action: Action) -> None:
            async with places:
                await self._try(action)

        outcomes = await asyncio.gather(*map(one, actions), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _try(self, action: Action) -> None:
        try:
            await self._carry_out(action)
        except DeskError as error:
            # One container that cannot be removed is no outage, and must not become one.
            await self._engine.ping()
            log.warning("left for the next pass", action=str(action), reason=str(error))

    async def _carry_out(self, action: Action) -> None:
        match action:
            case Sweep(name):
                log.info("container of no live session removed", container=name)
                await self._engine.remove(name)
            case Resume(session):
                desktop = await self._store.desktop(session.desktop_id)
                if desktop is not None:
                    await self._sessions.resume(desktop, session)
            case Pause(session) if await self._still(session):
                await self._sessions.pause_again(session)
            case Unpause(session) if await self._still(session):
                await self._sessions.unpause_again(session)
            case End(session, reason):
                await self._end(session, reason)

    async def _still(self, session: Session) -> bool:
        """Whether its record says what the plan was made for, and nobody is at it: what stood
        before it in the plan can have taken a while.
        """
        now = await self._store.session(session.id)
        same = now is not None and now.state is session.state
        return same and not self._sessions.flies(session.desktop_id)

    async def _end(self, session: Session, reason: str) -> None:
        """Ask for this very one again: a listing is a moment old."""
        container = await self._engine.inspect(container_name(session.id))
        serves = container is not None and container.state in _SERVING
        now = await self._store.session(session.id)
        if now is None or (serves and now.state in _AT_REST):
            return
        await self._sessions.end(session, reason=reason)

    async def look_at(self, session_id: SessionId) -> None:
        """Something happened to this one: end it at once when its container serves nobody."""
        session = await self._store.session(session_id)
        if session is None or not session.live or session.id in self._sessions.busy:
            return
        if self._sessions.flies(session.desktop_id):
            return  # a start does not know its session yet in the moment in which it is recorded
        container = await self._engine.inspect(container_name(session_id))
        found = [] if container is None else [container]
        now = self._clock.now()
        for action in plan([session], found, busy=(), listed_at=now, read_at=now):
            if isinstance(action, End) and session.state in _AT_REST:
                await self._ask_anew()
            await self._carry_out(action)

    async def unreachable(self, session_id: SessionId) -> None:
        """A door cannot reach it. One that should run may be frozen without the engine's knowledge:
        being let go on once more does no harm to any other.
        """
        await self.look_at(session_id)
        session = await self._store.session(session_id)
        if session is None or session.state is not SessionState.READY:
            return
        if not self._sessions.flies(session.desktop_id) and session.id not in self._sessions.busy:
            with suppress(NotFound):  # the engine's event of its end is on the way
                await self._sessions.unpause_again(session)

    async def _ask_anew(self) -> None:
        """An engine that stops takes its containers with it, and goes on answering whoever it knows:
        only who comes anew is turned away. Raises `EngineUnavailable`; then the next pass ends the
        session, and its reason tells who was away.
        """
        async with self._engine.events():
            pass

    async def follow_events(self, beat: Callable[[], None]) -> None:
        """Look at each session to which the engine says that something happened, for as long as it
        says anything, with a `beat` now and then. Raises `EngineUnavailable` when it no longer
        does.
        """
        lost: EngineUnavailable | None = None
        places = asyncio.Semaphore(_AT_ONCE)
        async with self._engine.events() as events:
            # What happened before this moment nobody told of.
            await self.pass_once()
            self.hears_since = self._clock.now()
            try:
                async with asyncio.TaskGroup() as looks:
                    beating = looks.create_task(self._beat(beat))
                    try:
                        async for event in events:
                            if event.session_id not in self._awaited:
                                self._awaited.add(event.session_id)
                                looks.create_task(self._happened(event, places))
                    except EngineUnavailable as error:
                        lost = error
                    beating.cancel()
            finally:
                self.hears_since = None
        if lost is not None:
            self._unseen = "the container engine"
            raise lost

    async def _beat(self, beat: Callable[[], None]) -> None:
        """An engine can have nothing to say for hours."""
        while True:
            beat()
            await self._clock.sleep(BEAT_EVERY)

    async def _happened(self, event: EngineEvent, places: asyncio.Semaphore) -> None:
        try:
            async with places:
                self._awaited.discard(event.session_id)
                if event.kind is EventKind.OOM:
                    log.warning("a desktop ran out of memory", session=event.session_id)
                await self.look_at(SessionId(event.session_id))
        except DeskError as error:
            log.warning(
                "left for the next pass",
                session=event.session_id,
                happened=event.kind.value,
                reason=str(error),
            )

    async def _sweep_files(self, directories: Sequence[SessionId], live: set[SessionId]) -> None:
        """Delete directories, seen before the records were read, of sessions that live no more."""
        for session_id in directories:
            if session_id not in live and session_id not in self._sessions.busy:
                self._keys.remove(session_id)


_AT_REST = frozenset({SessionState.READY, SessionState.FROZEN})
_SERVING = frozenset({ContainerState.RUNNING, ContainerState.PAUSED})
