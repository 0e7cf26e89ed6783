"""A packet filter that keeps what it was given: what others do to its rules is undone at once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog

from broker.core.disturbances import Disturbances
from broker.core.errors import FirewallFailed
from broker.core.firewall import Restored, difference, table_name

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from contextlib import AbstractContextManager
    from typing import Any

    from broker.core.firewall import Grant, Rules, Standing, Told
    from broker.core.interfaces import Clock, PacketFilter

T = TypeVar("T")

log = structlog.get_logger()

#: Seconds between two looks at the most, whatever happens meanwhile: somebody who flushes in a loop
#: costs two looks a second, and what they open is shut half a second later.
PAUSE = 0.5

#: Seconds between two signs of life.
_BEAT = 20.0


class Watch(Protocol):
    """What happens to tables from the moment of entering on."""

    async def of(self, table: str) -> str | None:
        """Wait until something may have happened to a table of that name; return by whom."""


class Guard:
    """Implements `core.interfaces.GuardedPackets` over a filter that watches nothing."""

    def __init__(
        self,
        packets: PacketFilter,
        changes: Callable[[], AbstractContextManager[Watch]],
        clock: Clock,
    ) -> None:
        """`changes` raises `FirewallFailed` where nobody can watch."""
        self._packets = packets
        self._changes = changes
        self._clock = clock
        self._lock = asyncio.Lock()
        self._held: Rules | None = None
        self._mark = ""
        self._holding = asyncio.Event()
        self._disturbances = Disturbances()

    async def put(self, rules: Rules) -> str | None:
        async with self._lock:
            gap = await self._packets.put(rules)
            standing = await self._packets.standing(rules.instance)
            if standing is None:
                raise FirewallFailed("what was put in place cannot be read back")
            self._held, self._mark = rules, standing.mark
            self._holding.set()
            return gap

    async def standing(self, instance: str) -> Standing | None:
        return await self._packets.standing(instance)

    async def grant(self, instance: str, grant: Grant) -> None:
        async with self._lock:
            await self._packets.grant(instance, grant)
            if self._held is not None and self._held.instance == instance:
                self._held = replace(self._held, grants=self._held.grants | {grant})

    async def revoke(self, instance: str, grant: Grant) -> None:
        async with self._lock:
            # First here: one that cannot be taken away now must not be put back later.
            if self._held is not None and self._held.instance == instance:
                self._held = replace(self._held, grants=self._held.grants - {grant})
            await self._packets.revoke(instance, grant)

    async def remove(self, instance: str) -> None:
        async with self._lock:
            if self._held is not None and self._held.instance == instance:
                self._held = None
                self._holding.clear()
            await self._packets.remove(instance)

    async def guard(self, told: Told) -> None:
        await _beating(self._holding.wait(), told)
        with self._changes() as changes:
            by: str | None = None
            while True:
                restored = await self._look(by)
                await told(restored)
                await self._clock.sleep(PAUSE)
                held = self._held
                if held is None:
                    await _beating(self._holding.wait(), told)
                else:
                    by = await _beating(changes.of(table_name(held.instance)), told)

    async def _look(self, by: str | None) -> Restored | None:
        async with self._lock:
            held = self._held
            if held is None:
                return None
            standing = await self._packets.standing(held.instance)
            reason = difference(standing, self._mark, held.grants)
            if reason is None:
                return None
            # Not read back: the mark of the same rules is the same, and one of rules that somebody
            # has changed again by now would be taken for it. The kernel says if somebody has.
            await self._packets.put(held)
        self._tell(reason, by)
        return Restored(reason, by)

    def _tell(self, reason: str, by: str | None) -> None:
        now = self._clock.monotonic()
        self._disturbances.add(now)
        if self._disturbances.worth_telling(now):
            times = self._disturbances.lately(now)
            log.warning(
                "the network's rules were put back", reason=reason, by=by, within_a_minute=times
            )


async def _beating(work: Coroutine[Any, Any, T], told: Told) -> T:
    """What the work returns, with signs of life while it lasts."""
    task = asyncio.get_running_loop().create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=_BEAT))[0]:
            await told(None)
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
