"""The broker's composition root: builds every part, runs them, stops them in one readable order."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, TypeVar

import structlog
from aiohttp import web

from broker.core.errors import LoopDied
from broker.core.model import SessionState
from broker.db.connect import connect
from broker.db.store import SqlStore
from broker.door.app import Door
from broker.door.limits import Limits
from broker.door.web import application as web_application
from broker.engine.docker import DockerEngine
from broker.http.admin import AdminApi
from broker.service.files import SessionKeys
from broker.service.host import Host
from broker.service.inside import SshInside
from broker.service.ready import SshProbe
from broker.service.services import Services
from broker.system import net, sockets
from broker.system.clock import SystemClock
from broker.system.hostkey import load_or_make
from broker.system.lock import StateLock
from broker.system.nft import Nftables
from broker.system.peer import admin_gid
from broker.system.state import prepare
from broker.telemetry import Metrics

if TYPE_CHECKING:
    import socket
    from collections.abc import Coroutine, Sequence

    from broker.config import Config
    from broker.core.gateway import Penalty, WordReply
    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import InstanceId, SessionId
    from broker.service.loops import Loop

T = TypeVar("T")

log = structlog.get_logger()

#: Seconds that starts in flight and open connections get when the broker stops.
START_GRACE, DOOR_GRACE = 10.0, 2.0


async def serve(config: Config) -> None:
    """Run the broker until SIGTERM or SIGINT; a second signal leaves at once.

    Desktops outlive it. Raises `DeskError` when it cannot start.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_leave, stop)
    os.umask(0o077)
    prepare(config.state)
    with StateLock(config.state / "lock"):
        async with AsyncExitStack() as stack:
            ssh, http = (
                stack.enter_context(sockets.bind_tcp(key, listen.host, listen.port))
                for key, listen in (
                    ("ssh.listen", config.ssh.listen),
                    ("http.listen", config.http.listen),
                )
            )
            broker = await Broker.build(config, SystemClock(), stack)
            await broker.run(stop, ssh=ssh, http=http)


def _stop_or_leave(stop: asyncio.Event) -> None:
    if stop.is_set():
        raise SystemExit(1)
    stop.set()


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


class Doors:
    """The front doors of this process, for what must reach everybody's connections. A door is added
    once it is built: it asks the very services that end connections through this.
    """

    def __init__(self) -> None:
        self._doors: list[Door] = []

    def add(self, door: Door) -> None:
        self._doors.append(door)

    def end_user(self, user_id: str, sentence: str) -> None:
        for door in self._doors:
            door.end_user(user_id, sentence)

    def end_key(self, fingerprint: str, sentence: str) -> None:
        for door in self._doors:
            door.end_key(fingerprint, sentence)

    def end_session(self, session_id: str, sentence: str, *, sleeps: bool = False) -> None:
        for door in self._doors:
            door.end_session(session_id, sentence, sleeps=sleeps)

    def penalise(self, penalty: Penalty, *, by: str) -> None:
        """One door has nobody to tell."""


class Broker:
    """All parts of one broker, built and ready to run."""

    def __init__(
        self, config: Config, store: Store, engine: Engine, clock: Clock, instance: InstanceId
    ) -> None:
        self._config, self._store = config, store
        self._work = Work()
        self._metrics = Metrics()
        doors = Doors()
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
            packets=Nftables(),
            resolvers=config.network.resolvers or net.resolvers(),
            neighbours=net.neighbours,
            connections=doors,
            spawn=self._work.spawn,
            metrics=self._metrics,
            measure=self._measure,
        )
        self._door = Door(
            self._services.gateway,
            host_key=load_or_make(config.state / "ssh_host_key"),
            limits=Limits.of(config.ssh),
            fast=config.ssh.fast,
        )
        doors.add(self._door)

    @classmethod
    async def build(cls, config: Config, clock: Clock, stack: AsyncExitStack) -> Broker:
        """Open the state and the engine; `stack` closes them. Raises `StateUnusable`."""
        database = await connect(config.database)
        stack.push_async_callback(database.dispose)
        store = SqlStore(database, clock)
        instance = await store.instance()
        engine = DockerEngine(instance, base_url=config.engine.socket)
        stack.push_async_callback(engine.close)
        return cls(config, store, engine, clock, instance)

    async def run(self, stop: asyncio.Event, *, ssh: socket.socket, http: socket.socket) -> None:
        """Reconcile, listen, wait for `stop`, then leave: doors first, work in flight next. Raises
        `LoopDied` when a loop ended before that.
        """
        await self._services.reconciling.once()
        async with AsyncExitStack() as stack:
            await self._listen(stack, ssh, http)
            log.info(
                "desk is ready", ssh=_name(ssh), http=_name(http), state=str(self._config.state)
            )
            # What start-up made stays: a full collection over it would hold the loop for 30 ms.
            gc.collect()
            gc.freeze()
            dead: list[str] = []
            async with asyncio.TaskGroup() as group:
                running = [
                    group.create_task(self._guard(loop, stop, dead), name=loop.name)
                    for loop in self._services.loops
                ]
                await stop.wait()
                log.info("desk stops; desktops go on")
                await self._door.close(DOOR_GRACE)
                await self._services.sessions.quiesce(START_GRACE)
                for task in running:
                    task.cancel()
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

    async def _listen(self, stack: AsyncExitStack, ssh: socket.socket, http: socket.socket) -> None:
        config, services = self._config, self._services
        api = AdminApi(
            store=self._store,
            accounts=services.accounts,
            sessions=services.sessions,
            presence=services.presence,
            explainer=services.explainer,
            reaper=services.reaper,
            watches=services.watches,
        )
        admin = sockets.bind_unix(config.admin_socket, mode=0o660, gid=admin_gid())
        stack.callback(config.admin_socket.unlink, missing_ok=True)
        for application, sock in (
            (api.application(), admin),
            (web_application(services.gateway), http),
        ):
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, sock).start()
        await self._door.start(config.ssh.listen.host, config.ssh.listen.port, sock=ssh)

    async def _measure(self) -> bytes:
        states = Counter(session.state for session in await self._store.live_sessions())
        for state in SessionState:
            if state is not SessionState.ENDED:
                self._metrics.sessions.labels(state.value).set(states[state])
        self._metrics.attachments.set(self._services.presence.counts().total())
        self._metrics.starts_waiting.set(self._services.starts.waiting)
        stats = self._door.stats()
        self._metrics.ssh_connections.set(stats.connections)
        self._metrics.ssh_logins.set(stats.authenticated)
        return self._metrics.render()


def _name(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"
