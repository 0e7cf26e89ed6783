"""All services over one store and one engine, tied together: the lower half of the composition."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from broker.service.accounts import TEMPLATE, Accounts
from broker.service.archives import Archives
from broker.service.archivist import Archivist
from broker.service.authentication import Authentication
from broker.service.beginning import Begin
from broker.service.blocks import LoginBlocks
from broker.service.canary import Canary
from broker.service.certificates import Certificates
from broker.service.codes import OneTimeCodes
from broker.service.credentials import Credentials
from broker.service.doctor import Doctor
from broker.service.ending import Ending
from broker.service.entry import Entry
from broker.service.firewall import Firewall
from broker.service.flights import Flights
from broker.service.gateway import LocalGateway
from broker.service.groups import Groups
from broker.service.guests import LOOK_EVERY as SHARES_EVERY
from broker.service.guests import Guests
from broker.service.happenings import Happenings
from broker.service.health import Health
from broker.service.holdback import Holdback
from broker.service.invites import Invites
from broker.service.launch import Launcher
from broker.service.lines import Entrance
from broker.service.links import Links
from broker.service.logins import Logins
from broker.service.looking import Looking
from broker.service.loops import Loop
from broker.service.maintenance import Maintenance
from broker.service.measures import Measures
from broker.service.meter import Meter
from broker.service.oidc import SingleSignOn
from broker.service.passwords import Passwords
from broker.service.policies import Policies
from broker.service.presence import Presence
from broker.service.reaper import Reaper
from broker.service.reconciler import Reconciler
from broker.service.recovery import Recovery
from broker.service.revocations import Revocations
from broker.service.seats import Seats
from broker.service.sessions import Sessions
from broker.service.shares import Shares
from broker.service.signins import LOOK_EVERY as SIGN_INS_EVERY
from broker.service.signins import SignIns
from broker.service.sources import Newcomers, Sources
from broker.service.standing import LOOK_EVERY as LIST_EVERY
from broker.service.standing import Standing
from broker.service.starting import Starting
from broker.service.starts import Starts
from broker.service.status import StatusBoard
from broker.service.tickets import Tickets
from broker.service.tokens import Tokens
from broker.service.watches import LOOK_EVERY, Watches
from broker.service.why import Explainer
from broker.service.witness import TELL_EVERY, Witness
from broker.service.words import Words

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractAsyncContextManager
    from ipaddress import IPv4Network

    from broker.config import Config
    from broker.core.interfaces import Clock, Engine, GuardedPackets, Store
    from broker.core.outside import PasswordSource, SignOnProvider
    from broker.service.connections import Connections
    from broker.service.files import SessionKeys
    from broker.service.flights import Spawn
    from broker.service.host import Host
    from broker.service.inside import Inside
    from broker.service.ready import Probe
    from broker.telemetry import Metrics

#: Seconds between two comparisons of records and containers, and between two tries to listen to an
#: engine that went away, and to guard rules that nobody could guard.
RECONCILE_EVERY, LISTEN_EVERY, GUARD_EVERY = 60.0, 30.0, 2.0

#: Seconds between two tries from inside whether the network's rules hold.
PROBE_EVERY = 60.0

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
        packets: GuardedPackets,
        bait: Callable[[str], AbstractAsyncContextManager[int]],
        resolvers: tuple[str, ...],
        neighbours: Callable[[str], Iterable[IPv4Network]],
        connections: Connections,
        spawn: Spawn,
        metrics: Metrics,
        witness: Callable[[str], None],
        sources: Sequence[PasswordSource] = (),
        provider: SignOnProvider | None = None,
    ) -> None:
        template = config.template.template(TEMPLATE)
        self.config = config
        self.inside, self.keys = inside, keys
        self.starts = Starts(
            at_once=config.starts.at_once,
            waiting=config.starts.waiting,
            per_user=config.starts.per_user,
            clock=clock,
            waited=metrics.start_phases.labels("queue").observe,
        )
        self.policies = Policies(store=store, default=config.policy)
        self.groups = Groups(store=store, policies=self.policies)
        self.watches = Watches(clock)
        self.meter = Meter(engine=engine, watches=self.watches, clock=clock)
        self.presence = Presence(
            clock, self.watches.saw, came=metrics.attached.inc, did=metrics.door_told
        )
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
            canary=Canary(store=store, engine=engine, host=host, image=template.image, bait=bait),
            policy=template.network,
            pool=config.network.pool,
            required=config.network.required,
            resolvers=resolvers,
            neighbours=neighbours,
            clock=clock,
            metrics=metrics,
        )
        self.launcher = Launcher(
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
            metrics=metrics,
        )
        ending = Ending(store=store, launcher=self.launcher, keys=keys, clock=clock)
        starting = self.starting = Starting(
            store=store,
            engine=engine,
            host=host,
            launcher=self.launcher,
            ending=ending,
            flights=self.flights,
            holdback=self.holdback,
            clock=clock,
            template=template,
            timeout=config.starts.timeout,
            running=config.limits.running,
            policies=self.policies,
            metrics=metrics,
        )
        self.maintenance = Maintenance(
            store=store, engine=engine, inside=inside, clock=clock, image=template.image
        )
        self.sessions = Sessions(
            store=store,
            launcher=self.launcher,
            starting=starting,
            ending=ending,
            flights=self.flights,
            starts=self.starts,
            connections=connections,
            inside=inside,
            may_start=self.maintenance.check,
        )
        self.begin = Begin(sessions=self.sessions, spawn=spawn)
        self.certificates = Certificates(
            authorities=config.login.authorities,
            revocations=Revocations(config.login.revoked),
            clock=clock,
        )
        self.standing = Standing(revocations=self.certificates.revocations, connections=connections)
        self.sso = SingleSignOn(
            provider, store=store, groups=self.groups, policies=self.policies, clock=clock
        )
        self.credentials = Credentials(
            store=store,
            policies=self.policies,
            certificates=self.certificates,
            provider=self.sso.name,
            clock=clock,
        )
        self.codes = OneTimeCodes(store=store, clock=clock, issuer=config.login.codes.issuer)
        self.sign_ins = SignIns(
            store=store,
            credentials=self.credentials,
            policies=self.policies,
            codes=self.codes,
            connections=connections,
            present=self.presence.in_browsers,
            idle=config.web.sign_in.idle,
            longest=config.web.sign_in.longest,
            clock=clock,
        )
        self.links = Links(
            store=store,
            sign_ins=self.sign_ins,
            credentials=self.credentials,
            policies=self.policies,
            clock=clock,
            url=config.web.pages,
        )
        self._begin_sharing(
            store=store, inside=inside, connections=connections, clock=clock, spawn=spawn
        )
        self.seats = Seats(
            store=store,
            sessions=self.sessions,
            sign_ins=self.sign_ins,
            guests=self.guests,
            looking=self.looking,
            standing=self.standing,
            keys=keys,
        )
        self.passwords = Passwords()
        self.accounts = Accounts(
            store=store,
            engine=engine,
            sessions=self.sessions,
            host=host,
            connections=connections,
            archivist=self.archivist,
            policies=self.policies,
            passwords=self.passwords,
            sign_ins=self.sign_ins,
            sources=[
                *(source.name for source in sources),
                *([] if provider is None else [provider.name]),
            ],
        )
        self.invites = Invites(store=store, clock=clock, valid=config.login.invites.valid)
        self.blocks = LoginBlocks(
            rule=config.login.blocks.rule,
            exempt=config.login.blocks.exempt,
            store=store,
            clock=clock,
            spawn=spawn,
        )
        self.tokens = Tokens(store=store, clock=clock)
        self.happenings = Happenings(
            store=store, tokens=self.tokens, sign_ins=self.sign_ins, clock=clock
        )
        self.recovery = Recovery(store=store, invites=self.invites, blocks=self.blocks)
        self.sources = Sources(sources, metrics=metrics)
        self.logins = Logins(store=store, clock=clock, spawn=spawn)
        self.authentication = Authentication(
            store=store,
            credentials=self.credentials,
            policies=self.policies,
            passwords=self.passwords,
            codes=self.codes,
            blocks=self.blocks,
            invites=self.invites,
            tickets=Tickets(clock),
            logins=self.logins,
            newcomers=Newcomers(sources=self.sources, store=store, groups=self.groups),
            sign_ins=self.sign_ins,
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
        self.doctor = Doctor(
            store=store,
            engine=engine,
            keys=keys,
            host=host,
            firewall=self.firewall,
            reconciler=self.reconciler,
            archives=self.archives,
            kernel=packets,
            image=template.image,
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
            policies=self.policies,
            metrics=metrics,
        )
        self.explainer = Explainer(
            store=store,
            reaper=self.reaper,
            watches=self.watches,
            presence=self.presence,
            clock=clock,
            policies=self.policies,
        )
        self.words = Words(
            store=store,
            sessions=self.sessions,
            accounts=self.accounts,
            authentication=self.authentication,
            codes=self.codes,
            presence=self.presence,
            watches=self.watches,
            reaper=self.reaper,
            explainer=self.explainer,
            policies=self.policies,
            links=self.links,
            shares=self.shares,
            guests=self.guests,
            looking=self.looking,
            entrance=Entrance.of(
                url=config.web.url, host=socket.gethostname(), port=config.ssh.listen.port
            ),
            spawn=spawn,
            clock=clock,
        )

        self._begin_loops(store=store, clock=clock, metrics=metrics, witness=witness)
        self._begin_telling(store=store, engine=engine, host=host, clock=clock, metrics=metrics)
        self.gateway = LocalGateway(
            store=store,
            sessions=self.sessions,
            accounts=self.accounts,
            authentication=self.authentication,
            reconciler=self.reconciler,
            seats=self.seats,
            guests=self.guests,
            presence=self.presence,
            host=host,
            words=self.words,
            health=self.health,
            connections=connections,
            standing=self.standing,
            metrics=metrics,
        )
        self.entry = Entry(
            gateway=self.gateway,
            sign_ins=self.sign_ins,
            links=self.links,
            sso=self.sso,
            exempt=config.login.blocks.exempt,
            clock=clock,
        )

    def _begin_sharing(
        self,
        *,
        store: Store,
        inside: Inside,
        connections: Connections,
        clock: Clock,
        spawn: Spawn,
    ) -> None:
        """What lets others see a desktop."""
        self.shares = Shares(
            store=store,
            policies=self.policies,
            connections=connections,
            clock=clock,
            url=self.config.web.pages,
        )
        self.guests = Guests(
            store=store,
            shares=self.shares,
            inside=inside,
            connections=connections,
            clock=clock,
            spawn=spawn,
        )
        self.looking = Looking(store=store, policies=self.policies, inside=inside, clock=clock)

    def _begin_loops(
        self, *, store: Store, clock: Clock, metrics: Metrics, witness: Callable[[str], None]
    ) -> None:
        def loop(
            name: str,
            step: Callable[[], Awaitable[None]],
            every: float,
            wake: asyncio.Event | None = None,
        ) -> Loop:
            return Loop(
                name,
                step,
                every=every,
                overdue=max(3 * every, OVERDUE),
                clock=clock,
                metrics=metrics,
                wake=wake,
            )

        self.reconciling = loop("reconcile", self.reconciler.pass_once, RECONCILE_EVERY)
        self.reaping = loop("reap", self.reaper.pass_once, LOOK_EVERY, self.sessions.woke)
        self.listening = loop("events", self._listen, LISTEN_EVERY)
        self.probing = loop("canary", self.firewall.probe, PROBE_EVERY)
        self.guarding = loop("firewall", self._guard, GUARD_EVERY)
        self.archiving = loop(
            "archive", self._archive, archive_every(self.config.idle.archive_after)
        )
        self.revoking = loop("revoke", self.standing.look, LIST_EVERY)
        self.sharing = loop("shares", self.guests.look, SHARES_EVERY)
        self.expiring = loop("expire", self.sign_ins.look, SIGN_INS_EVERY)
        self.loops: tuple[Loop, ...] = (
            self.reconciling,
            self.reaping,
            self.listening,
            self.guarding,
            self.probing,
            self.archiving,
            self.revoking,
            self.expiring,
            self.sharing,
            *(
                [loop("audit", Witness(store, witness).look, TELL_EVERY)]
                if self.config.audit.syslog
                else []
            ),
        )

    def _begin_telling(
        self, *, store: Store, engine: Engine, host: Host, clock: Clock, metrics: Metrics
    ) -> None:
        """What says how all of it is."""
        self.health = Health(
            store=store,
            engine=engine,
            sessions=self.sessions,
            firewall=self.firewall,
            loops=self.loops,
            image=self.config.template.image,
            metrics=self._measure,
        )
        self.status = StatusBoard(
            store=store,
            engine=engine,
            presence=self.presence,
            starts=self.starts,
            host=host,
            firewall=self.firewall,
            reconciler=self.reconciler,
            loops=self.loops,
            clock=clock,
        )
        self._measures = Measures(
            store=store,
            presence=self.presence,
            starts=self.starts,
            host=host,
            health=self.health,
            maintenance=self.maintenance,
            metrics=metrics,
        )

    async def close(self) -> None:
        """Nobody asks any more: write what waits, and let go of what was made here."""
        await self.logins.settle()
        self.passwords.close()
        self.sources.close()

    async def _measure(self) -> bytes:
        return await self._measures.render()

    async def _archive(self) -> None:
        await self.archivist.pass_once(self.archiving.beat)

    async def _guard(self) -> None:
        await self.firewall.guard(self.guarding.beat)

    async def _listen(self) -> None:
        await self.reconciler.follow_events(self.listening.beat)
