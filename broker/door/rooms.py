"""Who is in a desktop by the HTTP port of one door, and how they get there."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import CapacityExhausted, DeskError, Unauthenticated
from broker.core.gateway import Attachment
from broker.core.model import new_id
from broker.door.connections import Connections, Unreachable
from broker.door.endings import Code, Ended
from broker.door.occupants import GUEST, PAGES, Occupant, person_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager

    from broker.core.gateway import Gateway, Identity, Route, Seat
    from broker.door.asking import Asker
    from broker.door.attendance import Attendance, Carrier
    from broker.door.connections import Way
    from broker.door.limits import Limits
    from broker.door.occupants import Purpose

log = structlog.get_logger()

#: Seconds that those who are ended get to say goodbye.
_GOODBYE = 1.0

_SIGN_IN = "Sign in first."
_STRANGER = "Come by the link that you were given."
_TOO_MANY = "You have too many of these open; close one of them and try again."
_CROWDED = "Too many people are here just now. Try again in a minute."
_UNREACHABLE = (
    "Your desktop does not answer. Try again; if it fails again, tell your administrator."
)
_ASLEEP = "The desktop does not run."
_RESTARTING = "The front door is restarting."


class Rooms:
    """All who are in desktops, and the connections that they share."""

    def __init__(
        self,
        gateway: Gateway,
        attendance: Attendance,
        limits: Limits,
        *,
        most: int,
        most_per_user: int,
    ) -> None:
        """So many of each purpose, in all and of one person."""
        self._gateway = gateway
        self._attendance = attendance
        self._limits = limits
        self._most, self._most_per_user = most, most_per_user
        self._connections = Connections(limits)
        self._here: set[Occupant] = set()
        self._parted = asyncio.Event()
        """Set whenever somebody left."""
        self._leaving = False

    # ------------------------------------------------------------------------- coming and going

    @asynccontextmanager
    async def enter(self, purpose: Purpose) -> AsyncIterator[Occupant]:
        """Somebody is here. Raises `CapacityExhausted`, and `Ended` once they are ended."""
        if self._leaving and purpose in PAGES:
            raise Ended(Code.AGAIN, _RESTARTING)
        # Strangers keep nobody out: those who have proven nothing yet are as many as connections.
        if self._count(purpose) >= self._most:
            raise self._crowded()
        occupant = Occupant(purpose)
        self._here.add(occupant)
        try:
            async with occupant.present():
                yield occupant
        finally:
            self._here.discard(occupant)
            self._parted.set()

    async def seat(
        self,
        occupant: Occupant,
        asker: Asker,
        *,
        desktop_id: str | None,
        look: bool = False,
        wake: bool,
        progress: Callable[[str], None],
    ) -> Seat:
        """As the gateway's. Raises `CapacityExhausted` for one too many of one person."""
        secret = asker.secrets.guest if desktop_id is None else asker.secrets.sign_in
        if secret is None:
            raise Unauthenticated("no cookie", public=_STRANGER if desktop_id is None else _SIGN_IN)
        seat = await self._gateway.seat(
            secret, asker.client, desktop_id=desktop_id, look=look, wake=wake, progress=progress
        )
        # Nothing is awaited in between: what ends them may come right behind the answer.
        occupant.identity = seat.identity
        occupant.session_id = None if seat.route is None else seat.route.session_id
        if self._count(occupant.purpose) > self._most:
            raise self._crowded()
        if self._count(occupant.purpose, person_of(occupant)) > self._most_per_user:
            raise CapacityExhausted(f"{self._most_per_user} of one person", public=_TOO_MANY)
        return seat

    def _count(self, purpose: Purpose, person: str | None = None) -> int:
        """How many have proven who they are, in all or of one person."""
        people = [person_of(one) for one in self._here if one.purpose is purpose]
        return sum(one is not None if person is None else one == person for one in people)

    def _crowded(self) -> CapacityExhausted:
        return CapacityExhausted(f"{self._most} are here for that", public=_CROWDED)

    @asynccontextmanager
    async def inside(
        self, occupant: Occupant, seat: Callable[[], Awaitable[Seat]]
    ) -> AsyncIterator[tuple[Seat, Route, Way]]:
        """In the desktop that `seat` leads to, by a connection that others use too. Raises `Ended`
        when it does not run or cannot be reached.
        """
        async with AsyncExitStack() as stack:
            found = await self._reach(stack, occupant, seat)
            occupant.is_inside = True
            yield found

    async def _reach(
        self, stack: AsyncExitStack, occupant: Occupant, seat: Callable[[], Awaitable[Seat]]
    ) -> tuple[Seat, Route, Way]:
        """As for an SSH client: a desktop that froze since its route was known would let the first
        try wait, and asking for the seat again thaws it.
        """
        for within in (self._limits.first_dial, self._limits.handshake_timeout):
            found = await seat()
            route = found.route
            if route is None:
                raise Ended(Code.ASLEEP, _ASLEEP)
            try:
                way = await stack.enter_async_context(self._connections.use(route, within))
            except Unreachable as problem:
                log.warning("desktop unreachable", session=route.session_id, problem=str(problem))
            else:
                return found, route, way
            occupant.session_id = None
            await self.lost(route.session_id)
        raise Ended(Code.UNREACHABLE, _UNREACHABLE)

    def way(self, route: Route, within: float) -> AbstractAsyncContextManager[Way]:
        """The connection into a desktop, for what is nobody's. Raises `Unreachable`."""
        return self._connections.use(route, within)

    async def lost(self, session_id: str) -> None:
        """It could not be reached, or its connection broke."""
        self._connections.forget(session_id)
        try:
            await self._gateway.lost(session_id)
        except DeskError as error:
            log.warning("gateway unavailable", code=error.code, problem=str(error))

    @contextmanager
    def attending(
        self, occupant: Occupant, asker: Asker, client: str, carrier: Carrier
    ) -> Iterator[None]:
        """Counted as attached for so long, as that client."""
        assert occupant.identity is not None
        assert occupant.session_id is not None
        attachment = Attachment(
            id=new_id(),
            session_id=occupant.session_id,
            user=occupant.identity.user,
            peer=asker.peer,
            client=client,
        )
        visit = self._attendance.enter(attachment, carrier)
        told = log.bind(attachment=attachment.id, user=attachment.user)
        told.info("browser attached", session=attachment.session_id, peer=asker.peer, client=client)
        try:
            yield
        finally:
            self._attendance.leave(visit)
            told.info("browser gone")

    # --------------------------------------------------------------------- what the broker tells

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool) -> None:
        """Whoever is only about to enter what `sleeps` asks for it anew, and wakes it."""
        for one in self._here:
            if one.session_id == session_id and (one.is_inside or not sleeps):
                one.end(Code.ASLEEP, sentence)
        self._connections.forget(session_id)

    def end_user(self, user_id: str, sentence: str) -> None:
        for one in self._here:
            if one.identity is not None and one.identity.user_id == user_id:
                one.end(Code.ENDED, sentence)

    def end_credential(self, credential: str, sentence: str) -> None:
        """Whoever has an account can sign in again; a guest was sent away."""
        for one in self._here:
            if one.identity is not None and one.identity.credential == credential:
                is_guest = one.identity.method == GUEST
                one.end(Code.ENDED if is_guest else Code.SIGN_IN, sentence)

    def identities(self) -> Iterable[Identity]:
        """Of all that are here, somebody perhaps more than once."""
        return [one.identity for one in self._here if one.identity is not None]

    def sessions(self) -> set[str]:
        """That somebody is in or about to enter, or that a connection is kept to."""
        here = {one.session_id for one in self._here if one.session_id is not None}
        return here | set(self._connections.sessions)

    # ----------------------------------------------------------------------------------- the end

    def drain(self) -> None:
        """Send the pages to another door; what is being moved comes to its end here."""
        self._leaving = True
        for one in self._here:
            if one.purpose in PAGES:
                one.end(Code.AGAIN, _RESTARTING)

    async def empty(self) -> None:
        """Wait until the last one has left."""
        while self._here:
            self._parted.clear()
            await self._parted.wait()

    async def close(self) -> None:
        """End all, and what they shared."""
        self._leaving = True
        for one in self._here:
            one.end(Code.AGAIN, _RESTARTING)
        with suppress(TimeoutError):
            async with asyncio.timeout(_GOODBYE):
                await self.empty()
        await self._connections.close()
