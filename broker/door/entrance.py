"""The front door's entrance: who is let in at all, and how long others wait outside."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import DeskError
from broker.core.gateway import Penalty
from broker.door import descriptors
from broker.door.admission import Admission
from broker.door.feed import Feed
from broker.door.listener import Listener
from broker.door.penalties import Penalties
from broker.door.source import Source

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from broker.core.gateway import Offence
    from broker.door.admission import Place
    from broker.door.limits import Limits
    from broker.door.outer import OuterWire
    from broker.system.tasks import Tasks

log = structlog.get_logger()

_BACKLOG = 1000

#: Lines before SSH's own are for people: clients show them when asked for details.
_CROWDED = b"desk: too many people are logging in; try again in a few seconds.\r\n"
_PENALISED = b"desk: your address failed too often; try again in a few minutes.\r\n"

#: Seconds between two lines of the log on who was turned away.
_QUIET = 60.0


class Entrance:
    """Accepts connections, and turns away whom it must before anything is made for them."""

    def __init__(
        self,
        limits: Limits,
        *,
        welcome: Callable[[Place], OuterWire],
        tell: Callable[[Penalty], Awaitable[None]],
        background: Tasks,
    ) -> None:
        self.admission = Admission(limits)
        self._limits = limits
        self._penalties = Penalties(limits)
        self._welcome = welcome
        self._tell = tell
        self._background = background
        self._listener: Listener | None = None
        self.turned_away: Counter[str] = Counter()
        """Why, since the door began;"""
        self._untold: Counter[str] = Counter()
        """and since the log said so."""
        self.offences: Counter[Offence] = Counter()
        """Of whoever left with nobody proven, since the door began."""
        self._told = float("-inf")

    @property
    def port(self) -> int:
        """The port of the listener; only while it accepts."""
        assert self._listener is not None
        return self._listener.port

    def open(self, sock: socket.socket) -> None:
        """Accept from now on, at a bound socket. Raises `OSError` when it cannot listen."""
        self.admission.places = descriptors.places(
            descriptors.raise_limit(),
            self._limits.connections,
            reserved=self._limits.descriptors_reserved,
        )
        sock.setblocking(False)
        sock.listen(_BACKLOG)
        self._listener = Listener(sock, self._knock)
        self._listener.start()

    def close(self) -> None:
        """Accept no more; who is inside stays. Once is enough."""
        if self._listener is not None:
            self._listener.close()

    # ---------------------------------------------------------------------------- at the door

    def _knock(self, sock: socket.socket, address: str) -> None:
        now = self._now()
        limits = self._limits
        source = Source.of(address, ipv4_prefix=limits.ipv4_prefix, ipv6_prefix=limits.ipv6_prefix)
        if self._penalties.refuses(source, now):
            self._turn_away(sock, "penalised", _PENALISED)
            return
        place = self.admission.enter(source, now)
        if place is None:
            self._turn_away(sock, "crowded", _CROWDED)
            return
        wire = self._welcome(place)
        place.cut = wire.drop
        self._background.start(self._connect(sock, place, wire), name="accept")

    async def _connect(self, sock: socket.socket, place: Place, wire: OuterWire) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: Feed(wire), sock)
        except OSError:
            sock.close()
            place.close()

    def _turn_away(self, sock: socket.socket, why: str, words: bytes) -> None:
        with sock, suppress(OSError):
            sock.send(words)
        self.turned_away[why] += 1
        self._untold[why] += 1
        now = self._now()
        if now - self._told >= _QUIET:
            self._told = now
            log.warning("turned away", **self._untold)
            self._untold.clear()

    # ------------------------------------------------------------------------------ penalties

    def offended(self, source: Source, offence: Offence) -> None:
        """Somebody who had proven nothing left in that way."""
        self.offences[offence] += 1
        seconds = self._penalties.offend(source, offence, self._now())
        if seconds:
            penalty = Penalty(source=str(source), offence=offence, seconds=seconds)
            log.warning(
                "source penalised", source=str(source), offence=offence, seconds=round(seconds)
            )
            self._background.start(self._spread(penalty), name="penalty")

    async def _spread(self, penalty: Penalty) -> None:
        try:
            await self._tell(penalty)
        except DeskError as error:
            log.warning("gateway unavailable", code=error.code, problem=str(error))

    def proven(self, source: Source) -> None:
        """Somebody from there is who they say."""
        self._penalties.prove(source, self._now())

    def penalise(self, penalty: Penalty) -> None:
        """Take in what another door found; what is no penalty is passed over."""
        with suppress(ValueError):
            self._penalties.impose(Source.read(penalty.source), penalty.seconds, self._now())

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
