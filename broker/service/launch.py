"""From a session's record to a container that answers, and back to nothing."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import (
    AddressTaken,
    CapacityExhausted,
    ConfigError,
    EngineUnavailable,
    HomeMissing,
    HomeUnbounded,
    ImageMissing,
    NotFound,
    PortTaken,
    StartFailed,
)
from broker.core.gateway import Endpoint
from broker.core.interfaces import ContainerState
from broker.core.reconcile import cause_of_death
from broker.core.spec import SSHD_PORT, container_name, container_spec, home_volume

if TYPE_CHECKING:
    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import Desktop, HomeArchive, Session, Template
    from broker.core.spec import ContainerSpec
    from broker.service.archivist import Archivist
    from broker.service.files import SessionKeys
    from broker.service.firewall import Firewall
    from broker.service.host import Host
    from broker.service.ready import Probe
    from broker.telemetry import Metrics

log = structlog.get_logger()

#: How long a number that a stranger held is left alone.
SET_ASIDE = timedelta(minutes=10)

#: After so many numbers in a row that strangers hold, the ranges are plainly not ours.
_TRIES = 20

#: Seconds between looks at a container that does not answer yet.
_LOOK = 0.5


class Launcher:
    """Carries a STARTING session to the point where its desktop answers.

    Every step finds what an earlier try has made, so a start that a crash cut can be run again.
    """

    def __init__(
        self,
        *,
        store: Store,
        engine: Engine,
        keys: SessionKeys,
        host: Host,
        firewall: Firewall,
        probe: Probe,
        clock: Clock,
        template: Template,
        resolvers: tuple[str, ...],
        archivist: Archivist,
        metrics: Metrics,
    ) -> None:
        self._store = store
        self._engine = engine
        self._keys = keys
        self._host = host
        self._firewall = firewall
        self._probe = probe
        self._clock = clock
        self._template = template
        self._resolvers = resolvers
        self._archivist = archivist
        self._metrics = metrics

    async def current(self, desktop: Desktop) -> Desktop:
        """The desktop's record, once nobody packs its home any more: with an `archive`, `fetch` has
        to come before `launch`. Raises `DeskError`.
        """
        await self._archivist.give_way(desktop.id)
        current = await self._store.desktop(desktop.id)
        if current is None:
            raise NotFound(f"desktop {desktop.id} is gone")
        return current

    def fetching(self, archive: HomeArchive) -> float:
        """Seconds that `fetch` may take."""
        return self._archivist.allowance(archive)

    async def fetch(self, desktop: Desktop, session: Session) -> None:
        """Bring its home back from the archive. Raises `DeskError`."""
        await self._archivist.fetch(desktop, image=session.image)

    async def launch(self, desktop: Desktop, session: Session) -> Session:
        """Return the session, with the leases that it holds now. Raises `DeskError`."""
        owner = await self._store.user_by_id(desktop.user_id)
        if owner is None:
            raise NotFound(f"desktop {desktop.id} has no owner")
        phase = self._metrics.phase
        for _ in range(_TRIES):
            spec = self._spec(desktop, session, owner.name)
            with phase("home", self._clock):
                await self._home(desktop, session)
            with phase("create", self._clock):
                await self._engine.create(spec)
            with phase("start", self._clock):
                moved = await self._start(spec, session)
            if moved is None:
                with phase("answer", self._clock):
                    await self._answers(session)
                return session
            session = moved
        raise CapacityExhausted(f"{_TRIES} numbers in a row were held by strangers")

    async def _home(self, desktop: Desktop, session: Session) -> None:
        """Make the home once; a made one that is gone is never replaced by an empty one."""
        volume = home_volume(desktop.id)
        made = desktop.home_made_at is not None
        if made and volume not in await self._engine.homes():
            raise HomeMissing(f"the volume {volume} of desktop {desktop.id} is gone")
        await self._engine.ensure_home(
            volume, desktop_id=desktop.id, image=session.image, uid=desktop.uid
        )
        if self._template.home is not None:
            await self._engine.bound_home(
                volume, image=session.image, uid=desktop.uid, size=self._template.home
            )
        if not made:
            await self._store.note_home(desktop.id, actor="broker")

    async def demand(self) -> None:
        """Raises `ConfigError` where the template asks for what cannot be here. Where that cannot
        be told yet, each start will.
        """
        if self._template.home is None:
            return
        try:
            await self._engine.check_bounds(image=self._template.image)
        except (ImageMissing, EngineUnavailable):
            return
        except HomeUnbounded as error:
            raise ConfigError(
                public=f"template.home: homes cannot be bounded here: {error}. Take the key away, or"
                " see 'How much a home holds' in docs/config.md."
            ) from error

    def _spec(self, desktop: Desktop, session: Session, owner: str) -> ContainerSpec:
        return container_spec(
            instance=self._host.instance,
            desktop=desktop,
            session=session,
            template=self._template,
            user=owner,
            files=self._keys.make(session.id, uid=desktop.uid),
            resolvers=self._resolvers,
        )

    async def _start(self, spec: ContainerSpec, session: Session) -> Session | None:
        """None when it runs; else the session with another number: a stranger held that one."""
        until = self._clock.now() + SET_ASIDE
        await self._firewall.admit(session)
        try:
            await self._engine.start(spec.name)
        except PortTaken as taken:
            log.warning("port set aside", session=session.id, port=taken.port)
            move = self._store.release_port
        except AddressTaken as taken:
            log.warning("address set aside", session=session.id, address=taken.address)
            await self._firewall.withdraw(session.id)
            move = self._store.release_address
        else:
            return None
        await self._engine.remove(spec.name)
        pools = await self._host.pools()
        return await move(session.id, until=until, pools=pools, actor="broker")

    async def _answers(self, session: Session) -> None:
        """Wait until the desktop answers; raises `StartFailed` when its container dies first."""
        access = self._keys.access(session.id)
        async with asyncio.TaskGroup() as group:
            probing = group.create_task(self._probe.wait(self.endpoints(session), access))
            watching = group.create_task(self._death(session))
            await asyncio.wait({probing, watching}, return_when=asyncio.FIRST_COMPLETED)
            probing.cancel()
            watching.cancel()
        if not watching.cancelled():
            raise StartFailed(watching.result())

    async def _death(self, session: Session) -> str:
        """Return why the container stopped, once it has."""
        while True:
            await self._clock.sleep(_LOOK)
            try:
                container = await self._engine.inspect(container_name(session.id))
            except EngineUnavailable:
                continue  # the start's own deadline bounds this
            if container is None or container.state is ContainerState.EXITED:
                return cause_of_death(container)

    async def remove(self, session: Session) -> None:
        await self._firewall.withdraw(session.id)
        await self._engine.remove(container_name(session.id))

    async def kill(self, session: Session) -> None:
        await self._firewall.withdraw(session.id)
        await self._engine.kill(container_name(session.id))

    async def pause(self, session: Session) -> None:
        await self._engine.pause(container_name(session.id))

    async def unpause(self, session: Session) -> None:
        await self._engine.unpause(container_name(session.id))

    async def cause_of_death(self, session: Session) -> str:
        return cause_of_death(await self._engine.inspect(container_name(session.id)))

    async def tail(self, session: Session) -> str:
        return await self._engine.tail(container_name(session.id))

    def endpoints(self, session: Session) -> tuple[Endpoint, ...]:
        """The container's own address first: the published port goes through a slow proxy."""
        if session.address is None or session.port is None:
            return ()
        return (Endpoint(session.address, SSHD_PORT), Endpoint("127.0.0.1", session.port))
