"""Two wires past authentication, joined in memory, and the loop under them."""

from __future__ import annotations

import asyncio

from asyncssh.connection import SSHClientConnectionOptions, SSHServerConnectionOptions

from broker.door import messages
from broker.door.admission import Admission
from broker.door.cipher import SharedGCM
from broker.door.inner import InnerWire
from broker.door.lane import Buffers, Common
from broker.door.limits import Limits
from broker.door.messages import Message, pack
from broker.door.outer import OuterWire, Owner
from broker.door.source import Source

KEY, OTHER = bytes(16), bytes(range(16))
NONCE = b"salt" + bytes(8)
WRAPPING = b"salt" + (2**64 - 3).to_bytes(8, "big")
LIMITS = Limits(login_timeout=0)
COMMON = Common(LIMITS, True, Buffers(LIMITS.packet))
SERVER = SSHServerConnectionOptions(server_factory=Owner, server_host_keys=[], login_timeout=0)
CLIENT = SSHClientConnectionOptions(
    config=None, client_keys=None, agent_path=None, known_hosts=None, username="x", login_timeout=0
)


class Timer:
    is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True


class Clock:
    """The loop's time and timers, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay, callback, *args):
        timer = Timer()
        self.timers.append([self.now + delay, callback, args, timer])
        return timer

    def call_soon(self, callback, *args):
        return self.call_later(0, callback, *args)

    def pass_(self, seconds: float) -> None:
        end = self.now + seconds
        while due := sorted((t for t in self.timers if t[0] <= end), key=lambda t: t[0]):
            self.timers.remove(due[0])
            self.now = max(self.now, due[0][0])
            if not due[0][3].is_cancelled:
                due[0][1](*due[0][2])
        self.now = end


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Relay:
    """Does by the slow lane what the fast one does."""

    def packet_received(self, wire, payload) -> None:
        target = wire.routes.get(messages.uint32(payload, 1))
        assert target is not None
        if payload[0] in (Message.DATA, Message.EXTENDED_DATA):
            wire.tally[target] += messages.content(payload)
        wire.peer.forward(messages.readdressed(payload, target))

    def keepalive_sent(self, wire) -> None: ...

    def wire_lost(self, wire, error) -> None: ...


def joined(nonce: bytes = NONCE):
    """Two wires past authentication, each the other's peer."""
    loop = Clock()
    place = Admission(LIMITS).enter(Source(4, 0x7F000001, 32), 0.0)
    outer = OuterWire(
        loop,
        SERVER,
        common=COMMON,
        place=place,
        offended=lambda *_: None,
        gateway=None,
        listener=None,
    )
    outer._proven = True
    inner = InnerWire(loop, CLIENT, common=COMMON)
    for wire, receive, send in ((outer, KEY, OTHER), (inner, OTHER, KEY)):
        wire._transport = wire._stream = Transport()
        wire._auth_complete = wire._kex_complete = True
        wire._recv_encryption = SharedGCM(receive, nonce)
        wire._send_encryption = SharedGCM(send, nonce)
        wire._recv_blocksize = wire._send_blocksize = 16
        wire._recv_macsize = 16
        wire._send_enchdrlen = 1
        wire._recv_handler = wire._recv_pkthdr
        wire._rekey_seconds = 0
        wire._max_recv_pktlen = LIMITS.packet
        wire._recv_seq = wire._send_seq = 2**32 - 3
        wire.receiver = Relay()
    outer.peer, inner.peer = inner, outer
    outer.routes = {5: pack(7), 2**30: pack(8)}
    return outer, inner


class Sealer:
    """What the other end of a wire would send."""

    def __init__(self, key: bytes, nonce: bytes = NONCE) -> None:
        self.cipher = SharedGCM(key, nonce)

    def raw(self, plain: bytes, *, length: int | None = None) -> bytes:
        header = pack(len(plain) if length is None else length)
        sealed, tag = self.cipher.encrypt_packet(0, header, plain)
        return sealed + tag

    def packet(self, payload: bytes, *, extra: int = 0) -> bytes:
        padding = 16 - (1 + len(payload)) % 16
        padding += 16 if padding < 4 else 0
        padding += extra
        return self.raw(bytes((padding,)) + payload + bytes(padding))


def opened(data: bytes, key: bytes, nonce: bytes = NONCE) -> list[bytes]:
    """The payloads of a stream."""
    cipher = SharedGCM(key, nonce)
    found = []
    while data:
        size = int.from_bytes(data[:4], "big")
        plain = cipher.decrypt_packet(
            0, data[:4], data[4 : 4 + size], 4, data[4 + size : 20 + size]
        )
        assert plain is not None
        found.append(plain[1 : -plain[0]])
        data = data[20 + size :]
    return found


def feed(wire, data: bytes) -> None:
    """As an event loop would."""
    while data and wire._transport is not None:
        view = wire.get_buffer(-1)
        count = min(len(view), len(data))
        view[:count] = data[:count]
        wire.buffer_updated(count)
        data = data[count:]


def counters(wire):
    return (
        wire._recv_encryption.counter,
        wire._send_encryption.counter,
        wire._recv_seq,
        wire._send_seq,
        wire._rekey_bytes_sent,
    )
