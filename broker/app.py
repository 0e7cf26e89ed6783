"""The broker's composition root: builds every part, runs them, stops them in one readable order."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from aiohttp import web

from broker import telemetry
from broker.core.errors import LoopDied
from broker.db.opening import open_store
from broker.db.place import database_of
from broker.engine.docker import DockerEngine
from broker.http.admin import AdminApi
from broker.http.apisocket import ApiSocket
from broker.http.gateway import GatewayServer
from broker.http.routes import PREFIX
from broker.http.signin import BACK
from broker.kept import ByParent, BySystemd
from broker.service.connections import Doors
from broker.service.files import SessionKeys
from broker.service.host import Host
from broker.service.inside import SshInside
from broker.service.ready import SshProbe
from broker.service.reload import Reload
from broker.service.services import Services
from broker.sources.oidc import Provider
from broker.sources.registry import build
from broker.system import lag, net, netlink, sockets, syslog
from broker.system.bait import bait
from broker.system.clock import SystemClock
from broker.system.guard import Guard
from broker.system.nft import Nftables
from broker.system.peer import admin_gid, child_of
from broker.telemetry import Metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Sequence

    from broker.config import Config
    from broker.core.findings import Finding
    from broker.core.gateway import WordReply
    from broker.core.interfaces import Clock, Engine, GuardedPackets, Store
    from broker.core.model import InstanceId, SessionId
    from broker.core.outside import PasswordSource, SignOnProvider
    from broker.kept import Origin
    from broker.service.loops import Loop
    from broker.system.notify import Supervisor

T = TypeVar("T")

log = structlog.get_logger()

#: Seconds that starts in flight get when the broker stops, and the words that are being said.
START_GRACE, WORD_GRACE = 10.0, 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Doorway:
    """Where front doors are heard, and who is one."""

    sock: socket.socket
    """The gateway's Unix socket, bound already; whoever keeps a copy can have the next broker listen
    there."""
    api: socket.socket
    """The same of the API, for what comes by their HTTP port."""
    uids: frozenset[int]
    """The users whose processes may be doors."""
    door_of: Callable[[int], Hashable | None]
    """By what to count the process with that pid; None when it is no door."""
    admin: socket.socket | None = None
    """Where administrators are heard, bound already; None for the state's own socket."""

    @classmethod
    def beside(cls, parent: int, *, gateway: int, api: int, door_uid: int | None) -> Doorway:
        """Of a child of `parent`, whose other children are the doors, and the user `door_uid`, if
        it is another one than this process's. `gateway` and `api` are descriptors.
        """
        uids = {os.geteuid()} if door_uid is None else {os.geteuid(), door_uid}
        sock, other = (socket.socket(fileno=one) for one in (gateway, api))
        return cls(sock=sock, api=other, uids=frozenset(uids), door_of=child_of(parent))


async def serve(
    config: Config,
    doorway: Doorway,
    supervisor: Supervisor,
    *,
    origin: Origin,
    packets: GuardedPackets | None = None,
) -> None:
    """Run the broker until SIGTERM; its caller holds the state's lock. The supervisor hears that it
    is ready once it hears front doors; a second signal leaves at once. SIGHUP has it take over what
    it can of another configuration. `packets` judges what desktops send; none given: this process
    sees to that itself.

    Desktops outlive it. Raises `DeskError` when it cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _stop_or_leave, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the parent
    again = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, again.set)
    os.umask(0o077)
    async with AsyncExitStack() as stack:
        for sock in (doorway.sock, doorway.api):
            stack.enter_context(sock)
            sock.setblocking(False)
        broker = await Broker.build(config, SystemClock(), stack, packets)
        await broker.run(stop, doorway, supervisor, origin=origin, again=again)


def _stop_or_leave(stop: asyncio.Event) -> None:
    if stop.is_set():
        raise SystemExit(1)
    stop.set()


async def _reloading(reload: Reload, again: asyncio.Event) -> None:
    while True:
        await again.wait()
        again.clear()
        await reload.take_over()


class Work:
    """The tasks of work under way: owned here, awaited by whoever waits for what comes of it."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, work: Coroutine[object, object, T], *, name: str) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def cancel(self) -> None:
        """What is left is taken up by the next start of the broker."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


class Broker:
    """All parts of one broker, built and ready to run."""

    def __init__(
        self,
        config: Config,
        store: Store,
        engine: Engine,
        clock: Clock,
        instance: InstanceId,
        *,
        sources: Sequence[PasswordSource],
        provider: SignOnProvider | None,
        metrics: Metrics,
        packets: GuardedPackets | None = None,
    ) -> None:
        self._config, self._store, self._metrics = config, store, metrics
        self._work = Work()
        self._doors = Doors()
        keys = SessionKeys(config.state / "sessions")
        self._inside = SshInside(
            reach=lambda session: (
                self._services.sessions.endpoints(session),
                keys.access(session.id),
            ),
            answer=self._answer_inside,
            clock=clock,
        )
        self._services = Services(
            config=config,
            store=store,
            engine=engine,
            clock=clock,
            host=Host(instance, engine, config.network, config.pools, routed=net.routed_networks),
            keys=keys,
            probe=SshProbe(clock),
            inside=self._inside,
            packets=packets or Guard(Nftables(), netlink.Changes, clock),
            bait=bait,
            resolvers=config.network.resolvers or net.resolvers(),
            neighbours=net.neighbours,
            connections=self._doors,
            spawn=self._work.spawn,
            metrics=metrics,
            witness=syslog.tell,
            sources=sources,
            provider=provider,
        )

    @classmethod
    async def build(
        cls,
        config: Config,
        clock: Clock,
        stack: AsyncExitStack,
        packets: GuardedPackets | None = None,
    ) -> Broker:
        """Open the state and the engine; `stack` closes them. Raises `StateUnusable`, and
        `ConfigError` when a source of passwords or the provider of sign-ins cannot be made.
        """
        sources = build(config.login.sources, clock)
        provider = None
        if config.oidc is not None:
            provider = Provider(config.oidc, f"{config.web.url}{PREFIX}{BACK}", clock)
        store = await open_store(database_of(config), clock)
        stack.push_async_callback(store.close)
        instance = await store.instance()
        metrics = Metrics()
        engine = DockerEngine(instance, base_url=config.engine.socket, told=metrics.engine_called)
        stack.push_async_callback(engine.close)
        return cls(
            config,
            store,
            engine,
            clock,
            instance,
            sources=sources,
            provider=provider,
            metrics=metrics,
            packets=packets,
        )

    async def examine(self, *, fix: bool) -> tuple[list[Finding], list[Finding]]:
        """What the doctor finds while nothing runs, and what is left of it. It ends what is begun
        for it; the next broker goes on with that.
        """
        doctor = self._services.doctor
        doctor.kernel = Nftables()
        try:
            found = await doctor.examine()
            return found, await doctor.mend(found) if fix else found
        finally:
            await self._services.close()
            await self._work.cancel()
            await self._inside.close()

    async def run(
        self,
        stop: asyncio.Event,
        doorway: Doorway,
        supervisor: Supervisor,
        *,
        origin: Origin,
        again: asyncio.Event,
    ) -> None:
        """Reconcile, hear the doors, wait for `stop`, then let go of the doors and leave; take over
        the configuration whenever `again` is set. Raises `LoopDied` when a loop ended before that.
        """
        reload = Reload(
            path=origin.path,
            text=origin.text,
            config=self._config,
            store=self._store,
            services=self._services,
            keeper=BySystemd(stop) if origin.parent is None else ByParent(origin.parent),
            log_as=telemetry.configure,
        )
        await self._services.certificates.check()
        await self._services.reconciling.once()
        await self._services.launcher.demand()
        if self._config.network.required:
            await self._services.firewall.probe()
            self._services.firewall.demand()
        self._services.probing.beat()  # it takes seconds, for which nobody is to wait else
        server = GatewayServer(
            self._services.gateway, self._doors, uids=doorway.uids, door_of=doorway.door_of
        )
        async with AsyncExitStack() as stack:
            await self._listen(stack, doorway, reload)
            await server.start(doorway.sock)
            # What start-up made stays: a full collection over it would hold the loop for 30 ms.
            gc.collect()
            gc.freeze()
            supervisor.ready("Hears front doors")
            dead: list[str] = []
            async with asyncio.TaskGroup() as group:
                running = [
                    group.create_task(self._guard(loop, stop, dead), name=loop.name)
                    for loop in self._services.loops
                ]
                late = self._metrics.lag.labels("broker").observe
                running.append(group.create_task(lag.watch(late), name="lag"))
                running.append(group.create_task(supervisor.live(), name="signs of life"))
                running.append(group.create_task(_reloading(reload, again), name="reload"))
                await stop.wait()
                supervisor.stopping()
                await server.close(WORD_GRACE)
                await self._services.sessions.quiesce(START_GRACE)
                for task in running:
                    task.cancel()
                await self._services.close()
                await self._work.cancel()
                await self._inside.close()
        if dead:
            raise LoopDied(f"the loop {dead[0]} died")

    async def _answer_inside(self, session_id: SessionId, argv: Sequence[str]) -> WordReply:
        return await self._services.words.answer_inside(session_id, argv)

    async def _guard(self, loop: Loop, stop: asyncio.Event, dead: list[str]) -> None:
        """A loop that ends though nobody stopped it takes the broker with it."""
        try:
            await loop.run(stop)
        except BaseException:
            if not stop.is_set():
                log.exception("a loop died", loop=loop.name)
        if not stop.is_set():
            dead.append(loop.name)
            stop.set()

    async def _listen(self, stack: AsyncExitStack, doorway: Doorway, reload: Reload) -> None:
        """The API, for administrators of this host and for what doors pass on."""
        api = AdminApi(
            store=self._store,
            services=self._services,
            ssh_port=self._config.ssh.listen.port,
            reload=reload,
        )
        admin = doorway.admin
        if admin is None:
            path = self._config.admin_socket
            admin = sockets.bind_unix(path, mode=0o660, gid=admin_gid())
            stack.callback(path.unlink, missing_ok=True)
        runner = web.AppRunner(api.application(), access_log=None)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.SockSite(runner, admin).start()
        passed_on = ApiSocket(
            api.application("token"),
            uids=doorway.uids,
            door_of=doorway.door_of,
            requests=self._config.web.limits.requests,
        )
        stack.push_async_callback(passed_on.close)
        await passed_on.start(doorway.api)
