"""Who may connect where doors are heard, how often, and how much of the broker one process may take.

The kernel tells doors apart, by the process: what a door says of itself a door that was taken over
can say too. What is counted here outlives a connection, for to begin anew costs nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import structlog
from aiohttp import web

from broker.core.bucket import Bucket
from broker.core.messages import MESSAGE
from broker.system.peer import peer_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Hashable

    from aiohttp.web_protocol import RequestHandler

    from broker.system.peer import Peer

log = structlog.get_logger()

#: Connections that have not said which door they are; the next one takes the oldest one's place. A
#: door says so at once.
UNKNOWN = 32

#: Seconds until a connection has said which door it is, if need be by force.
PATIENCE = 10.0

#: Characters of long messages that one process may send at once, and then each second: what it
#: says when it comes, and the longest report every few seconds.
LONG, LONG_AGAIN = 2 * MESSAGE, MESSAGE / 4

#: Lines that one process may cause in the log at once, and then each second.
LINES, LINES_AGAIN = 64, 1.0

#: Processes that are remembered, beside those that are connected.
REMEMBERED = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one process may have at a socket."""

    refused: str
    """What the log says of whoever may not connect."""
    each: int
    """Connections at a time."""
    often: float
    """Connections at once,"""
    again: float
    """and then each second."""
    named: bool
    """Whether a connection has to say which door it is."""


#: Of the gateway: a door has one connection, and the one before whose end was not seen yet; it tries
#: once a second at most.
GATEWAY = Bounds(
    refused="connection refused at the gateway", each=2, often=16, again=2.0, named=True
)


@dataclass(slots=True)
class Process:
    """What one door's process takes of the broker, over all of its connections."""

    key: Hashable
    """Whose it is: the process's own id, or the unit of which it is a part."""
    bounds: Bounds
    connections: int = 0
    held_back: int = 0
    """Lines that the log was spared since the last one."""
    misunderstood: bool = False
    """Whether the log says that it speaks other messages."""
    _arrivals: Bucket = field(init=False)
    _long: Bucket = field(default_factory=lambda: Bucket(LONG, LONG_AGAIN, _now()))
    _lines: Bucket = field(default_factory=lambda: Bucket(LINES, LINES_AGAIN, _now()))

    def __post_init__(self) -> None:
        self._arrivals = Bucket(self.bounds.often, self.bounds.again, _now())

    def arrives(self) -> bool:
        """Whether one more connection may come."""
        return self.connections < self.bounds.each and self._arrivals.take(1, _now())

    def pause(self, characters: int) -> float:
        """Seconds until a message so long may be read."""
        return self._long.owe(characters, _now())

    def line(self) -> dict[str, int] | None:
        """What a log line of its making should say beside; None when it is one too many."""
        if not self._lines.take(1, _now()):
            self.held_back += 1
            return None
        spared, self.held_back = self.held_back, 0
        return {"spared": spared} if spared else {}


class Doorstep(web.Server):
    """The HTTP server of such a socket. Refuses by closing: nothing was read by then."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        uids: Collection[int],
        door_of: Callable[[int], Hashable | None],
        bounds: Bounds,
        **options: Any,
    ) -> None:
        """`uids` may connect, and of them only whose pid `door_of` knows, which says what to count
        it by: whoever took over a door can have as many processes as they like, and each would be
        counted anew.
        """
        super().__init__(handler, **options)
        self._door_of = door_of
        self._bounds = bounds
        self._uids = frozenset(uids)
        self._processes: dict[Hashable, Process] = {}
        self._strangers = Process(None, bounds)
        """All that may not connect, in one."""
        self._here: dict[asyncio.Transport, Process] = {}
        self._unknown: dict[asyncio.Transport, asyncio.TimerHandle] = {}
        """Those of them that have not said which door they are, the oldest first."""

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        peer = peer_of(transport.get_extra_info("socket"))
        if peer.uid not in self._uids:
            self._refuse(transport, peer, self._strangers, "no front door's user")
            return
        if (key := self._door_of(peer.pid)) is None:
            self._refuse(transport, peer, self._strangers, "no front door")
            return
        process = self._process(key)
        if not process.arrives():
            self._refuse(transport, peer, process, "it connects too often")
            return
        process.connections += 1
        self._here[transport] = process
        if not self._bounds.named:
            return
        while len(self._unknown) >= UNKNOWN:
            self._cut(next(iter(self._unknown)))
        loop = asyncio.get_running_loop()
        self._unknown[transport] = loop.call_later(PATIENCE, self._cut, transport)

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        if (transport := handler.transport) is not None:
            self.known(transport)
            if (process := self._here.pop(transport, None)) is not None:
                process.connections -= 1
        super().connection_lost(handler, exc)

    def process(self, transport: asyncio.Transport | None) -> Process | None:
        """Whose connection it is; None when it is over."""
        return None if transport is None else self._here.get(transport)

    def known(self, transport: asyncio.Transport) -> None:
        """It has said which door it is."""
        if (timer := self._unknown.pop(transport, None)) is not None:
            timer.cancel()

    def _process(self, key: Hashable) -> Process:
        if key not in self._processes:
            if len(self._processes) >= REMEMBERED:
                idle = (one.key for one in self._processes.values() if not one.connections)
                if (oldest := next(idle, None)) is not None:
                    del self._processes[oldest]
            self._processes[key] = Process(key, self._bounds)
        return self._processes[key]

    def _refuse(
        self, transport: asyncio.Transport, peer: Peer, process: Process, reason: str
    ) -> None:
        if (spared := process.line()) is not None:
            log.warning(
                self._bounds.refused,
                uid=peer.uid,
                pid=peer.pid,
                reason=reason,
                **spared,
            )
        _abort(transport)

    def _cut(self, transport: asyncio.Transport) -> None:
        self.known(transport)
        _abort(transport)


def _abort(transport: asyncio.Transport) -> None:
    """Not at once: the server's task for it must have begun."""
    asyncio.get_running_loop().call_soon(transport.abort)


def _now() -> float:
    return asyncio.get_running_loop().time()
