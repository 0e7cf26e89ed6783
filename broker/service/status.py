"""How the broker itself is: its loops, the engine, who starts, the doors, what is leased."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from broker.core.errors import DeskError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from broker.core.gateway import Load
    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import LeaseKind
    from broker.core.pools import Pools
    from broker.service.firewall import Firewall
    from broker.service.host import Host
    from broker.service.loops import Loop
    from broker.service.presence import Presence
    from broker.service.reconciler import Reconciler
    from broker.service.starts import Starts

#: Seconds that the engine may take to say that it is there.
PATIENCE = 2.0


@dataclass(frozen=True, slots=True)
class LoopStatus:
    name: str
    every: float
    """Seconds between two passes."""
    last_at: datetime | None
    """When it last went through."""
    check: str
    """`ok`, or one sentence."""


@dataclass(frozen=True, slots=True)
class EngineStatus:
    version: str | None
    """None while it does not answer."""
    since: datetime | None
    """Since when the broker hears its events without a break."""
    problem: str | None


@dataclass(frozen=True, slots=True)
class DoorStatus:
    door: str
    heard_at: datetime
    load: Load | None
    attachments: int


@dataclass(frozen=True, slots=True)
class PoolStatus:
    kind: LeaseKind
    used: int
    of: int


@dataclass(frozen=True, slots=True)
class Status:
    since: datetime
    """When this broker began."""
    loops: Sequence[LoopStatus]
    engine: EngineStatus
    network: str
    """As of a loop's check."""
    starting: int
    starting_most: int
    waiting: int
    waiting_most: int
    doors: Sequence[DoorStatus]
    leases: Sequence[PoolStatus]
    """Empty until the engine said once which network there is."""


class StatusBoard:
    """Tells all of it; of what does not answer, that it does not."""

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        presence: Presence,
        starts: Starts,
        host: Host,
        firewall: Firewall,
        reconciler: Reconciler,
        loops: Sequence[Loop],
        clock: Clock,
    ) -> None:
        self._store = store
        self._engine = engine
        self._presence = presence
        self._starts = starts
        self._host = host
        self._firewall = firewall
        self._reconciler = reconciler
        self._loops = loops
        self._clock = clock
        self._since = clock.now()

    async def now(self) -> Status:
        """Raises `StateUnusable`."""
        pools = self._host.known
        return Status(
            since=self._since,
            loops=[self._loop(loop) for loop in self._loops],
            engine=await self._ping(),
            network=self._firewall.check(),
            starting=self._starts.under_way,
            starting_most=self._starts.at_once,
            waiting=self._starts.waiting,
            waiting_most=self._starts.waiting_most,
            doors=[
                DoorStatus(told.door, self._ago(told.heard), told.load, told.attachments)
                for told in self._presence.told()
            ],
            leases=[] if pools is None else await self._leases(pools),
        )

    def _loop(self, loop: Loop) -> LoopStatus:
        at = loop.succeeded_at
        return LoopStatus(
            loop.name, loop.every, None if at is None else self._ago(at), loop.check()
        )

    def _ago(self, monotonic: float) -> datetime:
        return self._clock.now() - timedelta(seconds=self._clock.monotonic() - monotonic)

    async def _ping(self) -> EngineStatus:
        since = self._reconciler.hears_since
        try:
            async with asyncio.timeout(PATIENCE):
                info = await self._engine.ping()
        except DeskError as error:
            return EngineStatus(None, None, error.public)
        except TimeoutError:
            return EngineStatus(None, None, f"It does not answer within {PATIENCE:.0f} s.")
        return EngineStatus(info.version, since, None)

    async def _leases(self, pools: Pools) -> list[PoolStatus]:
        held: Mapping[LeaseKind, int] = await self._store.count_leases(self._host.name, pools)
        return [PoolStatus(kind, held[kind], size) for kind, size in pools.sizes.items()]
