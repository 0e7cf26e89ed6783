"""The broker's composition root: builds every part, runs them, stops them in one readable order."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from broker.core.errors import DeskError, EngineUnavailable
from broker.core.model import SessionState
from broker.db.connect import connect
from broker.db.store import SqlStore
from broker.door.app import Door
from broker.door.web import application as web_application
from broker.engine.docker import DockerEngine
from broker.http.admin import AdminApi
from broker.service.accounts import TEMPLATE, Accounts
from broker.service.files import SessionKeys
from broker.service.gateway import LocalGateway
from broker.service.health import Health
from broker.service.host import Host
from broker.service.presence import Presence
from broker.service.ready import SshProbe
from broker.service.reconciler import Reconciler
from broker.service.sessions import Sessions
from broker.service.starts import Starts
from broker.service.words import Words
from broker.system import net, sockets
from broker.system.clock import SystemClock
from broker.system.hostkey import load_or_make
from broker.system.lock import StateLock
from broker.system.peer import admin_gid
from broker.system.state import prepare
from broker.telemetry import Metrics

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine

    from broker.config import Config
    from broker.core.interfaces import Clock, Engine, Store
    from broker.core.model import InstanceId, Session

log = structlog.get_logger()

#: Seconds between two reconciles at rest, and the first wait after one that failed.
RECONCILE_EVERY, RETRY_AFTER = 60.0, 2.0

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


class Flights:
    """The tasks of starts under way: owned here, awaited by whoever waits for a desktop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Session]] = set()

    def spawn(
        self, work: Coroutine[object, object, Session], *, name: str
    ) -> asyncio.Task[Session]:
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


class Broker:
    """All parts of one broker, built and ready to run."""

    def __init__(
        self, config: Config, store: Store, engine: Engine, clock: Clock, instance: InstanceId
    ) -> None:
        self._config, self._store, self._clock = config, store, clock
        self._flights = Flights()
        self._metrics = Metrics()
        self._presence = Presence(clock)
        keys = SessionKeys(config.state / "sessions")
        host = Host(instance, engine, config.network, config.pools, routed=net.routed_networks)
        self._starts = Starts(at_once=config.starts.at_once, waiting=config.starts.waiting)
        template = config.template.template(TEMPLATE)
        self._sessions = Sessions(
            store=store,
            engine=engine,
            keys=keys,
            host=host,
            probe=SshProbe(clock),
            starts=self._starts,
            clock=clock,
            template=template,
            timeout=config.starts.timeout,
            resolvers=config.network.resolvers or net.resolvers(),
            spawn=self._flights.spawn,
            metrics=self._metrics,
        )
        doors = Doors()
        self._accounts = Accounts(
            store=store,
            engine=engine,
            sessions=self._sessions,
            host=host,
            connections=doors,
            desktops_per_user=config.limits.desktops_per_user,
        )
        self._reconciler = Reconciler(
            store=store, engine=engine, sessions=self._sessions, keys=keys, host=host, clock=clock
        )
        self._gateway = LocalGateway(
            store=store,
            sessions=self._sessions,
            accounts=self._accounts,
            reconciler=self._reconciler,
            keys=keys,
            presence=self._presence,
            host=host,
            words=Words(
                store=store,
                sessions=self._sessions,
                accounts=self._accounts,
                presence=self._presence,
            ),
            health=Health(
                store=store,
                engine=engine,
                sessions=self._sessions,
                reconciler=self._reconciler,
                clock=clock,
                image=template.image,
                metrics=self._measure,
            ),
        )
        self._door = Door(
            self._gateway,
            host_key=load_or_make(config.state / "ssh_host_key"),
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
        """Reconcile, listen, wait for `stop`, then leave: doors first, starts in flight next."""
        with suppress(EngineUnavailable):
            await self._reconcile()
        async with AsyncExitStack() as stack:
            await self._listen(stack, ssh, http)
            log.info(
                "desk is ready", ssh=_name(ssh), http=_name(http), state=str(self._config.state)
            )
            async with asyncio.TaskGroup() as loops:
                loops.create_task(
                    self._every(RECONCILE_EVERY, self._reconcile, stop), name="reconcile"
                )
                await stop.wait()
                log.info("desk stops; desktops go on")
                await self._door.close(DOOR_GRACE)
                await self._sessions.quiesce(START_GRACE)
                await self._flights.cancel()

    async def _listen(self, stack: AsyncExitStack, ssh: socket.socket, http: socket.socket) -> None:
        config = self._config
        api = AdminApi(
            store=self._store,
            accounts=self._accounts,
            sessions=self._sessions,
            presence=self._presence,
        )
        admin = sockets.bind_unix(config.admin_socket, mode=0o660, gid=admin_gid())
        stack.callback(config.admin_socket.unlink, missing_ok=True)
        for application, sock in (
            (api.application(), admin),
            (web_application(self._gateway), http),
        ):
            runner = web.AppRunner(application, access_log=None)
            await runner.setup()
            stack.push_async_callback(runner.cleanup)
            await web.SockSite(runner, sock).start()
        await self._door.start(config.ssh.listen.host, config.ssh.listen.port, sock=ssh)

    async def _reconcile(self) -> None:
        try:
            await self._reconciler.pass_once()
        except EngineUnavailable as error:
            log.warning("the engine does not answer; desktops wait for it", reason=str(error))
            raise

    async def _every(
        self, period: float, step: Callable[[], Awaitable[None]], stop: asyncio.Event
    ) -> None:
        """Run `step` every `period` seconds until `stop`; after a failure sooner, with back-off."""
        pause = RETRY_AFTER if self._reconciler.succeeded_at is None else period
        while not await _happens(stop, pause):
            try:
                await step()
            except EngineUnavailable:
                pause = min(pause * 2, period)
                self._metrics.loop_failures.labels("reconcile").inc()
            except DeskError as error:
                pause = min(pause * 2, period)
                self._metrics.loop_failures.labels("reconcile").inc()
                log.warning("a pass failed", loop="reconcile", code=error.code, reason=str(error))
            except Exception:
                pause = min(pause * 2, period)
                self._metrics.loop_failures.labels("reconcile").inc()
                log.exception("a pass failed", loop="reconcile")
            else:
                pause = period

    async def _measure(self) -> bytes:
        states = Counter(session.state for session in await self._store.live_sessions())
        for state in SessionState:
            if state is not SessionState.ENDED:
                self._metrics.sessions.labels(state.value).set(states[state])
        self._metrics.attachments.set(self._presence.counts().total())
        self._metrics.starts_waiting.set(self._starts.waiting)
        stats = self._door.stats()
        self._metrics.ssh_connections.set(stats.connections)
        self._metrics.ssh_logins.set(stats.authenticated)
        return self._metrics.render()


async def _happens(event: asyncio.Event, within: float) -> bool:
    try:
        async with asyncio.timeout(within):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _name(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"{host}:{port}"
