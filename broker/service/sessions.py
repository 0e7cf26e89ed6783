"""Sessions: find or start the desktop of a user, stop it, take up what runs.

The database decides who wins: at most one live session per desktop, each step compare-and-set.
What is kept here in memory, one flight per desktop, only saves useless races. A caller that is
cancelled stops waiting; what it began goes on.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

import structlog

from broker.core.errors import (
    AlreadyLive,
    DeskError,
    EngineUnavailable,
    NotFound,
    SessionEnded,
    ShuttingDown,
    StaleState,
    StartFailed,
)
from broker.core.model import SessionState
from broker.service.launch import Launcher

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from broker.core.gateway import Endpoint
    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import Desktop, DesktopId, Session, SessionId, Template
    from broker.service.files import SessionKeys
    from broker.service.host import Host
    from broker.service.ready import Probe
    from broker.service.starts import Starts
    from broker.telemetry import Metrics

log = structlog.get_logger()

#: What a stop may take, engine call included, before it is looked at again.
STOP_DEADLINE = timedelta(seconds=60)

BROKER = "broker"


class Spawn(Protocol):
    """Runs a coroutine as a task that the composition root owns."""

    def __call__(
        self, work: Coroutine[object, object, Session], *, name: str
    ) -> asyncio.Task[Session]: ...


@dataclass(slots=True)
class Flight:
    """A start under way, shared by everybody who waits for that desktop."""

    task: asyncio.Task[Session]
    session_id: SessionId | None = None
    under_way: bool = False
    """False while it waits for a place."""
    abort: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the session is stopped meanwhile: the start gives up at once."""


class Sessions:
    """The only writer of sessions."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        keys: SessionKeys,
        host: Host,
        probe: Probe,
        starts: Starts,
        clock: Clock,
        template: Template,
        timeout: float,
        resolvers: tuple[str, ...],
        spawn: Spawn,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._engine = engine
        self._keys = keys
        self._host = host
        self._starts = starts
        self._clock = clock
        self._template = template
        self._timeout = timeout
        self._spawn = spawn
        self._metrics = metrics
        self._launcher = Launcher(
            store=store,
            engine=engine,
            keys=keys,
            host=host,
            probe=probe,
            clock=clock,
            template=template,
            resolvers=resolvers,
        )
        self._flights: dict[DesktopId, Flight] = {}
        self._stopping: set[SessionId] = set()
        self.reconciled = False
        """Set by the first reconcile: before it, nobody knows what runs, and nothing is started."""
        self.closing = False

    @property
    def busy(self) -> set[SessionId]:
        """Sessions that somebody in this process works on just now."""
        starting = {flight.session_id for flight in self._flights.values() if flight.session_id}
        return starting | self._stopping

    def flies(self, desktop_id: DesktopId) -> bool:
        """Whether a start of the desktop is under way or waits, whichever session it will have."""
        return desktop_id in self._flights

    async def ensure(
        self, desktop: Desktop, *, actor: str, waits: Callable[[], None] = lambda: None
    ) -> Session:
        """Return the READY session of the desktop, starting one when there is none.

        `waits` is called when that takes a start. Raises `DeskError`.
        """
        session = await self._store.live_session(desktop.id)
        if session is not None and session.state is SessionState.READY:
            return session
        flight = self._flights.get(desktop.id)
        if flight is None:
            if self.closing:
                raise ShuttingDown
            if not self.reconciled:
                raise EngineUnavailable("no reconcile has succeeded since the broker started")
            flight = self._take_off(desktop, actor)
        elif flight.abort.is_set():
            raise SessionEnded
        waits()
        return await asyncio.shield(flight.task)

    def _take_off(self, desktop: Desktop, actor: str, resumed: SessionId | None = None) -> Flight:
        task = self._spawn(self._fly(desktop, actor), name=f"start {desktop.id}")
        flight = self._flights[desktop.id] = Flight(task, resumed)
        task.add_done_callback(lambda done: self._landed(desktop.id, done))
        return flight

    def _landed(self, desktop_id: DesktopId, task: asyncio.Task[Session]) -> None:
        self._flights.pop(desktop_id, None)
        if not task.cancelled():
            task.exception()  # told to whoever waited; nobody may have, after a client left

    async def _fly(self, desktop: Desktop, actor: str) -> Session:
        flight = self._flights[desktop.id]
        async with self._starts.place():
            flight.under_way = True
            if flight.abort.is_set():
                raise SessionEnded
            session = await self._store.live_session(desktop.id)
            if session is not None and session.state is SessionState.READY:
                return session
            if session is not None and session.state is SessionState.STOPPING:
                await self._finish(session, session.reason or "it was being stopped", BROKER)
                session = None
            return await self._start(desktop, session, actor)

    async def _start(self, desktop: Desktop, session: Session | None, actor: str) -> Session:
        """Begin a session, or carry on one that a crash left in STARTING."""
        began = self._clock.monotonic()
        if session is None:
            try:
                session = await self._begin(desktop, actor)
            except DeskError as error:
                self._metrics.starts.labels(error.code).inc()
                log.warning(
                    "session not begun", desktop=desktop.id, code=error.code, reason=str(error)
                )
                raise
        flight = self._flights[desktop.id]
        flight.session_id = session.id
        log.info("session starting", session=session.id, desktop=desktop.id, actor=actor)
        try:
            session = await self._in_time(self._launcher.launch(desktop, session), flight)
            ready = await self._store.advance(
                session.id,
                expected=SessionState.STARTING,
                to=SessionState.READY,
                deadline=None,
                reason=None,
                actor=BROKER,
            )
        except TimeoutError:
            reason = f"it did not answer within {self._timeout:.0f} s"
            raise await self._failed(session, StartFailed(reason), reason) from None
        except StaleState:
            raise await self._failed(session, SessionEnded(), "it was stopped") from None
        except DeskError as error:
            self._host.forget()  # its bridge may be what is missing
            raise await self._failed(session, error, str(error)) from error
        took = round(self._clock.monotonic() - began, 3)
        self._metrics.starts.labels("ready").inc()
        self._metrics.start_seconds.observe(took)
        log.info(
            "session ready",
            session=session.id,
            display=session.display,
            port=session.port,
            took=took,
        )
        return ready

    async def _begin(self, desktop: Desktop, actor: str) -> Session:
        pools = await self._host.pools()
        image = await self._engine.image_id(self._template.image)
        try:
            return await self._store.begin_session(
                desktop.id,
                host=self._host.name,
                image=image,
                pools=pools,
                deadline=self._clock.now() + timedelta(seconds=self._timeout),
                actor=actor,
            )
        except AlreadyLive:
            raise StaleState(f"another broker began a session of {desktop.id}") from None

    async def _in_time(self, launch: Coroutine[object, object, Session], flight: Flight) -> Session:
        """Raises `SessionEnded` when it is stopped first, `TimeoutError` when it takes too long."""
        async with asyncio.TaskGroup() as group:
            launching = group.create_task(_caught(launch))
            aborting = group.create_task(flight.abort.wait())
            expiring = group.create_task(self._clock.sleep(self._timeout))
            first = {launching, aborting, expiring}
            done, _ = await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            for task in first:
                task.cancel()
        if launching not in done:
            raise SessionEnded if aborting in done else TimeoutError
        outcome = launching.result()
        if isinstance(outcome, DeskError):
            raise outcome
        return outcome

    async def _failed(self, session: Session, error: DeskError, reason: str) -> DeskError:
        """Clean up after a start that failed, and hand the error back for raising."""
        self._metrics.starts.labels(error.code).inc()
        tail = ""
        if isinstance(error, StartFailed):
            tail = await self._tail(session)
        log.warning(
            "session failed to start", session=session.id, code=error.code, reason=reason, tail=tail
        )
        try:
            await self._finish(session, reason, BROKER)
            # Whoever ended it meanwhile may have looked before the container was made.
            await self._launcher.remove(session)
        except DeskError as trouble:
            # It stays STOPPING, with its leases: the next reconcile ends it.
            log.warning("clean-up postponed", session=session.id, error=str(trouble))
        return error

    async def _tail(self, session: Session) -> str:
        try:
            return await self._launcher.tail(session)
        except EngineUnavailable:
            return ""

    async def stop(self, session_id: SessionId, *, reason: str, actor: str) -> Session:
        """Stop a live session and end it; one that has ended is success. Raises `NotFound`,
        `EngineUnavailable` (then it is STOPPING, and a reconcile ends it).
        """
        session = await self._store.session(session_id)
        if session is None:
            raise NotFound(public="There is no such session.")
        flight = self._flights.get(session.desktop_id)
        if flight is not None and flight.session_id in {session_id, None}:
            await self._mark_stopping(session, reason, actor)
            flight.abort.set()
            if flight.under_way:
                await asyncio.wait({flight.task})
        ended = await self._store.session(session_id)
        if ended is not None and not ended.live:
            return ended
        return await self._finish(session, reason, actor)

    async def end(self, session: Session, *, reason: str) -> None:
        """End a session whose container serves nobody any more."""
        await self._finish(session, reason, BROKER)

    async def resume(self, desktop: Desktop, session: Session) -> None:
        """Carry on a start that a crash left behind; somebody's flight is as good."""
        if desktop.id not in self._flights and not self.closing:
            self._take_off(desktop, BROKER, session.id)
            log.info("start taken up again", session=session.id)

    async def _mark_stopping(self, session: Session, reason: str, actor: str) -> bool:
        """Compare-and-set to STOPPING from whatever live state it is in; False when it ended."""
        while True:
            current = await self._store.session(session.id)
            if current is None or not current.live:
                return False
            if current.state is SessionState.STOPPING:
                return True
            try:
                await self._store.advance(
                    session.id,
                    expected=current.state,
                    to=SessionState.STOPPING,
                    deadline=self._clock.now() + STOP_DEADLINE,
                    reason=reason,
                    actor=actor,
                )
            except StaleState:
                continue
            return True

    async def _finish(self, session: Session, reason: str, actor: str) -> Session:
        """To STOPPING, the container gone, to ENDED; each step may have been done before."""
        self._stopping.add(session.id)
        try:
            if await self._mark_stopping(session, reason, actor):
                await self._launcher.remove(session)
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
            self._stopping.discard(session.id)
        ended = await self._store.session(session.id)
        if ended is None:
            raise NotFound(f"session {session.id} vanished")
        return ended

    def endpoints(self, session: Session) -> tuple[Endpoint, ...]:
        """Where the desktop's sshd is: its bridge address, then the published port."""
        return self._launcher.endpoints(session)

    async def quiesce(self, grace: float) -> None:
        """Start nothing new, and wait at most `grace` seconds for the starts in flight."""
        self.closing = True
        tasks = {flight.task for flight in self._flights.values()}
        if tasks:
            await asyncio.wait(tasks, timeout=grace)


async def _caught(launch: Coroutine[object, object, Session]) -> Session | DeskError:
    """Errors as values: a raising task would turn the group's into an exception group.

    What nobody foresaw ends the start like any other failure, so that nothing is left half-made.
    """
    try:
        return await launch
    except DeskError as error:
        return error
    except Exception as error:
        log.exception("a start met a defect")
        return StartFailed(f"{type(error).__name__}: {error}")
