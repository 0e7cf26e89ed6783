"""A client that speaks in packets: for what no stock client does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import asyncssh
from asyncssh.packet import Boolean, Byte, SSHPacket, String, UInt32

from broker.door.cipher import shared

from .clients import HOST

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from .clients import DoorProcess, Person

GRANTED, DENIED, SUCCESS, FAILURE = 81, 82, 99, 100
OPENED, OPEN_FAILED, ADJUST, DATA, EOF, CLOSE, REQUEST = 91, 92, 93, 94, 96, 97, 98
HUGE = 0x7FFFFFFF


class _Everything(dict):
    """Takes the packets of every channel to one place."""

    def __init__(self, raw: Raw) -> None:
        super().__init__()
        self.raw = raw

    def __missing__(self, number: int) -> Raw:
        self.raw.number = number
        return self.raw


class _Client(asyncssh.connection.SSHClientConnection):
    """asyncssh's own, without the empty packet before each packet."""

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        if pkttype != 2:
            super().send_packet(pkttype, *args, handler=handler)


class Raw:
    """An authenticated connection whose channels are ours alone."""

    def __init__(
        self, connection: asyncssh.SSHClientConnection, transport: asyncio.Transport
    ) -> None:
        self.connection = connection
        self.transport = transport
        self.number = 0
        self.counts: dict[int, int] = {}
        self.order: list[int] = []
        """The kinds of all packets that are no data, as they came."""
        self.received = 0
        self.last: dict[int, bytes] = {}
        self.closed = asyncio.Event()
        self.problem: Exception | None = None
        connection._channels = _Everything(self)
        kinds = dict.fromkeys((80, 81, 82, 90, 91, 92), Raw._other_packet)
        connection._packet_handlers = {**connection._packet_handlers, **kinds}
        connection.raw = self
        cleanup = connection._cleanup

        def ended(problem: Exception | None) -> None:
            self.problem = problem
            self.closed.set()
            cleanup(problem)

        connection._cleanup = ended

    def log_received_packet(self, *_: object) -> None:
        """asyncssh asks every receiver to log."""

    def process_packet(self, kind: int, number: int, packet: SSHPacket) -> bool:
        del number
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if kind not in {ADJUST, DATA}:
            self.order.append(kind)
        payload = packet.get_full_payload()
        self.last[kind] = payload
        if kind == DATA:
            self.received += len(payload) - 9
        return True

    @staticmethod
    def _other_packet(connection: Any, kind: int, number: int, packet: SSHPacket) -> bool:
        return connection.raw.process_packet(kind, number, packet)

    # -- sending
    def send(self, kind: int, *parts: bytes) -> None:
        if not self.closed.is_set():
            self.connection.send_packet(kind, *parts)

    def open(
        self, number: int, kind: bytes = b"session", window: int = HUGE, packet: int = 32768
    ) -> None:
        self.send(90, String(kind), UInt32(number), UInt32(window), UInt32(packet))

    def request(self, far: int, name: bytes, *parts: bytes, reply: bool = True) -> None:
        self.send(REQUEST, UInt32(far), String(name), Boolean(reply), *parts)

    def sealed(self, payloads: Iterable[bytes]) -> bytes:
        """The packets as they go over the wire, for who has no time to send each; nothing can be
        sent but them from then on.
        """
        cipher = shared(self.connection._send_encryption)
        parts: list[bytes] = []
        for payload in payloads:
            padding = 4 + (11 - len(payload)) % 16
            plain = bytes((padding,)) + payload + bytes(padding)
            parts += cipher.encrypt_packet(0, UInt32(len(plain)), plain)
        return b"".join(parts)

    async def session(self, command: str | None = None, *, number: int = 0, **sizes: int) -> int:
        """Open a session, and maybe run a command; the far end's number."""
        before = self.counts.get(OPENED, 0)
        self.open(number, **sizes)
        await self.until(lambda: self.counts.get(OPENED, 0) > before, "the session is confirmed")
        far = int.from_bytes(self.last[OPENED][5:9], "big")
        if command is not None:
            self.request(far, b"exec", String(command))
        return far

    async def until(self, check: Callable[[], Any], what: str, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not check():
            assert not self.closed.is_set(), f"cut ({self.problem!r}) before: {what}"
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
            await asyncio.sleep(0.01)

    async def drained(self, seconds: float = 5) -> bool:
        """Whether what was sent left this process within the time, or the door cut the line."""
        deadline = time.monotonic() + seconds
        await asyncio.sleep(0)
        while not self.closed.is_set() and self.transport.get_write_buffer_size() > 1 << 18:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    async def cut(self, seconds: float = 5) -> bool:
        """Whether the door ends the connection within the time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.closed.wait(), seconds)
        return self.closed.is_set()

    def rekey(self) -> None:
        """Begin a key exchange, and do not hold back what we send during it."""
        self.connection._send_kexinit()
        self.connection._kexinit_sent = True


@contextlib.asynccontextmanager
async def raw(person: Person, **options: Any) -> AsyncIterator[Raw]:
    """A raw connection of the person."""
    settings = await asyncssh.SSHClientConnectionOptions.construct(
        host=HOST,
        port=person.door.port,
        username="desk",
        client_keys=[str(person.key_file)],
        known_hosts=None,
        config=None,
        agent_path=None,
        **options,
    )
    loop = asyncio.get_running_loop()
    settings.waiter = loop.create_future()
    transport, connection = await loop.create_connection(
        lambda: _Client(loop, settings, wait="auth"), HOST, person.door.port
    )
    await asyncio.wait_for(settings.waiter, 10)
    client = Raw(connection, transport)
    try:
        yield client
    finally:
        transport.abort()
        await client.cut()


class Stranger(asyncssh.connection.SSHClientConnection):
    """A connection that exchanged keys and authenticates nobody; it says what it is told to."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.ready = asyncio.Event()
        self.ended = asyncio.Event()
        self.heard: list[int] = []

    def try_next_auth(self, *, next_method: bool = False) -> None:
        self._auth = self
        self.ready.set()

    def cancel(self) -> None:
        """As an attempt that is given up."""

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> Any:
        self.heard.append(pkttype)
        if pkttype == 3 or (pkttype >= 50 and self.ready.is_set()):
            return True
        return super().process_packet(pkttype, pktid, packet)

    def _cleanup(self, exc: Exception | None) -> None:
        self.ready.set()
        self.ended.set()
        self._auth = None
        super()._cleanup(exc)

    def say(self, kind: int, *parts: bytes) -> None:
        """Send it, whatever it is, as if everything were allowed; but an empty packet never."""
        if self.ended.is_set():
            return
        self._auth_complete = True
        super().send_packet(kind, *parts)
        self._auth_complete = False

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        if pkttype != 2:
            super().send_packet(pkttype, *args, handler=handler)

    async def cut(self, seconds: float = 5) -> bool:
        """Whether the door ends the connection within the time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), seconds)
        return self.ended.is_set()


@contextlib.asynccontextmanager
async def stranger(
    door: DoorProcess, source: str = HOST, *, kind: type[Stranger] = Stranger
) -> AsyncIterator[Stranger]:
    """Somebody before authentication, of that kind."""
    settings = await asyncssh.SSHClientConnectionOptions.construct(
        host=HOST,
        port=door.port,
        username="desk",
        client_keys=None,
        known_hosts=None,
        config=None,
        agent_path=None,
    )
    loop = asyncio.get_running_loop()
    transport, connection = await loop.create_connection(
        lambda: kind(loop, settings), HOST, door.port, local_addr=(source, 0)
    )
    await asyncio.wait_for(connection.ready.wait(), 10)
    try:
        yield connection
    finally:
        transport.abort()
        await connection.cut()


__all__ = ["Boolean", "Byte", "Raw", "Stranger", "String", "UInt32", "raw", "stranger"]
