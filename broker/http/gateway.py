"""The broker's side of the Gateway: a web socket for each front door, on a Unix socket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiohttp import hdrs, web

from broker.core.messages import MESSAGE, PROTOCOL, TO_BROKER, TO_DOOR, WAITING
from broker.http.caller import Caller
from broker.system.line import CLOSE, Line
from broker.system.peer import peer_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Collection

    from broker.core.gateway import GatewayService
    from broker.core.messages import ToBroker, ToDoor
    from broker.service.connections import Doors

log = structlog.get_logger()

#: Seconds that a door whose connection ended has to come back before its clients count as gone.
GRACE = 0.5

#: Seconds of silence after which a door is asked whether it lives; it has half of that to answer.
HEARTBEAT = 20.0

#: Doors that may be connected at a time: more than any host has cores.
DOORS = 256


class GatewayServer:
    """Serves the gateway to all doors, and enters them into `doors`, by which the broker reaches
    them. `uids` may connect; the kernel says who does.
    """

    def __init__(
        self,
        gateway: GatewayService,
        doors: Doors,
        *,
        uids: Collection[int],
        grace: float = GRACE,
    ) -> None:
        self._gateway = gateway
        self._doors = doors
        self._uids = frozenset(uids)
        self._grace = grace
        self._callers: set[Caller] = set()
        self._leaving: dict[str, asyncio.TimerHandle] = {}
        """Doors that may come back still."""
        self._runner: web.AppRunner | None = None
        self._closing = False

    async def start(self, sock: socket.socket) -> None:
        """Listen on a Unix socket that is bound already. It is closed by `close`; whoever keeps a
        copy can have the next broker listen there.
        """
        application = web.Application()
        application.router.add_get("/gateway", self._connect)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=2 * CLOSE)
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

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        self._check(request)
        socket = web.WebSocketResponse(
            protocols=[PROTOCOL],
            heartbeat=HEARTBEAT,
            max_msg_size=MESSAGE,
            compress=False,
            timeout=CLOSE,
        )
        await socket.prepare(request)
        line: Line[ToDoor, ToBroker] = Line(
            socket, TO_DOOR, TO_BROKER, longest=MESSAGE, waiting=WAITING
        )
        caller = Caller(line, self._gateway, on_hello=self._came)
        self._callers.add(caller)
        reason = "it failed"
        try:
            reason = await caller.run()
        finally:
            self._callers.discard(caller)
            self._left(caller, reason)
        await line.close()
        return socket

    def _check(self, request: web.Request) -> None:
        """Raises what refuses whoever may not connect."""
        if request.transport is None:
            raise web.HTTPServiceUnavailable(text="The caller left.")
        peer = peer_of(request.transport.get_extra_info("socket"))
        if peer.uid not in self._uids:
            log.warning("stranger at the gateway", uid=peer.uid, pid=peer.pid)
            raise web.HTTPForbidden(text="Only front doors may use this socket.")
        spoken = request.headers.get(hdrs.SEC_WEBSOCKET_PROTOCOL, "")
        if spoken != PROTOCOL:
            log.error("the versions of door and broker differ", door=spoken, broker=PROTOCOL)
            raise web.HTTPBadRequest(
                text=f"This broker speaks {PROTOCOL} alone.",
                headers={hdrs.SEC_WEBSOCKET_PROTOCOL: PROTOCOL},
            )
        if self._closing or len(self._callers) >= DOORS:
            raise web.HTTPServiceUnavailable(text="No more doors are let in just now.")

    def _came(self, caller: Caller) -> None:
        assert caller.door is not None
        if (timer := self._leaving.pop(caller.door, None)) is not None:
            timer.cancel()
        before = self._doors.join(caller.door, caller)
        if isinstance(before, Caller):
            before.let_go("it came again")
        log.info("front door connected", door=caller.door)

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
        del self._leaving[door]
        self._gateway.gone(door)
        log.info("front door gone", door=door)
