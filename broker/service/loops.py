"""The loops of the broker, watched: each tells when it last succeeded, and none may die unseen."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import DeskError
from broker.system.tasks import first_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from broker.core.interfaces import Clock
    from broker.telemetry import Metrics

log = structlog.get_logger()

#: Seconds before the first repeat of a pass that failed; doubled up to the loop's period.
RETRY_AFTER = 2.0


class Loop:
    """One pass after the other. A pass that fails is told, counted and repeated, with back-off."""

    def __init__(
        self,
        name: str,
        step: Callable[[], Awaitable[None]],
        *,
        every: float,
        overdue: float,
        clock: Clock,
        metrics: Metrics,
        wake: asyncio.Event | None = None,
    ) -> None:
        """`every` seconds pass between two passes, fewer when `wake` is set, which `step` clears.
        Without a success for `overdue` seconds it is in trouble.
        """
        self.name = name
        self._step = step
        self.every = every
        """Seconds."""
        self._overdue = overdue
        self._clock = clock
        self._metrics = metrics
        self._wake = wake or asyncio.Event()
        self.succeeded_at: float | None = None
        """When a pass last went through, in monotonic time."""
        self._began = False
        self._failing = 0.0
        """The last pause after a failure; 0 when the last pass went through."""

    def retime(self, *, every: float, overdue: float) -> None:
        """Another period, from the next pass on."""
        self.every, self._overdue = every, overdue

    async def run(self, stop: asyncio.Event) -> None:
        """Pass after pass until `stop`, which does not cut the one under way."""
        while not stop.is_set():
            if not self._began:
                await self.once()
            await self._pause(stop)
            self._began = False

    async def once(self) -> None:
        """One pass, ahead of `run` too."""
        self._began = True
        began = self._clock.monotonic()
        try:
            await self._step()
        except DeskError as error:
            self._failed()
            log.warning("a pass failed", loop=self.name, code=error.code, reason=str(error))
        except Exception:
            self._failed()
            log.exception("a pass failed", loop=self.name)
        else:
            self._failing = 0.0
            self.beat()
        took = self._clock.monotonic() - began
        self._metrics.loop_seconds.labels(self.name).observe(took)

    def _failed(self) -> None:
        self._failing = min(max(RETRY_AFTER, self._failing * 2), self.every)
        self._metrics.loop_failures.labels(self.name).inc()

    def beat(self) -> None:
        """It is alive and does its work."""
        self.succeeded_at = self._clock.monotonic()
        self._metrics.loop_success.labels(self.name).set(self._clock.now().timestamp())

    async def _pause(self, stop: asyncio.Event) -> None:
        waits = [stop.wait(), self._clock.sleep(self._failing or self.every)]
        if not self._failing:
            waits.append(self._wake.wait())
        await first_of(*waits)

    def check(self) -> str:
        """`ok`, or one sentence when it has not succeeded in time."""
        if self.succeeded_at is None:
            return f"the loop '{self.name}' has not succeeded yet"
        age = self._clock.monotonic() - self.succeeded_at
        if age > self._overdue:
            return f"the loop '{self.name}' last succeeded {age:.0f} s ago"
        return "ok"
