"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 1, 9, 0, tzinfo=UTC)


class ManualClock:
    """`core.interfaces.Clock` whose sleepers wake when `advance` has moved past their moment."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        sleeper = (self._monotonic + seconds, asyncio.get_running_loop().create_future())
        self._sleepers.append(sleeper)
        try:
            await sleeper[1]
        finally:
            self._sleepers.remove(sleeper)

    @property
    def sleepers(self) -> int:
        """How many wait, so that a test can see that a loop has come to rest."""
        return len(self._sleepers)

    def advance(self, seconds: float) -> None:
        """Move both times forward and wake whoever is due; they run when the test next awaits."""
        if seconds < 0:
            raise ValueError("time only goes forward; see `jump`")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
        for due, future in self._sleepers:
            if due <= self._monotonic and not future.done():
                future.set_result(None)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as an operator or NTP does: nobody wakes, durations stay true."""
        self._now += timedelta(seconds=seconds)
