"""The broker's own connections to the sshd of a desktop.

That sshd is the tenant's own program: what it sends is paced, however much it has to say, so that
its nonsense takes little of the broker's time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import asyncssh

from broker.service.files import ACCOUNT

if TYPE_CHECKING:
    from collections.abc import Callable

    from broker.core.gateway import Endpoint
    from broker.service.files import Access

#: Bytes that a desktop may send: in a second before reading pauses, and in a minute before it is
#: cut off. A login takes 3 KiB, a question of the broker's less. The shortest packet has 36.
PER_SECOND, PER_MINUTE = 64 * 1024, 512 * 1024

#: Bytes taken from the socket at a time: what asyncssh handles before anybody else has a turn.
_AT_ONCE = 8 * 1024

#: Seconds of silence after which it is asked whether it lives; three unanswered end it.
_KEEPALIVE = 30


async def dial(endpoint: Endpoint, access: Access) -> asyncssh.SSHClientConnection:
    """Log in at a desktop with its session's key. Raises one of `BROKEN`; takes as long as the
    other side lets it: bound it.
    """
    return await asyncssh.connect(
        endpoint.host, endpoint.port, tunnel=cast("Any", _Paced()), **_options(access)
    )


def _options(access: Access) -> dict[str, Any]:
    host_key = asyncssh.import_public_key(access.host_key)
    return {
        "username": ACCOUNT,
        "client_keys": [asyncssh.import_private_key(access.client_key)],
        "known_hosts": ([host_key], [], []),
        "config": None,
        "agent_path": None,
        "compression_algs": None,
        "encryption_algs": ["aes128-gcm@openssh.com"],
        "server_host_key_algs": ["ssh-ed25519"],
        "preferred_auth": "publickey",
        "keepalive_interval": _KEEPALIVE,
    }


class _Paced:
    """Makes the TCP connection in asyncssh's stead, so that a `Meter` stands in between."""

    async def create_connection(
        self, factory: Callable[[], asyncssh.SSHClientConnection], host: str, port: int
    ) -> tuple[asyncio.BaseTransport, asyncssh.SSHClientConnection]:
        connection = factory()
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: Meter(connection, connection.abort), host, port
        )
        return transport, connection


class Meter(asyncio.BufferedProtocol):
    """Hands on what a connection receives: so much a second, and no more than so much a minute."""

    def __init__(self, behind: asyncio.Protocol, cut: Callable[[], None]) -> None:
        """`cut` ends the connection at whoever is behind, so that he answers nothing more either."""
        self._behind = behind
        self._cut = cut
        self._loop = asyncio.get_running_loop()
        self._buffer = bytearray(_AT_ONCE)
        self._transport: asyncio.Transport | None = None
        self._second, self._minute = _Count(1.0, PER_SECOND), _Count(60.0, PER_MINUTE)
        self._resumption: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._behind.connection_made(cast("asyncio.BaseTransport", _Outlet(self._transport)))

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - the bound is ours
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        assert self._transport is not None
        now = self._loop.time()
        if self._minute.add(nbytes, now) > 0:
            self._cut()
            return
        if (wait := self._second.add(nbytes, now)) > 0:
            self._transport.pause_reading()
            self._resumption = self._loop.call_later(wait, self._transport.resume_reading)
        self._behind.data_received(bytes(memoryview(self._buffer)[:nbytes]))

    def eof_received(self) -> bool | None:
        return self._behind.eof_received()

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._resumption is not None:
            self._resumption.cancel()
        self._behind.connection_lost(exc)


class _Outlet:
    """The transport, but that what is written after a peer is gone is dropped in silence: asyncio
    would log a line for each packet that the peer had sent before.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(data)


class _Count:
    """Bytes of a span of time."""

    def __init__(self, span: float, most: int) -> None:
        self._span, self._most = span, most
        self._begun, self._bytes = 0.0, 0

    def add(self, count: int, now: float) -> float:
        """Seconds until the span ends when that is too much, else 0."""
        if now - self._begun >= self._span:
            self._begun, self._bytes = now, 0
        self._bytes += count
        return self._begun + self._span - now if self._bytes > self._most else 0.0
