"""`deskd serve`: a small parent that holds the sockets and the state's lock, and keeps one broker and
some front doors running as its children.

None of them takes another with it: a broker that dies is started again while the doors carry on what
they carry, and a connect waits in a socket that is never closed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial, reduce
from typing import TYPE_CHECKING

import structlog

from broker.config import parse, read
from broker.core.errors import ConfigError
from broker.door.limits import Limits
from broker.door.settings import DRAIN, GATEWAY_SOCKET, Settings
from broker.system import sockets
from broker.system.hostkey import load_or_make
from broker.system.lock import StateLock
from broker.system.state import prepare
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    from broker.config import Config

log = structlog.get_logger()

BROKER = "broker"

#: The programs of the children; -P: what lies about where root happens to stand is no part of them.
DESKD = (sys.executable, "-P", "-m", "broker.cli.deskd")
DOOR = (sys.executable, "-P", "-m", "broker.door.worker")

#: What children that run already would not understand, or have open.
_FIXED = ("state", "ssh.listen", "ssh.doors", "http.listen", "pools.uids")

#: Seconds that a door gets to say goodbye, and that a broker gets for the starts under way, until
#: they are killed.
DOOR_PATIENCE, BROKER_PATIENCE = 6.0, 20.0

#: Seconds that a child gets until it is ready; a broker compares records and containers first.
_READY_WITHIN = 120.0

#: Doors that were replaced and still carry connections; beyond that the oldest are sent home.
_MOST_DRAINING = 32

#: Seconds between the end of a child and its next start: doubled each time, and back to the first
#: after one that lived for `_LONG_LIFE`.
_FIRST_PAUSE, _LONGEST_PAUSE, _LONG_LIFE = 0.1, 5.0, 60.0


class NotStarted(Exception):
    """A child ended before it was ready, having said why."""

    def __init__(self, status: int) -> None:
        super().__init__(f"ended with status {status}")
        self.status = status


class Child:
    """One process, and what it is for."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self._process = process
        self._born = asyncio.get_running_loop().time()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def age(self) -> float:
        return asyncio.get_running_loop().time() - self._born

    async def ready(self, told: bytes) -> None:
        """Tell it what it has to know, and wait until it says that it is ready. Raises
        `NotStarted`.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(ConnectionError):
            process.stdin.write(told)
            await process.stdin.drain()
        process.stdin.close()
        try:
            async with asyncio.timeout(_READY_WITHIN):
                while (line := await process.stdout.readline()) != b"ready\n":
                    if not line:
                        raise NotStarted(await process.wait())
        except TimeoutError:
            log.warning("not ready in time", child=self.name, pid=self.pid)
            self.tell(signal.SIGKILL)
            raise NotStarted(await process.wait()) from None

    async def wait(self) -> int:
        """Its exit status; negative is the signal that ended it."""
        return await self._process.wait()

    def tell(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def end(self, patience: float) -> None:
        """Ask it to end, and kill it when it has not after `patience` seconds."""
        self.tell(signal.SIGTERM)
        try:
            async with asyncio.timeout(patience):
                await self.wait()
        except TimeoutError:
            log.warning("killed: it did not end", child=self.name, pid=self.pid)
            self.tell(signal.SIGKILL)
            await self.wait()


class Children:
    """All that run."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks
        self._alive: set[Child] = set()

    async def start(
        self, name: str, command: Sequence[str], *, descriptors: Sequence[int], told: bytes = b""
    ) -> Child:
        """Return it once it is ready. Raises `NotStarted`, which is in the log already."""
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                pass_fds=descriptors,
                # A key at the parent's terminal is for the parent, and the terminal no door's.
                start_new_session=True,
            )
        except OSError as error:
            log.warning("cannot be started", child=name, problem=str(error))
            raise NotStarted(1) from error
        child = Child(name, process)
        self._alive.add(child)
        self._tasks.start(self._forget(child), name=f"wait for {name}")
        try:
            await child.ready(told)
        except NotStarted as failed:
            log.warning("did not start", child=name, pid=child.pid, status=failed.status)
            raise
        return child

    async def _forget(self, child: Child) -> None:
        await child.wait()
        self._alive.discard(child)

    async def end(self, which: Callable[[Child], bool], patience: float) -> None:
        await asyncio.gather(*(child.end(patience) for child in self._alive if which(child)))


class Kept:
    """A place that always has a child: one that ends by itself is followed by the next."""

    def __init__(self, name: str, start: Callable[[], Awaitable[Child]], tasks: Tasks) -> None:
        self._name = name
        self._start = start
        self._tasks = tasks
        self._child: Child | None = None
        self._pause = _FIRST_PAUSE
        self._turn = asyncio.Lock()

    async def begin(self) -> None:
        """The first one. Raises `NotStarted`."""
        self._adopt(await self._start())

    def _adopt(self, child: Child) -> None:
        self._child = child
        self._tasks.start(self._follow(child), name=f"keep {self._name}")

    async def _follow(self, child: Child) -> None:
        status = await child.wait()
        async with self._turn:
            if self._child is not child:
                return  # it was to end
            log.error("ended by itself", child=self._name, pid=child.pid, status=status)
            if child.age >= _LONG_LIFE:
                self._pause = _FIRST_PAUSE
            await self._next()

    async def _next(self) -> None:
        """Start one, as often as it takes."""
        child = None
        while child is None:
            await asyncio.sleep(self._pause)
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            with suppress(NotStarted):
                child = await self._start()
        self._adopt(child)
        log.info("started again", child=self._name, pid=child.pid)

    async def restart(self, patience: float) -> None:
        """End it, then start the next."""
        async with self._turn:
            child, self._child = self._child, None
            if child is not None:
                await child.end(patience)
            self._pause = _FIRST_PAUSE
            await self._next()

    async def replace(self) -> Child | None:
        """Start the next beside it; return the one that was, which nothing follows any more.
        Raises `NotStarted`, and then nothing has changed.
        """
        async with self._turn:
            before = self._child
            self._adopt(await self._start())
            return before


async def serve(path: Path, text: str, config: Config) -> int:
    """Run Desk until SIGTERM or SIGINT; a second signal leaves at once; SIGHUP reads the
    configuration anew, which `text` is as it stood at `path`. Desktops outlive it. Returns the exit status: not 0 when a child
    could not be started at first, which has said why.

    Raises `DeskError` when it cannot start.
    """
    os.umask(0o077)
    prepare(config.state)
    with ExitStack() as stack:
        lock = stack.enter_context(StateLock(config.state / "lock"))
        ssh = stack.enter_context(
            sockets.bind_tcp("ssh.listen", config.ssh.listen.host, config.ssh.listen.port)
        )
        http = stack.enter_context(
            sockets.bind_tcp("http.listen", config.http.listen.host, config.http.listen.port)
        )
        uid = door_uid(config)
        gateway = stack.enter_context(
            sockets.bind_private(config.state / "doors" / GATEWAY_SOCKET, uid)
        )
        way = os.open(config.state / "doors", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, way)
        inherited = Inherited(
            lock=lock.descriptor,
            ssh=ssh.fileno(),
            http=http.fileno(),
            gateway=gateway.fileno(),
            way=way,
        )
        parent = Parent(
            path,
            text,
            config,
            inherited,
            uid=uid,
            host_key=load_or_make(config.state / "ssh_host_key").export_private_key().decode(),
        )
        return await parent.run()


def door_uid(config: Config) -> int | None:
    """Whom front doors run as: nobody else, and above all no desktop. None without root, which
    alone can give it to them.
    """
    return config.pools.uids.last + 1 if os.geteuid() == 0 else None


def doors(config: Config) -> int:
    """How many there are: unless it is told, as many as can work at once, and no crowd."""
    return config.ssh.doors or min(4, len(os.sched_getaffinity(0)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inherited:
    """Descriptors that children get."""

    lock: int
    """The broker's: as long as it lives, no other may use the state."""
    ssh: int
    http: int
    """The doors' listeners."""
    gateway: int
    """Where the broker hears the doors."""
    way: int
    """The directory in which doors find that."""


class Parent:
    """The children, and what they are told."""

    def __init__(
        self,
        path: Path,
        text: str,
        config: Config,
        inherited: Inherited,
        *,
        uid: int | None,
        host_key: str,
    ) -> None:
        self._path, self._text, self._config = path, text, config
        self._inherited = inherited
        self._uid = uid
        self._host_key = host_key
        self._tasks = Tasks()
        self._children = Children(self._tasks)
        self._broker = Kept(BROKER, self._start_broker, self._tasks)
        self._doors = [
            Kept(name, partial(self._start_door, name), self._tasks)
            for name in (f"door {number}" for number in range(1, doors(config) + 1))
        ]
        self._draining: deque[Child] = deque()
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()

    async def run(self) -> int:
        """As `serve`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_leave)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        stopped = self._tasks.start(self._stop.wait(), name="stop")
        living = self._tasks.start(self._live(), name="children")
        try:
            await asyncio.wait({living, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                log.info("desk stops; desktops go on")
            return living.result() if living.done() else 0
        finally:
            await self._tasks.close()
            # Doors first: while they say goodbye, the broker hears who left.
            await self._children.end(lambda child: child.name != BROKER, DOOR_PATIENCE)
            await self._children.end(lambda child: child.name == BROKER, BROKER_PATIENCE)

    async def _live(self) -> int:
        """Start all, and read the configuration anew whenever that is asked for. Returns only the
        exit status of a child that did not start at first.
        """
        try:
            await self._broker.begin()
            begun = [door.begin() for door in self._doors]
            for failed in await asyncio.gather(*begun, return_exceptions=True):
                if failed is not None:
                    raise failed
        except NotStarted as failed:
            return failed.status if failed.status > 0 else 1
        config = self._config
        log.info(
            "desk is ready",
            ssh=str(config.ssh.listen),
            http=str(config.http.listen),
            state=str(config.state),
            doors=len(self._doors),
        )
        while True:
            await self._reload.wait()
            self._reload.clear()
            await self._read_anew()

    async def _read_anew(self) -> None:
        try:
            text = read(self._path)
            config = parse(text, str(self._path))
        except ConfigError as error:
            log.warning("configuration not taken over", problem=error.public)
            return
        fixed = [key for key in _FIXED if _value(config, key) != _value(self._config, key)]
        if fixed:
            problem = f"{', '.join(fixed)}: stop Desk and start it to change this"
            log.warning("configuration not taken over", problem=problem)
            return
        self._text, self._config = text, config
        await self._broker.restart(BROKER_PATIENCE)
        for door in self._doors:
            try:
                before = await door.replace()
            except NotStarted as failed:
                log.warning("a door was not replaced", status=failed.status)
                continue
            if before is not None:
                before.tell(DRAIN)
                self._draining.append(before)
                if len(self._draining) > _MOST_DRAINING:
                    self._draining.popleft().tell(signal.SIGTERM)
        log.info("configuration taken over", doors=len(self._doors))

    async def _start_broker(self) -> Child:
        inherited = self._inherited
        command = [
            *DESKD,
            "broker",
            *("--config", str(self._path)),
            *("--parent", str(os.getpid())),
            *("--gateway", str(inherited.gateway)),
        ]
        if self._uid is not None:
            command += ["--door-uid", str(self._uid)]
        return await self._children.start(
            BROKER,
            command,
            descriptors=(inherited.gateway, inherited.lock),
            # Not the file itself: that may have changed since it was found good.
            told=self._text.encode(),
        )

    async def _start_door(self, name: str) -> Child:
        inherited, config = self._inherited, self._config
        settings = Settings(
            name=name,
            parent=os.getpid(),
            uid=self._uid,
            ssh=inherited.ssh,
            http=inherited.http,
            gateway=inherited.way,
            host_key=self._host_key,
            fast=config.ssh.fast,
            patience=config.ssh.patience,
            drain=config.ssh.drain,
            log=config.log,
            limits=Limits.of(config.ssh),
        )
        return await self._children.start(
            name,
            DOOR,
            descriptors=(inherited.ssh, inherited.http, inherited.way),
            told=settings.write(),
        )

    def _stop_or_leave(self) -> None:
        if self._stop.is_set():
            os._exit(1)  # the kernel ends the children with it
        self._stop.set()


def _value(config: Config, key: str) -> object:
    return reduce(getattr, key.split("."), config)
