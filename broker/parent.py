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
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from broker.config import parse, read
from broker.config.changes import Needs, all_needs, changes, held_back
from broker.core.errors import ConfigError
from broker.door.settings import CERTIFICATE, DRAIN, Settings, deposited, environment
from broker.inherited import Inherited
from broker.system.children import Children, NotStarted
from broker.system.hostkey import load_or_make
from broker.system.kept import Draining, Kept
from broker.system.notify import Notifier
from broker.system.state import prepare
from broker.system.tasks import Tasks
from broker.system.tls import Deposit

if TYPE_CHECKING:
    from pathlib import Path

    from broker.config import Config
    from broker.system.children import Child
    from broker.system.notify import Supervisor

log = structlog.get_logger()

BROKER = "broker"

#: The programs of the children; -P: what lies about where root happens to stand is no part of them.
DESKD = (sys.executable, "-P", "-m", "broker.cli.deskd")
DOOR = (sys.executable, "-P", "-m", "broker.door.worker")

#: Seconds that a door gets to say goodbye, and that a broker gets for the starts under way, until
#: they are killed.
DOOR_PATIENCE, BROKER_PATIENCE = 6.0, 20.0

#: Doors that were replaced and still carry connections; beyond that the oldest are sent home.
_MOST_DRAINING = 32

#: Seconds between two looks whether the certificate of the HTTP port has changed.
_CERTIFICATE_EVERY = 5.0

#: Seconds until a door is tried again that could not be replaced.
_AGAIN = 30.0


async def serve(path: Path, text: str, config: Config) -> int:
    """Run Desk until SIGTERM or SIGINT; a second signal leaves at once; SIGHUP reads the
    configuration anew, which `text` is as it stood at `path`. Desktops outlive it. Returns the exit
    status: not 0 when a child could not be started at first, which has said why.

    Raises `DeskError` when it cannot start.
    """
    os.umask(0o077)
    notifier = Notifier.of(os.environ)
    prepare(config.state)
    uid = door_uid(config)
    with ExitStack() as stack:
        inherited = Inherited.open(config, uid, stack)
        key = load_or_make(config.state / "ssh_host_key").export_private_key().decode()
        deposit = Deposit(config.state / "doors" / CERTIFICATE, uid)
        deposit.take(config.web.tls.files)
        parent = Parent(
            *(path, text, config, inherited, deposit),
            uid=uid,
            host_key=key,
            supervisor=notifier,
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


class Parent:
    """The children, and what they are told."""

    def __init__(
        self,
        path: Path,
        text: str,
        config: Config,
        inherited: Inherited,
        deposit: Deposit,
        *,
        uid: int | None,
        host_key: str,
        supervisor: Supervisor,
    ) -> None:
        self._path, self._text, self._config = path, text, config
        self._inherited, self._deposit = inherited, deposit
        self._uid = uid
        self._host_key = host_key
        self._supervisor = supervisor
        self._tasks = Tasks()
        self._children = Children(self._tasks)
        self._look_again = asyncio.Event()
        """A child may be there that does not go with the others, or a configuration to read."""
        self._reload = False
        self._broker = Kept(BROKER, self._start_broker, self._tasks, on_next=self._look_again.set)
        self._doors = [
            Kept(name, partial(self._start_door, name), self._tasks, on_next=self._look_again.set)
            for name in (f"door {number}" for number in range(1, doors(config) + 1))
        ]
        self._draining = Draining(DRAIN, _MOST_DRAINING)
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """As `serve`."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop_or_leave)
        loop.add_signal_handler(signal.SIGHUP, self._ask_to_reload)
        stopped = self._tasks.start(self._stop.wait(), name="stop")
        living = self._tasks.start(self._live(), name="children")
        self._tasks.start(self._supervisor.live(), name="signs of life")
        self._tasks.start(self._watch_certificate(), name="certificate")
        try:
            await asyncio.wait({living, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if stopped.done():
                log.info("desk stops; desktops go on")
            return living.result() if living.done() else 0
        finally:
            self._supervisor.stopping()
            await self._tasks.close()
            # Doors first: while they say goodbye, the broker hears who left.
            await self._children.end(lambda child: child.name != BROKER, DOOR_PATIENCE)
            await self._children.end(lambda child: child.name == BROKER, BROKER_PATIENCE)

    async def _live(self) -> int:
        """Start all, then keep them in step with each other and with the configuration, which is
        read anew whenever that is asked for. Returns only the exit status of a child that did not
        start at first.
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
            http=str(config.web.listen),
            state=str(config.state),
            doors=len(self._doors),
        )
        self._supervisor.ready("Keeps broker and front doors")
        taken = False
        while True:
            in_step = await self._bring_in_step()
            if taken:
                log.info("configuration taken over", doors=len(self._doors))
            with suppress(TimeoutError):
                async with asyncio.timeout(None if in_step else _AGAIN):
                    await self._look_again.wait()
            self._look_again.clear()
            taken = self._reload and await self._read_anew()

    async def _read_anew(self) -> bool:
        """Whether the broker has the configuration as it is now; the doors are to follow."""
        self._reload = False
        try:
            text, config = self._read()
            self._deposit.take(config.web.tls.files)
        except ConfigError as error:
            log.warning("configuration not taken over", problem=error.public)
            return False
        found = changes(self._config, config)
        self._text, self._config = text, config
        if all_needs(found) & Needs.BROKER:
            await self._broker.restart(BROKER_PATIENCE)
        elif self._broker.child is not None:
            self._broker.child.tell(signal.SIGHUP)
        return True

    def _read(self) -> tuple[str, Config]:
        """The file, but what children have open or would not understand as it was. Raises
        `ConfigError`.
        """
        text = read(self._path)
        found = changes(self._config, parse(text, str(self._path)))
        waits = [change.key for change in found if change.needs & Needs.STOP]
        if waits:
            problem = f"{', '.join(waits)}: stop Desk and start it to change this"
            log.warning("a part of the configuration waits", problem=problem)
        text = held_back(self._text, text, waits)
        return text, parse(text, str(self._path))

    async def _watch_certificate(self) -> None:
        """Doors cannot read what is root's, and see by themselves that what they can has changed."""
        trouble = None
        while True:
            await asyncio.sleep(_CERTIFICATE_EVERY)
            try:
                self._deposit.take(self._config.web.tls.files)
                trouble = None
            except ConfigError as error:
                if error.public != trouble:
                    trouble = error.public
                    log.warning("certificate not taken over", problem=trouble)

    async def _bring_in_step(self) -> bool:
        """Have all children speak alike, and each door know what it would be told now. Who began
        last has the code that is installed, if that was exchanged under those that run. Returns
        whether they are in step.
        """
        begun = [kept.child for kept in (self._broker, *self._doors) if kept.child is not None]
        latest = max(begun, key=lambda child: child.born)
        await self._broker.restart(
            BROKER_PATIENCE, unless=lambda broker: broker.speaks == latest.speaks
        )
        for door in self._doors:
            # It can let nobody in: who comes waits in the socket for the next one.
            if (mute := await door.vacate(unless=self._is_understood)) is not None:
                self._draining.add(mute)
        in_step = True
        for door in self._doors:
            try:
                before = await door.replace(unless=self._is_as_it_should_be)
            except NotStarted as failed:
                log.warning("a door was not replaced", status=failed.status)
                in_step = False
                continue
            if before is not None:
                self._draining.add(before)
            assert door.child is not None
            in_step &= self._is_as_it_should_be(door.child)
        return in_step

    def _is_understood(self, door: Child) -> bool:
        broker = self._broker.child
        assert broker is not None
        if door.speaks != broker.speaks:
            log.warning("versions differ", child=door.name, door=door.speaks, broker=broker.speaks)
        return door.speaks == broker.speaks

    def _is_as_it_should_be(self, door: Child) -> bool:
        return door.told == self._settings(door.name).write() and self._is_understood(door)

    async def _start_broker(self) -> Child:
        inherited = self._inherited
        command = [
            *DESKD,
            "broker",
            *("--config", str(self._path)),
            *("--parent", str(os.getpid())),
            *("--gateway", str(inherited.gateway)),
            *("--api", str(inherited.api)),
            *("--lock", str(inherited.lock)),
        ]
        if self._uid is not None:
            command += ["--door-uid", str(self._uid)]
        return await self._children.start(
            BROKER,
            command,
            descriptors=(inherited.gateway, inherited.api, inherited.lock),
            # Not the file itself: that may have changed since it was found good.
            told=self._text.encode(),
        )

    async def _start_door(self, name: str) -> Child:
        inherited = self._inherited
        return await self._children.start(
            name,
            DOOR,
            descriptors=(inherited.ssh, inherited.http, inherited.way),
            told=self._settings(name).write(),
            environment=environment(os.environ),
        )

    def _settings(self, name: str) -> Settings:
        """What a door of that name is told now."""
        inherited = self._inherited
        return Settings.of(
            self._config,
            name=name,
            parent=os.getpid(),
            uid=self._uid,
            ssh=inherited.ssh,
            http=inherited.http,
            gateway=inherited.way,
            host_key=self._host_key,
            tls=None if self._config.web.tls.files is None else deposited(inherited.way),
        )

    def _ask_to_reload(self) -> None:
        self._reload = True
        self._look_again.set()

    def _stop_or_leave(self) -> None:
        if self._stop.is_set():
            os._exit(1)  # the kernel ends the children with it
        self._stop.set()
