"""What is measured when somebody asks: what is so now, beside what was counted as it happened."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from broker.core.errors import DeskError
from broker.core.model import SessionState
from broker.telemetry.metrics import CHANNELS

if TYPE_CHECKING:
    from broker.core.interfaces import Store
    from broker.core.pools import Pools
    from broker.service.health import Health
    from broker.service.host import Host
    from broker.service.maintenance import Maintenance
    from broker.service.presence import Presence
    from broker.service.starts import Starts
    from broker.telemetry import Metrics

#: Seconds that an engine may take to say that it is there: who measures waits no longer, and wants
#: the rest above all when it is away.
PATIENCE = 2.0


class Measures:
    """Answers `/metrics`."""

    def __init__(
        self,
        *,
        store: Store,
        presence: Presence,
        starts: Starts,
        host: Host,
        health: Health,
        maintenance: Maintenance,
        metrics: Metrics,
        patience: float = PATIENCE,
    ) -> None:
        self._store = store
        self._presence = presence
        self._starts = starts
        self._host = host
        self._health = health
        self._maintenance = maintenance
        self._metrics = metrics
        self._patience = patience

    async def render(self) -> bytes:
        """Everything in Prometheus' text format. What the state does not tell just now is as it
        was told last.
        """
        self._doors()
        self._people()
        with suppress(DeskError):  # `desk_check_ok` says so
            await self._records()
        await self._readiness()
        return self._metrics.render()

    def _doors(self) -> None:
        loads = self._presence.loads()
        self._metrics.doors.set(self._presence.doors)
        self._metrics.ssh_connections.set(sum(load.connections for load in loads))
        self._metrics.ssh_logins.set(sum(load.authenticated for load in loads))

    def _people(self) -> None:
        self._metrics.attachments.set(self._presence.counts().total())
        found = self._presence.channels()
        known = {channel: found.pop(channel, 0) for channel in (*CHANNELS, "none")}
        for channel, count in {**known, "other": found.total()}.items():
            self._metrics.attachment_channels.labels(channel).set(count)
        self._metrics.starts_waiting.set(self._starts.waiting)
        self._metrics.starts_waiting_most.set(self._starts.waiting_most)
        self._metrics.starts_under_way.set(self._starts.under_way)

    async def _records(self) -> None:
        states = Counter(session.state for session in await self._store.live_sessions())
        for state in SessionState:
            if state is not SessionState.ENDED:
                self._metrics.sessions.labels(state.value).set(states[state])
        self._metrics.draining.set(await self._maintenance.standing() is not None)
        self._metrics.audit_head.set((await self._store.audit_head()).seq)
        if (pools := self._host.known) is not None:
            await self._leases(pools)

    async def _leases(self, pools: Pools) -> None:
        held = await self._store.count_leases(self._host.name, pools)
        for kind, size in pools.sizes.items():
            self._metrics.leases.labels(kind.value).set(held[kind])
            self._metrics.leases_free.labels(kind.value).set(size - held[kind])

    async def _readiness(self) -> None:
        try:
            async with asyncio.timeout(self._patience):
                checks = await self._health.checks()
        except TimeoutError:
            # Something that was asked does not answer: that is no `ok`.
            checks = self._health.unasked()
        for name, found in checks.items():
            self._metrics.checks.labels(name).set(found == "ok")
        self._metrics.ready.set(self._health.ready(checks))
