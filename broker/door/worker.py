"""A front door as a process of its own: what its parent gives it, and its life from start to end.

It begins with its parent's rights, because the program's files may be readable by nobody else: once
everything is loaded it becomes an unprivileged user, and only then does it meet anybody.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import socket
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import asyncssh
import structlog

from broker import telemetry
from broker.core.errors import DeskError
from broker.core.messages import PROTOCOL
from broker.door import descriptors, feed
from broker.door.api import Api
from broker.door.app import Door
from broker.door.certificate import Certificate
from broker.door.clients import Clients
from broker.door.files import Files
from broker.door.front import Front
from broker.door.gateway import RemoteGateway
from broker.door.monitor import Monitor
from broker.door.origin import Origins
from broker.door.pictures import Pictures
from broker.door.rooms import Rooms
from broker.door.screens import Screens
from broker.door.settings import DRAIN, DRAINED, Settings
from broker.door.sounds import Sounds
from broker.door.statics import Statics
from broker.door.visitors import Visitors
from broker.door.web import Pages
from broker.system import child
from broker.system.notify import ParentNotifier
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    import ssl

    from broker.system.notify import Supervisor

log = structlog.get_logger()

#: Seconds that clients get to take the goodbye when a door stops, and answers to their end.
GRACE, WEB_GRACE = 2.0, 1.0

#: Modules that the standard library loads only when they are wanted, by when they may be unreadable.
_WANTED_LATER = (
    "concurrent.futures.thread",
    "encodings.idna",
    "encodings.latin_1",
    "linecache",
    "traceback",
)


def main() -> None:
    """Run the door that standard input describes; say `ready` and the name of its messages on
    standard output once it accepts.

    SIGTERM ends it and tells its clients so; SIGUSR1 lets it accept no more and end with its last
    connection.
    """
    child.forbid_privileges()
    try:
        settings = Settings.read(sys.stdin.buffer.read())
    except DeskError as refused:
        sys.exit(refused.told)
    run(settings, ParentNotifier(PROTOCOL))


def run(settings: Settings, supervisor: Supervisor) -> NoReturn:
    """Be that door until it ends; exits with `DRAINED` once it has carried what it had to."""
    telemetry.configure(settings.log, settings.log_level)
    structlog.contextvars.bind_contextvars(process=settings.name)
    for module in _WANTED_LATER:
        importlib.import_module(module)
    os.umask(0o077)
    try:
        sys.exit(feed.run(Worker(settings, supervisor).run()))
    except DeskError as refused:
        log.error("the door cannot open", problem=str(refused))  # noqa: TRY400 - a sentence is enough
        sys.exit(1)


class Worker:
    """One door, its gateway and its web pages."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._gateway = RemoteGateway(settings.gateway_socket, wait=settings.patience)
        reserved = settings.limits.descriptors_reserved + settings.web.descriptors
        self._door = Door(
            self._gateway,
            host_key=asyncssh.import_private_key(settings.host_key),
            limits=replace(settings.limits, descriptors_reserved=reserved),
            fast=settings.fast,
        )
        web = settings.web
        self._rooms = Rooms(
            self._gateway,
            self._door.attendance,
            settings.limits,
            most=web.viewers,
            most_per_user=web.viewers_per_user,
        )
        self._certificate: Certificate | None = None
        self._visitors = self._make_visitors()
        self._stop = asyncio.Event()
        self._drain = asyncio.Event()
        self._broken = False
        self._speaking = Tasks(on_failure=self._break)

    async def run(self) -> int:
        """Its life; returns the exit status: 0, or `DRAINED`, or another when it could not go on."""
        loop = asyncio.get_running_loop()
        for number, event in ((signal.SIGTERM, self._stop), (DRAIN, self._drain)):
            loop.add_signal_handler(number, event.set)
        for number in (signal.SIGINT, signal.SIGHUP):  # these are for the parent
            signal.signal(number, signal.SIG_IGN)
        async with AsyncExitStack() as stack:
            await self._door.prepare()
            await self._visitors.prepare()
            stack.push_async_callback(self._visitors.close, WEB_GRACE)
            self._give_up_rights()
            if self._settings.tls is not None:  # as whoever it will be read anew
                self._certificate = Certificate(*map(Path, self._settings.tls))
            self._speaking.start(self._gateway.run(Front(self._door, self._rooms)), name="gateway")
            self._speaking.start(self._supervisor.live(), name="signs of life")
            stack.push_async_callback(self._speaking.close)
            await self._door.start(sock=_inherited(self._settings.ssh))
            self._visitors.open(_inherited(self._settings.http))
            # What start-up made stays: a full collection over it would hold the loop.
            gc.collect()
            gc.freeze()
            self._supervisor.ready("Lets people in")
            await self._life()
            self._supervisor.stopping()
            await self._rooms.close()
            await asyncio.gather(self._door.close(GRACE), self._visitors.close(WEB_GRACE))
        if self._broken:
            return 1
        return DRAINED if self._drain.is_set() else 0

    def _make_visitors(self) -> Visitors:
        settings = self._settings.web
        clients = Clients(settings)
        api = Api(self._settings.api_socket, self._gateway, settings)
        pictures = Pictures(self._rooms)
        places = (
            *(Statics.read(), Monitor(self._gateway, clients), api),
            *(Screens(self._rooms), Sounds(self._rooms), pictures, Files(self._rooms, settings)),
        )
        origins = Origins(clients, settings)
        pages = Pages(places, clients, origins, settings, lives=(api.live, pictures.live))
        return Visitors(pages.application(), clients, settings, tls=self._tls)

    def _tls(self) -> ssl.SSLContext | None:
        return None if self._certificate is None else self._certificate.context()

    def _break(self) -> None:
        """Without the gateway it is of no use: it says goodbye, and another takes its place."""
        self._broken = True
        self._stop.set()

    def _give_up_rights(self) -> None:
        descriptors.raise_limit()
        if self._settings.uid is not None:
            child.become(self._settings.uid)
        child.harden()
        if self._settings.parent is not None:
            child.die_with(self._settings.parent)

    async def _life(self) -> None:
        """Until it is told to stop, or has carried what it had to when it was replaced."""
        async with asyncio.TaskGroup() as group:
            stopped = group.create_task(self._stop.wait())
            drained = group.create_task(self._drained())
            await asyncio.wait({stopped, drained}, return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
            drained.cancel()

    async def _drained(self) -> None:
        await self._drain.wait()
        self._door.accept_no_more()
        self._visitors.accept_no_more()
        self._rooms.drain()
        self._supervisor.status("Drains: another has taken its place")
        log.info("front door drains", connections=self._door.stats().connections)
        try:
            async with asyncio.timeout(self._settings.drain):
                await asyncio.gather(self._door.empty(), self._rooms.empty())
        except TimeoutError:
            log.info("front door drained too long", connections=self._door.stats().connections)


def _inherited(descriptor: int) -> socket.socket:
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)
    return sock


if __name__ == "__main__":
    main()
