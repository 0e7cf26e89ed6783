"""The fast lane: bulk packets of one connection go to its peer without asyncssh's packet path.

One read is decrypted, switched and encrypted packet by packet in buffers that all connections
share, and written at once. Whatever is not plain bulk goes back to asyncssh, still encrypted.
"""
# ruff: noqa: SLF001 - with `cipher` and `wire` the place that touches the inside of asyncssh

from __future__ import annotations

import os
import socket
import time
from collections import defaultdict
from dataclasses import dataclass, field
from struct import Struct
from typing import TYPE_CHECKING, Any

from asyncssh.connection import SSHConnection
from cryptography.exceptions import InvalidTag

from broker.door import pace
from broker.door.cipher import COUNTER_MASK, COUNTER_SAFE, LEAST_PADDING, LENGTH, TAG, SharedGCM
from broker.door.messages import FIRST, LAST, Message
from broker.door.traffic import Traffic

if TYPE_CHECKING:
    import asyncio

    from broker.door.limits import Limits

#: What others wait for meanwhile: with twice as much a byte beside three bulk streams takes twice as
#: long, with half as much a gigabyte costs a tenth more.
_READ = 128 * 1024

#: asyncssh's own path takes ten times as long for a packet, and copies what waits behind it for
#: each: a read full of small ones must not hold the loop for a second.
_STOCK_READ = 32 * 1024

#: uvloop reads a connection up to 32 times before it looks at another, as long as each read is
#: full: that is 4 ms, and to stop it takes two calls of the system. One that was read alone so
#: often is stopped at each fourth read, others at once.
_ALONE = 8
_IN_A_ROW = 4

_OVERHEAD = LENGTH + TAG
_BLOCK = 16
_SMALLEST = LENGTH + _BLOCK + TAG

#: IGNORE, UNIMPLEMENTED, DEBUG: what a peer may say at any time, and nobody listens to.
CHATTER = frozenset({2, 3, 4})
_BULK_FIRST = int(Message.WINDOW_ADJUST)
_BULK_LAST = int(Message.EXTENDED_DATA)
_DATA = int(Message.DATA)

#: Padding length, type, channel number and length of the text.
_DATA_HEAD = 10

#: What a burst ended with, where it was not a packet's type.
_INCOMPLETE = 0
_FULL = -1

_LENGTH_FIELD = Struct(">I")
_NONCE = Struct(">4sQ")

#: Padding length, type and channel number.
_HEAD = Struct(">BBI")

_PROTOCOL_ERROR = 2
_MAC_ERROR = 5


class Buffers:
    """The memory of a read, used within one event and by one thread."""

    def __init__(self, packet: int) -> None:
        self.received = memoryview(bytearray(_READ + packet + 64))
        self.plain = memoryview(bytearray(packet + 64))
        self.sealed = memoryview(bytearray(_READ + packet + 4096))


@dataclass(slots=True)
class Counters:
    """What all wires of a door have switched, added up once per read."""

    packets: int = 0
    bytes: int = 0
    reads: int = 0


@dataclass(slots=True)
class Common:
    """What the wires of one door have in common."""

    limits: Limits
    fast: bool
    buffers: Buffers
    counters: Counters = field(default_factory=Counters)
    traffic: Traffic = field(default_factory=Traffic)
    reader: Lane | None = None
    """Whoever was read last,"""
    alone: int = 0
    """and how often by now, it or its peer and nobody else."""


class _Broken(Exception):
    """A packet cannot be what the peer meant to send."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Lane(SSHConnection):
    """An asyncssh connection whose bulk packets go straight to its peer.

    Counters of nonces, packets and bytes until the next key live in local variables inside
    `_burst` alone, and are back in their places before any other code runs.
    """

    common: Common
    peer: Lane | None
    routes: dict[int, bytes]
    tally: dict[bytes, int]
    """Bytes of data that were switched to each target; whoever looks takes them out."""
    tired: bool
    """The peer has had its share of a second: what was read and not handled waits for the next."""
    _left: bytes
    """For the fast lane: the begin of a packet, or, when tired, all that waits."""
    _waiting: bytearray
    """For asyncssh's path, behind what asyncssh itself holds."""
    _offset: int
    _room: int
    """How much the read that is under way may bring."""
    _heard: float
    _received: int
    _descriptor: int
    """The socket's; -1 where there is none."""

    def __init__(self, *args: Any, common: Common, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.common = common
        self.peer = None
        self.routes = {}
        self.tally = defaultdict(int)
        self.tired = False
        self._left = b""
        self._waiting = bytearray()
        self._offset = 0
        self._room = 0
        self._heard = 0.0
        self._received = 0
        self._descriptor = -1

    @property
    def received(self) -> int:
        """Bytes that were read of it."""
        return self._received

    # -- for `wire`
    def fail(self, text: str, code: int = _PROTOCOL_ERROR) -> None:
        raise NotImplementedError

    def take(self, payload: bytes) -> None:
        """A connection-protocol packet by the slow lane."""
        raise NotImplementedError

    def spent(self, packets: int) -> None:
        """What is worth so many packets of the fast lane was handled: the peer may be `tired`."""
        raise NotImplementedError

    def let_others(self) -> None:
        """There is more to read: not before the others had their turn."""
        raise NotImplementedError

    # -- asyncio's buffered protocol
    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        left = self._left
        self._offset = len(left)
        received = self.common.buffers.received
        if left:
            received[: self._offset] = left
        self._room = _READ if self._may_run_fast() else _STOCK_READ
        return received[self._offset : self._offset + self._room]

    def buffer_updated(self, nbytes: int) -> None:
        common = self.common
        if common.reader is self or common.reader is self.peer:
            common.alone += 1
        else:
            common.reader, common.alone = self, 0
        if nbytes == self._room and (common.alone < _ALONE or common.alone % _IN_A_ROW == 0):
            self.let_others()
        end = self._offset + nbytes
        self._received += nbytes
        received = common.buffers.received
        if not self._may_run_fast():
            self._stock(bytes(received[:end]))
        elif not (self._inpbuf or self._packet or self._recv_handler != self._recv_pkthdr):
            self._run(received, end)
        elif self._recv_handler in (self._recv_packet, self._recv_pkthdr):
            # With GCM the header that asyncssh holds is still as it was on the wire.
            whole = memoryview(bytearray(self._packet + self._inpbuf + received[:end]))
            self._inpbuf = self._packet = b""
            self._recv_handler = self._recv_pkthdr
            self._run(whole, len(whole))
        else:
            self._stock(bytes(received[:end]))

    def _may_run_fast(self) -> bool:
        return (
            self.common.fast
            and self._auth_complete
            and type(self._recv_encryption) is SharedGCM
            and self._recv_encryption.counter < COUNTER_SAFE
            and not self._decompressor
            and self._kex is None
            and self._next_recv_encryption is None
        )

    def _stock(self, data: bytes) -> None:
        """By asyncssh's own path."""
        self._left = b""
        self.acknowledge_at_once()
        self._waiting += data
        if len(self._inpbuf) + len(self._waiting) > self.common.limits.deferred:
            self.fail("too much data during key exchange")
            return
        self._recv_data()

    def _recv_data(self) -> None:
        """Give asyncssh what waits, by portions, unless it is busy with a packet: then it comes
        back here.
        """
        super()._recv_data()
        ready = (self._recv_pkthdr, self._recv_packet, self._recv_version)
        while self._waiting and self._open() and not self.tired and self._recv_handler in ready:
            self._inpbuf += self._waiting[:_STOCK_READ]
            del self._waiting[:_STOCK_READ]
            super()._recv_data()

    def _finish_recv_packet(
        self, pkttype: int, seq: int, _task: Any = None, is_async: bool = False
    ) -> None:
        """asyncssh goes on by itself when it holds more, and it may hold nothing."""
        super()._finish_recv_packet(pkttype, seq, _task, is_async)
        if is_async and self._waiting:
            self._recv_data()

    def _recv_pkthdr(self) -> bool:
        return not self.tired and super()._recv_pkthdr()

    def forget_unhandled(self) -> None:
        """The connection is gone."""
        self._left = b""
        self._waiting.clear()
        if self.common.reader is self:
            self.common.reader = None

    def proceed(self) -> None:
        """Handle what was left when the peer was `tired`."""
        if not self._open():
            return
        if self._waiting or self._inpbuf:
            self._recv_data()
        elif self._left:
            left, self._left = self._left, b""
            if self._may_run_fast():
                self._run(memoryview(bytearray(left)), len(left))
            else:
                self._stock(left)

    def acknowledge_at_once(self) -> None:
        """OpenSSH has Nagle's algorithm on while it sets up, and writes small packets apart: a
        delayed acknowledgement costs it 40 ms each.
        """
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is not None and sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    # -- the lane
    def _run(self, buffer: memoryview, end: int) -> None:
        """Handle the whole packets of a read, as many as the peer may have handled."""
        self._left = b""
        self._heard = self._loop.time()
        self._auth_final = True
        plain = self.common.buffers.plain
        before = self._recv_seq
        position = 0
        while not self.tired:
            try:
                position, kind = self._burst(buffer, position, end)
            except _Broken as broken:
                self.fail(str(broken), broken.code)
                return
            if kind == _INCOMPLETE or not self._open():
                break
            if kind == _FULL:
                continue
            if kind not in CHATTER and not FIRST <= kind <= LAST:
                self.spent((self._recv_seq - before) & 0xFFFFFFFF)
                self._stock(bytes(buffer[position:end]))
                return
            length = int.from_bytes(buffer[position : position + LENGTH], "big")
            position += length + _OVERHEAD
            self._step_over()
            if kind in CHATTER:
                self.spent(pace.CHATTER)
            else:
                self.take(bytes(plain[1 : length - plain[0]]))
        if position < end and self._open():
            self._left = bytes(buffer[position:end])
        self.spent((self._recv_seq - before) & 0xFFFFFFFF)

    def _open(self) -> bool:
        """False once a packet had the connection closed."""
        return self._transport is not None

    def _step_over(self) -> None:
        """The packet that ended a burst was taken."""
        cipher = self._recv_encryption
        assert type(cipher) is SharedGCM
        cipher.counter = (cipher.counter + 1) & COUNTER_MASK
        self._recv_seq = (self._recv_seq + 1) & 0xFFFFFFFF

    def _outlet(self) -> Lane | None:
        """The peer, when packets can be encrypted to it without asyncssh."""
        peer = self.peer
        if (
            peer is None
            or peer._transport is None
            or peer._transport.is_closing()
            or not peer._kex_complete
            or not peer._auth_complete
            or type(peer._send_encryption) is not SharedGCM
            or peer._send_encryption.counter >= COUNTER_SAFE
            or peer._compressor
            or (peer._rekey_seconds and time.monotonic() >= peer._rekey_time)
        ):
            return None
        return peer

    def _burst(  # noqa: C901, PLR0912, PLR0915 - one loop over locals: a call per packet is what it saves
        self, buffer: memoryview, position: int, end: int
    ) -> tuple[int, int]:
        """Switch packets up to one that is not bulk for the peer. Return its position and type,
        with its plain text in the shared buffer and no counter moved for it.
        """
        cipher = self._recv_encryption
        assert type(cipher) is SharedGCM
        decrypt, salt = cipher.aead.decrypt_into, cipher.salt
        received = first_received = cipher.counter
        length_at, pack_length, put_length = (
            _LENGTH_FIELD.unpack_from,
            _LENGTH_FIELD.pack,
            _LENGTH_FIELD.pack_into,
        )
        nonce, head = _NONCE.pack, _HEAD.unpack_from
        largest = self.common.limits.packet
        scratch, sealed = self.common.buffers.plain, self.common.buffers.sealed
        room = len(sealed)
        routes, tally = self.routes, self.tally
        peer = self._outlet()
        written = sent = 0
        kind = _INCOMPLETE
        broken: _Broken | None = None
        budget = -1
        if peer is not None:
            outward = peer._send_encryption
            assert type(outward) is SharedGCM
            budget = peer._rekey_bytes - peer._rekey_bytes_sent
            encrypt, outward_salt = outward.aead.encrypt_into, outward.salt
            sealing = outward.counter
        same = -1
        while end - position >= _SMALLEST:
            (length,) = length_at(buffer, position)
            if length != same:
                if length > largest or length < _BLOCK or length % _BLOCK:
                    broken = _Broken(_PROTOCOL_ERROR, "bad packet length")
                    break
                same = length
                header = pack_length(length)
                plain = scratch[:length]
            after = position + length + _OVERHEAD
            if after > end:
                break
            try:
                decrypt(nonce(salt, received), buffer[position + LENGTH : after], header, plain)
            except InvalidTag:
                broken = _Broken(_MAC_ERROR, "MAC verification failed")
                break
            padding, kind, number = head(plain)
            if padding < LEAST_PADDING or padding + 2 > length:
                broken = _Broken(_PROTOCOL_ERROR, "bad padding")
                break
            if not _BULK_FIRST <= kind <= _BULK_LAST or sent >= budget or length - padding < 6:
                break
            target = routes.get(number)
            if target is None:
                break
            begin = written + LENGTH
            finish = begin + length + TAG
            if finish > room:
                kind = _FULL
                break
            if kind >= _DATA:
                tally[target] += length - padding - _DATA_HEAD
            plain[2:6] = target
            put_length(sealed, written, length)
            encrypt(nonce(outward_salt, sealing), plain, header, sealed[begin:finish])
            sealing += 1
            received += 1
            written = finish
            sent += length
            position = after
            kind = _INCOMPLETE
        count = received - first_received
        cipher.counter = received & COUNTER_MASK
        self._recv_seq = (self._recv_seq + count) & 0xFFFFFFFF
        if count:
            assert peer is not None
            assert type(outward) is SharedGCM
            outward.counter = sealing & COUNTER_MASK
            peer._send_seq = (peer._send_seq + count) & 0xFFFFFFFF
            peer._rekey_bytes_sent += sent
            self._flush(peer, count, written)
        if broken is not None:
            raise broken
        return position, kind

    def _flush(self, peer: Lane, count: int, written: int) -> None:
        counters = self.common.counters
        counters.packets += count
        counters.bytes += written
        counters.reads += 1
        transport: asyncio.Transport | None = peer._transport
        assert transport is not None
        view = self.common.buffers.sealed[:written]
        sent = 0 if transport.get_write_buffer_size() else peer.write_at_once(view)
        if sent < written:
            # A transport may keep what it is given, and the buffer is used again at once.
            transport.write(bytes(view[sent:]))

    def write_at_once(self, view: memoryview) -> int:
        """Write as much as the system takes, when nothing else waits and the transport is open;
        return how much that was. An error is left for the transport to find.
        """
        try:
            return os.write(self._descriptor, view)
        except OSError:
            return 0
