"""One piece of work per desktop: a start, a thaw, a freeze, a stop. Whoever wants the desktop waits for it.

This only saves useless races: the database decides who wins.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

from broker.core.model import SessionState

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from broker.core.interfaces import Clock
    from broker.core.model import DesktopId, Session, SessionId

    Work = Callable[["Flight"], Coroutine[object, object, Session]]


T = TypeVar("T")


class Spawn(Protocol):
    """Runs a coroutine as a task that the composition root owns."""

    def __call__(self, work: Coroutine[object, object, T], *, name: str) -> asyncio.Task[T]: ...


@dataclass(slots=True, eq=False)
class Flight:
    """Work under way, shared by everybody who waits for that desktop."""

    leads_to: SessionState
    """READY for a start or a thaw, FROZEN for a freeze, ENDED for a stop that nobody asked for."""
    session_id: SessionId | None
    task: asyncio.Task[Session] | None = None
    since: float | None = None
    """Monotonic time from which it works on its session; None while it waits for a place."""
    fetching: float = 0.0
    """Seconds that it may work longer than others, because a home has to come first."""
    abort: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the session is stopped meanwhile: the work gives up at once."""
    sentence: str | None = None
    """What those who wait were told last."""
    _listeners: list[Callable[[str], None]] = field(default_factory=list)

    def tell(self, sentence: str) -> None:
        """Tell everybody who waits."""
        self.sentence = sentence
        for listener in self._listeners:
            listener(sentence)

    async def wait(self, listener: Callable[[str], None]) -> Session:
        """What comes of it. The listener must not raise: it runs in the midst of the work. A caller who is cancelled stops waiting, and the work goes on."""
        assert self.task is not None
        self._listeners.append(listener)
        try:
            if self.sentence is not None:
                listener(self.sentence)
            return await asyncio.shield(self.task)
        finally:
            self._listeners.remove(listener)

    async def over(self) -> None:
        """Wait until it has landed, whatever came of it."""
        assert self.task is not None
        await asyncio.wait({self.task})


class Flights:
    """The flights of all desktops."""

    def __init__(self, spawn: Spawn, clock: Clock) -> None:
        self._spawn = spawn
        self._clock = clock
        self._flights: dict[DesktopId, Flight] = {}

    def of(self, desktop_id: DesktopId) -> Flight | None:
        return self._flights.get(desktop_id)

    def __iter__(self) -> Iterator[Flight]:
        return iter(list(self._flights.values()))

    def take_off(
        self,
        desktop_id: DesktopId,
        work: Work,
        *,
        leads_to: SessionState = SessionState.READY,
        session_id: SessionId | None = None,
    ) -> Flight:
        """Begin the work; the desktop must have no flight."""
        assert desktop_id not in self._flights
        flight = self._flights[desktop_id] = Flight(leads_to, session_id)
        flight.task = self._spawn(work(flight), name=f"{leads_to} {desktop_id}")
        flight.task.add_done_callback(lambda task: self._landed(desktop_id, task))
        return flight

    def _landed(self, desktop_id: DesktopId, task: asyncio.Task[Session]) -> None:
        self._flights.pop(desktop_id, None)
        if not task.cancelled():
            task.exception()  # told to whoever waited; nobody may have, after a client left

    def begin(self, flight: Flight) -> None:
        """It works on its session from now on."""
        flight.since = self._clock.monotonic()

    async def land(self, within: float) -> None:
        """Wait until none is left, at most `within` seconds."""
        tasks = {flight.task for flight in self._flights.values() if flight.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=within)
