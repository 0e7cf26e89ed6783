"""The door's own connections into desktops, for what browsers do there: one for each session.

These are asyncssh's own, not the switch's. The sshd at the other end is the tenant's program: what
it sends is handled a little at a time, and whoever makes that dear waits for others in between.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import asyncssh

from broker.door.binding import CIPHERS, KEX
from broker.door.text import shown
from broker.system.sshclient import BROKEN
from broker.system.tasks import Tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from broker.core.gateway import Endpoint, Route
    from broker.door.limits import Limits

#: Seconds that a connection is kept after its last user.
LINGER = 10.0

#: Bytes that are handled at a time, and seconds from which on that took too long.
_AT_ONCE, _DEAR = 32 * 1024, 0.005

#: Characters of what an sshd said that an operator reads.
_PROBLEM = 200


class Unreachable(Exception):
    """No endpoint of the session led to its sshd."""


class Way:
    """A connection into a desktop."""

    def __init__(self, ssh: asyncssh.SSHClientConnection, line: Fair) -> None:
        self.ssh = ssh
        self._line = line

    @property
    def over(self) -> bool:
        return self.ssh.is_closed()

    async def drained(self) -> None:
        """Wait until what was sent is nearly gone: asyncssh waits for what the sshd says that it
        would take, which is anything.
        """
        await self._line.writable.wait()


@dataclass(slots=True, eq=False)
class _Shared:
    """The connection to one session."""

    route: Route
    dial: asyncio.Task[Way | Unreachable]
    users: int = 0
    timer: asyncio.TimerHandle | None = None
    """Ends it when nobody has used it for a while."""

    @property
    def usable(self) -> bool:
        if not self.dial.done():
            return True
        if self.dial.cancelled():
            return False
        made = self.dial.result()
        return not isinstance(made, Unreachable) and not made.over


class Connections:
    """Those of one door."""

    def __init__(self, limits: Limits, *, linger: float = LINGER) -> None:
        self._limits = limits
        self._linger = linger
        self._tasks = Tasks()
        self._shared: dict[str, _Shared] = {}

    @property
    def sessions(self) -> Collection[str]:
        """To which there is one."""
        return self._shared.keys()

    @asynccontextmanager
    async def use(self, route: Route, within: float) -> AsyncIterator[Way]:
        """The one to that session, made within so many seconds when there is none. Raises
        `Unreachable`. What a cancelled caller began goes on, for whoever comes next.
        """
        shared = self._of(route, within)
        shared.users += 1
        if shared.timer is not None:
            shared.timer.cancel()
        try:
            await asyncio.wait({shared.dial})
            made = None if shared.dial.cancelled() else shared.dial.result()
            if not isinstance(made, Way):
                raise made or Unreachable("the session is over")
            yield made
        finally:
            shared.users -= 1
            self._expire_later(shared)

    def forget(self, session_id: str) -> None:
        """End the one to a session that is over, whoever uses it."""
        shared = self._shared.pop(session_id, None)
        if shared is not None:
            _end(shared)

    async def close(self) -> None:
        """End all."""
        for session_id in list(self._shared):
            self.forget(session_id)
        await self._tasks.close()

    def _of(self, route: Route, within: float) -> _Shared:
        shared = self._shared.get(route.session_id)
        if shared is not None and (
            not shared.usable or shared.route.client_key != route.client_key
        ):
            self.forget(route.session_id)
            shared = None
        if shared is None:
            dial = self._tasks.start(self._dial(route, within), name="dial for browsers")
            shared = self._shared[route.session_id] = _Shared(route, dial)
        return shared

    def _expire_later(self, shared: _Shared) -> None:
        if shared.users:
            return
        if not shared.usable:
            self._expire(shared)
            return
        loop = asyncio.get_running_loop()
        shared.timer = loop.call_later(self._linger, self._expire, shared)

    def _expire(self, shared: _Shared) -> None:
        if not shared.users and self._shared.get(shared.route.session_id) is shared:
            self.forget(shared.route.session_id)

    async def _dial(self, route: Route, within: float) -> Way | Unreachable:
        problem = "the session has no endpoint"
        try:
            async with asyncio.timeout(within):
                for endpoint in route.endpoints:
                    try:
                        return await self._connect(route, endpoint)
                    except BROKEN as error:
                        text = shown(str(error) or type(error).__name__, _PROBLEM)
                        problem = f"{endpoint.host}:{endpoint.port}: {text}"
        except TimeoutError:
            problem = f"no answer within {within:g} s"
        return Unreachable(problem)

    async def _connect(self, route: Route, endpoint: Endpoint) -> Way:
        line = _Line(self._limits.connect_timeout)
        connection = await asyncssh.connect(
            endpoint.host,
            endpoint.port,
            tunnel=cast("Any", line),
            username=route.user,
            client_keys=[asyncssh.import_private_key(route.client_key)],
            known_hosts=([asyncssh.import_public_key(route.host_key)], [], []),
            server_host_key_algs=["ssh-ed25519"],
            config=None,
            agent_path=None,
            preferred_auth="publickey",
            kex_algs=KEX,
            encryption_algs=CIPHERS,
            compression_algs=None,
            rekey_bytes=self._limits.inner_rekey,
            rekey_seconds=0,
            keepalive_interval=self._limits.inner_keepalive,
            login_timeout=self._limits.handshake_timeout,
        )
        assert line.fair is not None
        return Way(connection, line.fair)


def _end(shared: _Shared) -> None:
    if shared.timer is not None:
        shared.timer.cancel()
    shared.dial.cancel()
    shared.dial.add_done_callback(_abort_when_done)


def _abort_when_done(dial: asyncio.Task[Way | Unreachable]) -> None:
    if not dial.cancelled() and isinstance(made := dial.result(), Way):
        made.ssh.abort()


class _Line:
    """Makes the TCP connection in asyncssh's stead, so that a `Fair` stands in between."""

    def __init__(self, within: float) -> None:
        self._within = within
        self.fair: Fair | None = None

    async def create_connection(
        self, factory: Callable[[], asyncssh.SSHClientConnection], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, asyncssh.SSHClientConnection]:
        connection = factory()
        self.fair = fair = Fair(connection)
        async with asyncio.timeout(self._within):
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: fair, host, port
            )
        return transport, connection


class Fair(asyncio.BufferedProtocol):
    """Hands on what a connection receives, a little at a time; when it took long to handle, others
    get as much time before the next.
    """

    def __init__(self, behind: asyncio.Protocol) -> None:
        self._behind = behind
        self._buffer = bytearray(_AT_ONCE)
        self._transport: asyncio.Transport | None = None
        self._resumption: asyncio.TimerHandle | None = None
        self.writable = asyncio.Event()
        self.writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._behind.connection_made(transport)

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - the bound is ours
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self._transport is not None
        since = time.monotonic()
        self._behind.data_received(bytes(memoryview(self._buffer)[:nbytes]))
        taken = time.monotonic() - since
        if taken > _DEAR and not self._transport.is_closing():
            self._transport.pause_reading()
            loop = asyncio.get_running_loop()
            self._resumption = loop.call_later(taken, self._transport.resume_reading)

    def eof_received(self) -> bool | None:
        return self._behind.eof_received()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.writable.set()
        if self._resumption is not None:
            self._resumption.cancel()
        self._behind.connection_lost(exc)
