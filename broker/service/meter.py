"""What sessions use of the host, looked at when somebody asks."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from broker.core.errors import DeskError
from broker.core.model import SessionState
from broker.core.spec import container_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from broker.core.interfaces import Clock, Engine
    from broker.core.model import Session, SessionId
    from broker.service.watches import Watches

#: Seconds for which a look is good, and over which a rate is told at most: what was used before is
#: not lately.
FRESH, LATELY = 5.0, 120.0

#: Seconds that whoever asks waits for it.
PATIENCE = 1.0

#: Sessions that are remembered, those asked for last.
_MOST = 4096

_RUNS = frozenset({SessionState.READY, SessionState.FROZEN})


@dataclass(frozen=True, slots=True)
class Usage:
    """What one session uses; None is what is not known."""

    cpu: float | None = None
    """Cores, on the average between the last two looks."""
    memory: int | None = None
    """Bytes."""


UNKNOWN = Usage()


@dataclass(slots=True)
class _Sample:
    tried: float = float("-inf")
    """When it was looked at last, with what came of it or without."""
    at: float | None = None
    cpu: float = 0.0
    usage: Usage = UNKNOWN


class Meter:
    """Costs nothing while nobody looks, and some files of the kernel for each session while
    somebody does.
    """

    def __init__(self, *, engine: Engine, watches: Watches, clock: Clock) -> None:
        self._engine = engine
        self._watches = watches
        self._clock = clock
        self._samples: OrderedDict[SessionId, _Sample] = OrderedDict()

    async def of(self, sessions: Sequence[Session]) -> Mapping[SessionId, Usage]:
        """Of each of them; unknown where the engine says nothing within a second, and in the first
        look at one whose CPU nobody has counted lately.
        """
        now = self._clock.monotonic()
        stale = []
        for session in sessions:
            if session.state not in _RUNS:
                continue
            sample = self._samples.setdefault(session.id, _Sample())
            self._samples.move_to_end(session.id)
            if now - sample.tried >= FRESH:
                sample.tried = now  # who asks meanwhile gets what is known
                stale.append(session)
        if stale:
            await self._look(stale)
        while len(self._samples) > _MOST:
            self._samples.popitem(last=False)
        return {session.id: self._known(session) for session in sessions}

    def _known(self, session: Session) -> Usage:
        sample = self._samples.get(session.id)
        return UNKNOWN if sample is None or session.state not in _RUNS else sample.usage

    async def _look(self, sessions: Sequence[Session]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                found = await self._engine.usage([container_name(one.id) for one in sessions])
        except (DeskError, TimeoutError):
            found = {}
        now = self._clock.monotonic()
        for session in sessions:
            sample = self._samples.get(session.id)
            if sample is None:
                continue
            usage = found.get(container_name(session.id))
            if usage is None:
                sample.at, sample.usage = None, UNKNOWN
                continue
            rate = _rate(now, usage.cpu, self._before(session, sample))
            sample.at, sample.cpu = now, usage.cpu
            sample.usage = Usage(cpu=rate, memory=usage.memory)

    def _before(self, session: Session, sample: _Sample) -> tuple[float, float] | None:
        """A moment, and the CPU seconds up to it: of the last look, or of whoever puts to sleep
        what does not compute.
        """
        if sample.at is not None:
            return sample.at, sample.cpu
        watch = self._watches.of(session.id)
        return None if watch is None else watch.cpu


def _rate(now: float, cpu: float, before: tuple[float, float] | None) -> float | None:
    if before is None or not 0 < now - before[0] <= LATELY or cpu < before[1]:
        return None
    return (cpu - before[1]) / (now - before[0])
