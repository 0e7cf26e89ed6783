"""Sessions: find, start or thaw the desktop of a user; freeze it, stop it, take up what runs.

The database decides who wins: at most one live session per desktop, each step compare-and-set.
A caller that is cancelled stops waiting; what it began goes on.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import (
    EngineUnavailable,
    NotFound,
    SessionEnded,
    ShuttingDown,
    StaleState,
)
from broker.core.model import SessionState
from broker.core.words import spoken
from broker.service.starting import BROKER

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.gateway import Endpoint
    from broker.core.interfaces import Store
    from broker.core.model import Actor, Desktop, DesktopId, Session, SessionId
    from broker.service.connections import Connections
    from broker.service.ending import Ending
    from broker.service.flights import Flight, Flights
    from broker.service.inside import Inside
    from broker.service.launch import Launcher
    from broker.service.starting import Starting
    from broker.service.starts import Place, Starts

log = structlog.get_logger()


class Sessions:
    """The only writer of sessions."""

    def __init__(
        self,
        *,
        store: Store,
        launcher: Launcher,
        starting: Starting,
        ending: Ending,
        flights: Flights,
        starts: Starts,
        connections: Connections,
        inside: Inside,
        may_start: Callable[[], Awaitable[None]],
    ) -> None:
        """`may_start` raises `InMaintenance` when nothing may."""
        self._may_start = may_start
        self._store = store
        self._launcher = launcher
        self._starting = starting
        self._ending = ending
        self._flights = flights
        self._starts = starts
        self._connections = connections
        self._inside = inside
        self.reconciled = False
        """Set by the first reconcile: before it, nobody knows what runs, and nothing is started."""
        self.closing = False
        self.woke = asyncio.Event()
        """Set whenever a session became READY or FROZEN; whoever watches sessions clears it."""

    @property
    def busy(self) -> set[SessionId]:
        """Sessions that somebody in this process works on just now, and not for too long."""
        flying = {
            flight.session_id
            for flight in self._flights
            if flight.session_id is not None and not self._starting.late(flight)
        }
        return flying | self._ending.under_way()

    def flies(self, desktop_id: DesktopId) -> bool:
        """Whether work on the desktop is under way or waits, whichever session it will have."""
        flight = self._flights.of(desktop_id)
        return flight is not None and not self._starting.late(flight)

    # ---------------------------------------------------------------------------------- to READY

    async def ensure(
        self, desktop: Desktop, *, actor: Actor | str, tell: Callable[[str], None] = lambda _: None
    ) -> Session:
        """Return the READY session of the desktop, thawing or starting one when there is none.

        `tell` gets sentences for people while that takes time. Raises `DeskError`.
        """
        while True:
            session = await self._store.live_session(desktop.id)
            flight = self._flights.of(desktop.id)
            if flight is None:
                if session is not None and session.state is SessionState.READY:
                    return session
                flight = self._set_out(desktop, session, actor)
            if flight.abort.is_set():
                raise SessionEnded
            if flight.leads_to is SessionState.READY:
                return await flight.wait(tell)
            await flight.over()  # it freezes or ends: whatever comes of that, look again

    def _set_out(self, desktop: Desktop, session: Session | None, actor: Actor | str) -> Flight:
        if self.closing:
            raise ShuttingDown
        if not self.reconciled:
            raise EngineUnavailable("no reconcile has succeeded since the broker started")
        return self._flights.take_off(
            desktop.id,
            lambda flight: self._fly(desktop, session, flight, actor),
            leads_to=SessionState.READY,
        )

    async def _fly(
        self, desktop: Desktop, session: Session | None, flight: Flight, actor: Actor | str
    ) -> Session:
        if session is not None and session.state is SessionState.FROZEN:
            thawed = await self._thaw(session, flight, actor)
            if thawed is not None:
                return thawed
        if session is None or session.state is not SessionState.STARTING:
            await self._may_start()  # who has begun already is carried on
        async with self._starts.place(
            desktop.user_id, lambda place: _queue(flight, desktop, place)
        ):
            self._flights.begin(flight)
            if flight.abort.is_set():
                raise SessionEnded
            session = await self._store.live_session(desktop.id)
            if session is not None and session.state is SessionState.READY:
                return session
            if session is not None and session.state is not SessionState.STARTING:
                await self._ending.finish(session, session.reason or "it was being stopped", BROKER)
                session = None
            flight.tell(f"Starting your desktop '{desktop.name}' …")
            ready = await self._starting.start(desktop, session, flight, actor)
            self.woke.set()
            return ready

    async def _thaw(self, session: Session, flight: Flight, actor: Actor | str) -> Session | None:
        """None when there is nothing to thaw any more, and the session has ended."""
        flight.session_id = session.id
        self._flights.begin(flight)
        try:
            await self._launcher.unpause(session)
        except NotFound:
            await self._ending.finish(session, await self._launcher.cause_of_death(session), BROKER)
            flight.session_id = flight.since = None
            return None
        try:
            ready = await self._store.advance(
                session.id,
                expected=SessionState.FROZEN,
                to=SessionState.READY,
                deadline=None,
                reason=None,
                actor=actor,
            )
        except StaleState:
            raise SessionEnded from None
        log.info("session thawed", session=session.id, actor=actor)
        self.woke.set()
        return ready

    async def resume(self, desktop: Desktop, session: Session) -> None:
        """Carry on a start that a crash left behind; somebody's flight is as good."""
        if self._flights.of(desktop.id) is None and not self.closing:
            self._flights.take_off(
                desktop.id,
                lambda flight: self._fly(desktop, session, flight, BROKER),
                leads_to=SessionState.READY,
                session_id=session.id,
            )
            log.info("start taken up again", session=session.id)

    # --------------------------------------------------------------------------------- to FROZEN

    async def freeze(
        self,
        session: Session,
        *,
        reason: str,
        sentence: str,
        actor: Actor | str,
        still: Callable[[], Awaitable[bool]],
    ) -> bool:
        """Send everybody away with the sentence and let a READY session sleep. `still` is asked
        once nobody else can come between. Returns whether it froze: not when somebody wants the
        desktop just now.
        """
        if self.closing or self._flights.of(session.desktop_id) is not None:
            return False

        async def rest(flight: Flight) -> Session:
            self._flights.begin(flight)
            if not await still():
                return session
            return await self._freeze(session, reason, sentence, actor)

        flight = self._flights.take_off(
            session.desktop_id,
            rest,
            leads_to=SessionState.FROZEN,
            session_id=session.id,
        )
        return (await flight.wait(lambda _: None)).state is SessionState.FROZEN

    async def _freeze(
        self, session: Session, reason: str, sentence: str, actor: Actor | str
    ) -> Session:
        try:
            frozen = await self._store.advance(
                session.id,
                expected=SessionState.READY,
                to=SessionState.FROZEN,
                deadline=None,
                reason=reason,
                actor=actor,
            )
        except StaleState:
            return session
        self._connections.end_session(session.id, sentence, sleeps=True)
        await self._inside.leave(session.id)
        return await self._pause(frozen)

    async def _pause(self, frozen: Session) -> Session:
        try:
            await self._launcher.pause(frozen)
        except NotFound:
            cause = await self._launcher.cause_of_death(frozen)
            return await self._ending.finish(frozen, cause, BROKER)
        except EngineUnavailable as error:
            # The record says frozen: the next reconcile pauses it, or the next connect thaws it.
            log.warning("not paused yet", session=frozen.id, reason=str(error))
        log.info("session frozen", session=frozen.id, reason=frozen.reason)
        self.woke.set()
        return frozen

    async def pause_again(self, session: Session) -> None:
        """A frozen one runs: a crash came between, or somebody outside woke it."""
        await self._launcher.pause(session)

    async def unpause_again(self, session: Session) -> None:
        """A ready one is paused: a crash came between, or somebody outside paused it."""
        await self._launcher.unpause(session)

    # ---------------------------------------------------------------------------------- to ENDED

    async def stop(
        self, session_id: SessionId, *, reason: str, actor: Actor | str, sentence: str | None = None
    ) -> Session:
        """Stop a live session and end it, telling who is in it the sentence; one that has ended is
        success. Raises `NotFound`, `EngineUnavailable` (then it is STOPPING, and a reconcile ends
        it).
        """
        session = await self._known(session_id)
        flight = self._flights.of(session.desktop_id)
        if flight is not None and flight.session_id in {session_id, None}:
            await self._ending.mark(session, reason, actor)
            flight.abort.set()
            if flight.since is not None and not self._starting.late(flight):
                await flight.over()
        ended = await self._known(session_id)
        if not ended.live:
            return ended
        await self._send_away(session_id, sentence or f"Your desktop was stopped: {reason}.")
        return await self._ending.finish(session, reason, actor)

    async def retire(
        self,
        session: Session,
        *,
        reason: str,
        sentence: str,
        still: Callable[[], Awaitable[bool]],
    ) -> bool:
        """Stop one that is READY or FROZEN because nobody uses it; whoever connects meanwhile
        waits, and gets a new one. `still` is asked once nobody else can come between. Returns
        whether it ended: not when somebody wants the desktop just now. Raises `EngineUnavailable`,
        as `stop`.
        """
        if self.closing or self._flights.of(session.desktop_id) is not None:
            return False

        async def rest(flight: Flight) -> Session:
            self._flights.begin(flight)
            if not await still():
                return session
            if not await self._ending.mark_from(session, reason, BROKER):
                return session
            await self._send_away(session.id, sentence)
            return await self._ending.finish(session, reason, BROKER)

        flight = self._flights.take_off(
            session.desktop_id,
            rest,
            leads_to=SessionState.ENDED,
            session_id=session.id,
        )
        return not (await flight.wait(lambda _: None)).live

    async def kill(
        self, session_id: SessionId, *, reason: str, actor: Actor | str, force: bool
    ) -> Session:
        """End it without asking its programs, whatever works on it. Raises `NotFound`, and unless
        `force` also `EngineUnavailable`.
        """
        session = await self._known(session_id)
        flight = self._flights.of(session.desktop_id)
        if flight is not None and flight.session_id == session_id:
            await self._ending.mark(session, reason, actor)
            flight.abort.set()
        await self._send_away(session_id, f"Your desktop was ended: {reason}.")
        return await self._ending.kill(session, reason, actor, force=force)

    async def end(self, session: Session, *, reason: str) -> None:
        """End a session whose container serves nobody any more."""
        await self._inside.leave(session.id)
        await self._ending.finish(session, reason, BROKER)

    async def _known(self, session_id: SessionId) -> Session:
        session = await self._store.session(session_id)
        if session is None:
            raise NotFound(public="There is no such session.")
        return session

    async def _send_away(self, session_id: SessionId, sentence: str) -> None:
        self._connections.end_session(session_id, sentence)
        await self._inside.leave(session_id)

    # -------------------------------------------------------------------------------------- rest

    def endpoints(self, session: Session) -> tuple[Endpoint, ...]:
        """Where the desktop's sshd is: its bridge address, then the published port."""
        return self._launcher.endpoints(session)

    async def quiesce(self, grace: float) -> None:
        """Start nothing new, and wait at most `grace` seconds for what is in flight."""
        self.closing = True
        await self._flights.land(grace)


def _queue(flight: Flight, desktop: Desktop, place: Place) -> None:
    flight.tell(
        f"Your desktop '{desktop.name}' waits for its turn: number {place.position} in the queue,"
        f" about {spoken(place.about)}."
    )
