"""All services over one store and one engine, tied together: the lower half of the composition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from broker.core.admission import Bounds
from broker.service.accounts import TEMPLATE, Accounts
from broker.service.archives import Archives
from broker.service.archivist import Archivist
from broker.service.ending import Ending
from broker.service.firewall import Firewall
from broker.service.flights import Flights
from broker.service.gateway import LocalGateway
from broker.service.health import Health
from broker.service.holdback import Holdback
from broker.service.launch import Launcher
from broker.service.loops import Loop
from broker.service.presence import Presence
from broker.service.reaper import Reaper
from broker.service.reconciler import Reconciler
from broker.service.sessions import Sessions
from broker.service.starting import Starting
from broker.service.starts import Starts
from broker.service.watches import LOOK_EVERY, Watches
from broker.service.why import Explainer
from broker.service.words import Words

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterable
    from ipaddress import IPv4Network

    from broker.config import Config
    from broker.core.interfaces import Clock, Engine, PacketFilter, Store
    from broker.service.connections import Connections
    from broker.service.files import SessionKeys
    from broker.service.flights import Spawn
    from broker.service.host import Host
    from broker.service.inside import Inside
    from broker.service.ready import Probe
    from broker.telemetry import Metrics

#: Seconds between two comparisons of records and containers, and between two tries to listen to an
#: engine that went away.
RECONCILE_EVERY, LISTEN_EVERY = 60.0, 30.0

#: Seconds without a success after which a loop is in trouble, or three of its periods where that is
#: more: a pass over a thousand desktops that do not answer takes a minute and a half.
OVERDUE = 120.0

#: Seconds between two looks for homes that nobody used for long, where that is days.
ARCHIVE_EVERY = 600.0


def archive_every(after: float | None) -> float:
    """Seconds between two such looks: a tenth of a policy that is shorter."""
    return ARCHIVE_EVERY if after is None else max(1.0, min(ARCHIVE_EVERY, after / 10))


class Services:
    """Everything below the listeners. What touches the world comes from outside."""

    def __init__(
        self,
        *,
        config: Config,
        store: Store,
        engine: Engine,
        clock: Clock,
        host: Host,
        keys: SessionKeys,
        probe: Probe,
        inside: Inside,
        packets: PacketFilter,
        resolvers: tuple[str, ...],
        neighbours: Callable[[str], Iterable[IPv4Network]],
        connections: Connections,
        spawn: Spawn,
        metrics: Metrics,
        measure: Callable[[], Awaitable[bytes]],
    ) -> None:
        policy = config.idle.policy
        template = config.template.template(TEMPLATE)
        self.inside = inside
        self.keys = keys
        self.starts = Starts(
            at_once=config.starts.at_once,
            waiting=config.starts.waiting,
            per_user=config.starts.per_user,
            clock=clock,
        )
        self.watches = Watches(clock, policy)
        self.presence = Presence(clock, self.watches.saw)
        self.flights = Flights(spawn, clock)
        self.holdback = Holdback(clock)
        self.archives = Archives(config.state / "archive")
        self.archivist = Archivist(
            store=store,
            engine=engine,
            archives=self.archives,
            clock=clock,
            after=config.idle.archive_after,
            image=template.image,
        )
        self.firewall = Firewall(
            store=store,
            host=host,
            packets=packets,
            policy=template.network,
            pool=config.network.pool,
            resolvers=resolvers,
            neighbours=neighbours,
        )
        launcher = Launcher(
            store=store,
            engine=engine,
            keys=keys,
            host=host,
            firewall=self.firewall,
            probe=probe,
            clock=clock,
            template=template,
            resolvers=resolvers,
            archivist=self.archivist,
        )
        ending = Ending(store=store, launcher=launcher, keys=keys, clock=clock)
        starting = Starting(
            store=store,
            engine=engine,
            host=host,
            launcher=launcher,
            ending=ending,
            flights=self.flights,
            holdback=self.holdback,
            clock=clock,
            template=template,
            timeout=config.starts.timeout,
            bounds=Bounds(
                running=config.limits.running, running_per_user=config.limits.running_per_user
            ),
            metrics=metrics,
        )
        self.sessions = Sessions(
            store=store,
            launcher=launcher,
            starting=starting,
            ending=ending,
            flights=self.flights,
            starts=self.starts,
            connections=connections,
            inside=inside,
        )
        self.accounts = Accounts(
            store=store,
            engine=engine,
            sessions=self.sessions,
            host=host,
            connections=connections,
            archivist=self.archivist,
            desktops_per_user=config.limits.desktops_per_user,
        )
        self.reconciler = Reconciler(
            store=store,
            engine=engine,
            sessions=self.sessions,
            keys=keys,
            host=host,
            firewall=self.firewall,
            clock=clock,
        )
        self.reaper = Reaper(
            store=store,
            engine=engine,
            sessions=self.sessions,
            inside=inside,
            presence=self.presence,
            watches=self.watches,
            host=host,
            clock=clock,
            policy=policy,
        )
        self.explainer = Explainer(
            store=store,
            reaper=self.reaper,
            watches=self.watches,
            presence=self.presence,
            clock=clock,
            policy=policy,
        )
        self.words = Words(
            store=store,
            sessions=self.sessions,
            accounts=self.accounts,
            presence=self.presence,
            watches=self.watches,
            reaper=self.reaper,
            explainer=self.explainer,
            policy=policy,
            spawn=spawn,
            clock=clock,
        )

        def loop(
            name: str,
            step: Callable[[], Awaitable[None]],
            every: float,
            wake: asyncio.Event | None = None,
        ) -> Loop:
            overdue = max(3 * every, OVERDUE)
            return Loop(
                name, step, every=every, overdue=overdue, clock=clock, metrics=metrics, wake=wake
            )

        self.reconciling = loop("reconcile", self.reconciler.pass_once, RECONCILE_EVERY)
        self.reaping = loop("reap", self.reaper.pass_once, LOOK_EVERY, self.sessions.woke)
        self.listening = loop("events", self._listen, LISTEN_EVERY)
        every = archive_every(config.idle.archive_after)
        self.archiving = loop("archive", self._archive, every)
        self.loops = (self.reconciling, self.reaping, self.listening, self.archiving)
        self.health = Health(
            store=store,
            engine=engine,
            sessions=self.sessions,
            firewall=self.firewall,
            loops=self.loops,
            image=template.image,
            metrics=measure,
        )
        self.gateway = LocalGateway(
            store=store,
            sessions=self.sessions,
            accounts=self.accounts,
            reconciler=self.reconciler,
            keys=keys,
            presence=self.presence,
            host=host,
            words=self.words,
            health=self.health,
            connections=connections,
        )

    async def _archive(self) -> None:
        await self.archivist.pass_once(self.archiving.beat)

    async def _listen(self) -> None:
        await self.reconciler.follow_events(self.listening.beat)
