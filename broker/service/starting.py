"""A start: from a desktop without a session to one that is READY, or to nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

import structlog

from broker.core import admission
from broker.core.admission import Bounds
from broker.core.errors import (
    AlreadyLive,
    DeskError,
    EngineUnavailable,
    SessionEnded,
    StaleState,
    StartFailed,
)
from broker.core.model import SessionState
from broker.core.words import spoken_size

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import Actor, Desktop, Session, Template
    from broker.service.ending import Ending
    from broker.service.flights import Flight, Flights
    from broker.service.holdback import Holdback
    from broker.service.host import Host
    from broker.service.launch import Launcher
    from broker.service.policies import Policies
    from broker.telemetry import Metrics

T = TypeVar("T")

log = structlog.get_logger()

#: Beyond its timeout, what the clean-up after a start that failed may take.
_CLEANUP = 120.0

BROKER = "broker"


class Starting:
    """Begins sessions and carries them to READY; what fails leaves nothing behind."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        host: Host,
        launcher: Launcher,
        ending: Ending,
        flights: Flights,
        holdback: Holdback,
        clock: Clock,
        template: Template,
        timeout: float,
        running: int | None,
        policies: Policies,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._engine = engine
        self._host = host
        self._launcher = launcher
        self._ending = ending
        self._flights = flights
        self._holdback = holdback
        self._clock = clock
        self._template = template
        self._timeout = timeout
        self._running = running
        self._policies = policies
        self._metrics = metrics
        self._beginning = asyncio.Lock()

    def rebound(self, *, timeout: float, running: int | None) -> None:
        """Other bounds from now on."""
        self._timeout, self._running = timeout, running

    def late(self, flight: Flight) -> bool:
        """Whether it has worked for longer than any start may, clean-up included."""
        most = self._timeout + _CLEANUP + flight.fetching
        return flight.since is not None and self._clock.monotonic() - flight.since > most

    async def start(
        self, desktop: Desktop, session: Session | None, flight: Flight, actor: Actor | str
    ) -> Session:
        """Begin a session, or carry on one that a crash left in STARTING. Raises `DeskError`."""
        began = self._clock.monotonic()
        if session is None:
            try:
                with self._metrics.phase("record", self._clock):
                    session = await self._begin(desktop, actor)
            except DeskError as error:
                self._metrics.starts.labels(error.code).inc()
                log.warning(
                    "session not begun", desktop=desktop.id, code=error.code, reason=str(error)
                )
                raise
        flight.session_id = session.id
        log.info("session starting", session=session.id, desktop=desktop.id, actor=actor)
        ready = await self._carry(desktop, session, flight)
        self._holdback.succeeded(desktop_id=desktop.id, image=session.image)
        took = round(self._clock.monotonic() - began, 3)
        self._metrics.starts.labels("ready").inc()
        self._metrics.start_seconds.observe(took)
        log.info(
            "session ready",
            session=session.id,
            display=ready.display,
            port=ready.port,
            took=took,
        )
        return ready

    async def _begin(self, desktop: Desktop, actor: Actor | str) -> Session:
        pools = await self._host.pools()
        image = await self._engine.image_id(self._template.image)
        async with self._beginning:  # two at once would both be the last one allowed
            await self._admit(desktop)
            self._holdback.check(desktop_id=desktop.id, image=image)
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

    async def _admit(self, desktop: Desktop) -> None:
        """Raises `CapacityExhausted` when no more desktops may run, or no more of this user's."""
        policy = (await self._policies.of(desktop.user_id)).policy
        own = {other.id: other for other in await self._store.desktops(user_id=desktop.user_id)}
        live = await self._store.live_sessions(self._host.name)
        refusal = admission.refusal(
            running=len(live),
            of_user=[own[s.desktop_id].name for s in live if s.desktop_id in own],
            bounds=Bounds(running=self._running, running_per_user=policy.running),
        )
        if refusal is not None:
            raise refusal

    async def _carry(self, desktop: Desktop, session: Session, flight: Flight) -> Session:
        try:
            current = await self._fetch_home(desktop, session, flight)
            launch = self._launcher.launch(current, session)
            session = await self._in_time(launch, flight, self._timeout)
            return await self._store.advance(
                session.id,
                expected=SessionState.STARTING,
                to=SessionState.READY,
                deadline=None,
                reason=None,
                actor=BROKER,
            )
        except TimeoutError:
            reason = f"it did not answer within {self._timeout:.0f} s"
            raise await self._failed(desktop, session, StartFailed(reason), reason) from None
        except StaleState:
            raise await self._failed(desktop, session, SessionEnded(), "it was stopped") from None
        except DeskError as error:
            self._host.forget()  # its bridge may be what is missing
            raise await self._failed(desktop, session, error, str(error)) from error

    async def _fetch_home(self, desktop: Desktop, session: Session, flight: Flight) -> Desktop:
        """The desktop as it is now. A home that is packed away comes back first, which has a time
        of its own, by its size.
        """
        asked = self._launcher.current(desktop)
        current = await self._in_time(asked, flight, self._timeout)
        if current.archive is None:
            return current
        flight.fetching = self._launcher.fetching(current.archive)
        size = spoken_size(current.archive.unpacked)
        flight.tell(f"Fetching your home from the archive, {size} …")
        fetch = self._launcher.fetch(current, session)
        try:
            with self._metrics.phase("fetch", self._clock):
                await self._in_time(fetch, flight, flight.fetching)
        except TimeoutError:
            reason = f"its home of {size} was not back within {flight.fetching:.0f} s"
            raise StartFailed(reason) from None
        flight.tell(f"Starting your desktop '{desktop.name}' …")
        return current

    async def _in_time(
        self, launch: Coroutine[object, object, T], flight: Flight, within: float
    ) -> T:
        """Raises `SessionEnded` when it is stopped first, `TimeoutError` when it takes too long."""
        async with asyncio.TaskGroup() as group:
            launching = group.create_task(_caught(launch))
            aborting = group.create_task(flight.abort.wait())
            expiring = group.create_task(self._clock.sleep(within))
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

    async def _failed(
        self, desktop: Desktop, session: Session, error: DeskError, reason: str
    ) -> DeskError:
        """Clean up after a start that failed, and hand the error back for raising."""
        self._metrics.starts.labels(error.code).inc()
        tail = ""
        if isinstance(error, StartFailed):
            self._holdback.failed(
                desktop_id=desktop.id,
                user_id=desktop.user_id,
                image=session.image,
                reason=reason,
            )
            tail = await self._tail(session)
        log.warning(
            "session failed to start", session=session.id, code=error.code, reason=reason, tail=tail
        )
        try:
            await self._ending.finish(session, reason, BROKER)
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


async def _caught(launch: Coroutine[object, object, T]) -> T | DeskError:
    """Errors as values: a raising task would turn the group's into an exception group.

    What nobody foresaw ends the start like any other failure, so that nothing is left half-made.
    """
    try:
        return await launch
    except DeskError as error:
        return error
    except Exception:
        log.exception("a start met a defect")
        return StartFailed("the broker met a defect")  # other users may read it, if it repeats
