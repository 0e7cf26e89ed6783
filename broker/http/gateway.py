"""The broker's side of the Gateway: a web socket for each front door, on a Unix socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web

from broker.core.codec import BadMessage
from broker.core.messages import MESSAGE, PROTOCOL, TO_BROKER, TO_DOOR, WAITING
from broker.http.caller import Caller
from broker.http.doorstep import GATEWAY, Doorstep
from broker.system.line import CLOSE, Line

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Collection, Hashable

    from broker.core.gateway import GatewayService
    from broker.core.messages import ToBroker, ToDoor
    from broker.http.doorstep import Process
    from broker.service.connections import Doors

log = structlog.get_logger()

#: Seconds that a door whose connection ended has to come back before its clients count as gone.
GRACE = 0.5

#: Seconds of silence after which a door is asked whether it lives; it has half of that to answer.
HEARTBEAT = 20.0

#: Doors that may be connected at a time: more than any host has cores.
DOORS = 256

#: Characters of a version that is not this one, in the log.
_SHOWN = 64


class GatewayServer:
    """Serves the gateway to all doors, and enters them into `doors`, by which the broker reaches
    them. Who connects is one of `uids`, and a process that `door_of` knows; the kernel says who it
    is.
    """

    def __init__(
        self,
        gateway: GatewayService,
        doors: Doors,
        *,
        uids: Collection[int],
        door_of: Callable[[int], Hashable | None],
        grace: float = GRACE,
    ) -> None:
        self._gateway = gateway
        self._doors = doors
        self._uids = uids
        self._door_of = door_of
        self._grace = grace
        self._callers: set[Caller] = set()
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        """Doors that may come back still."""
        self._owners: dict[str, Hashable] = {}
        """Whose process each door is, also of those that may come back."""
        self._doorstep: Doorstep | None = None
        self._runner: web.ServerRunner | None = None
        self._closing = False

    async def start(self, sock: socket.socket) -> None:
        """Listen on a Unix socket that is bound already. It is closed by `close`; whoever keeps a
        copy can have the next broker listen there.
        """
        self._doorstep = Doorstep(
            self._connect, self._uids, self._door_of, GATEWAY, access_log=None
        )
        self._runner = web.ServerRunner(self._doorstep, shutdown_timeout=2 * CLOSE)
        await self._runner.setup()
        await web.SockSite(self._runner, sock).start()

    async def close(self, grace: float = 0.0) -> None:
        """Take nothing new, give the words that are being said `grace` seconds, and let go of the
        doors: what else they wait for they ask the next broker.
        """
        self._closing = True
        await asyncio.gather(*(caller.finish(grace) for caller in self._callers))
        for caller in self._callers:
            caller.let_go("the broker stops")
        for timer in self._leaving.values():
            timer.cancel()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _connect(self, request: web.BaseRequest) -> web.StreamResponse:
        process = self._check(request)
        socket = web.WebSocketResponse(
            protocols=[PROTOCOL],
            heartbeat=HEARTBEAT,
            max_msg_size=MESSAGE,
            compress=False,
            timeout=CLOSE,
        )
        await socket.prepare(request)
        transport = request.transport

        def greeted(caller: Caller, door: str) -> None:
            self._came(caller, door)
            if transport is not None and self._doorstep is not None:
                self._doorstep.known(transport)

        caller = Caller(self._gateway, process, on_hello=greeted)
        line: Line[ToDoor, ToBroker] = Line(
            socket,
            TO_DOOR,
            TO_BROKER,
            longest=lambda _: MESSAGE,
            waiting=WAITING,
            admit=caller.admit,
        )
        self._callers.add(caller)
        reason = "it failed"
        try:
            reason = await caller.run(line)
        finally:
            self._callers.discard(caller)
            self._left(caller, reason)
        await line.close()
        return socket

    def _check(self, request: web.BaseRequest) -> Process:
        """Whose connection it is. Raises what refuses whoever asks for something else."""
        assert self._doorstep is not None
        process = self._doorstep.process(request.transport)
        if process is None:
            raise web.HTTPServiceUnavailable(text="The caller left.")
        if (request.method, request.path) != (hdrs.METH_GET, "/gateway"):
            raise web.HTTPNotFound(text="There is /gateway alone here.")
        spoken = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
        if spoken != PROTOCOL:
            # It comes again every second, for as long as it carries anybody.
            if not process.misunderstood and (spared := process.line()) is not None:
                process.misunderstood = True
                log.error(
                    "the versions of door and broker differ",
                    door=spoken[:_SHOWN],
                    broker=PROTOCOL,
                    **spared,
                )
            self._gateway.unheard()
            raise web.HTTPBadRequest(
                text=f"This broker speaks {PROTOCOL} alone.",
                headers={hdrs.SEC_WEBSOCKET_PROTOCOL: PROTOCOL},
            )
        if self._closing or len(self._callers) >= DOORS:
            raise web.HTTPServiceUnavailable(text="No more doors are let in just now.")
        return process

    def _came(self, caller: Caller, door: str) -> None:
        if self._owners.setdefault(door, caller.process.key) != caller.process.key:
            raise BadMessage("another process is that door")
        if (timer := self._leaving.pop(door, None)) is not None:
            timer.cancel()
        before = self._doors.join(door, caller)
        if isinstance(before, Caller):
            before.let_go("it came again")
        log.info("front door connected", door=door)

    def _left(self, caller: Caller, reason: str) -> None:
        door = caller.door
        if door is not None:
            self._doors.part(door, caller)
        log.info("front door disconnected", door=door, reason=reason)
        if door is not None and door not in self._doors and not self._closing:
            loop = asyncio.get_running_loop()
            if (before := self._leaving.pop(door, None)) is not None:
                before.cancel()
            self._leaving[door] = loop.call_later(self._grace, self._gone, door)

    def _gone(self, door: str) -> None:
        del self._leaving[door], self._owners[door]
        self._gateway.gone(door)
        log.info("front door gone", door=door)
