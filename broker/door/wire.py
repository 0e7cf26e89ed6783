"""asyncssh's packet layer, bent to a switch: with `lane`, `cipher`, `upgrade` and `library` the one
place that touches its inside.

asyncssh does the version exchange, key exchange, authentication and rekeys of a connection. All
channel and global messages, which it would handle itself, come out here as payloads.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import TYPE_CHECKING, Any, cast

import structlog
from asyncssh import ProtocolError
from asyncssh.packet import SSHPacket

from broker.door import pace
from broker.door.cipher import shared
from broker.door.holds import Held
from broker.door.lane import CHATTER, Lane
from broker.door.messages import FIRST, LAST, Message, ProtocolViolation
from broker.door.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from asyncssh.packet import SSHPacket as Packet

    from broker.door.receiver import Receiver
    from broker.door.traffic import Sender

log = structlog.get_logger()

_IGNORE = 2
_KEXINIT = 20
_BY_APPLICATION = 11
_STALL_TICK = 1.0


class _AllChannels(dict[int, "Wire"]):
    """Stands for asyncssh's table of channels: whatever the number, the wire takes the packet."""

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self._wire = wire

    def __missing__(self, number: int) -> Wire:
        return self._wire


class Wire(Lane):
    """One SSH connection of which the packets are switched."""

    receiver: Receiver | None
    sender: Sender
    """Who is at the other end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        limits = self.common.limits
        self.receiver = None
        self.held = Held.NOTHING
        self.gone = False
        self._paused = False
        self._deferred_size = 0
        self._stall: asyncio.TimerHandle | None = None
        self._stalled = 0.0
        self._lingering: asyncio.TimerHandle | None = None
        self._stream: asyncio.Transport | None = None
        self.closed = asyncio.Event()
        """Set when nothing of it is left, not even bytes to send."""
        self._peer_rekeys: deque[float] = deque(maxlen=limits.rekeys_per_minute)
        self._received_before = 0
        self._pace = Pace(limits.packets_per_second)
        self._max_recv_pktlen = limits.packet
        self._channels = cast("Any", _AllChannels(self))

    @property
    def alive(self) -> bool:
        """Whether it can carry packets."""
        transport = self._transport
        return not self.gone and transport is not None and not transport.is_closing()

    @property
    def peer_name(self) -> str:
        """`ADDRESS:PORT` of the other end."""
        address = f"[{self._peer_addr}]" if ":" in self._peer_addr else self._peer_addr
        return f"{address}:{self._peer_port}"

    # ------------------------------------------------------------------------------ life and end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        limits = self.common.limits
        stream = cast("asyncio.Transport", transport)
        stream.set_write_buffer_limits(high=limits.write_high, low=limits.write_low)
        self._stream = stream
        sock = stream.get_extra_info("socket")
        self._descriptor = sock.fileno() if sock is not None else -1
        self.common.traffic.begins(self.sender, self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None = None) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        self.closed.set()
        self.common.traffic.ends(self.sender, self)
        super().connection_lost(exc)

    def _force_close(self, exc: Exception | None) -> None:
        """asyncssh aborts, and what was written but not sent would be lost."""
        transport = self._transport
        if transport is None:
            return
        self._transport = None
        if not transport.is_closing():
            transport.close()
            self._lingering = self._loop.call_later(self.common.limits.linger, transport.abort)
        self._loop.call_soon(self._cleanup, exc)

    def _cleanup(self, exc: Exception | None) -> None:
        if self._stall is not None:
            self._stall.cancel()
        super()._cleanup(exc)
        self.forget_unhandled()
        if self.gone:
            return
        self.gone = True
        self.peer = None
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.wire_lost(self, exc)

    def internal_error(self, exc_info: Any = None, error_logger: Any = None) -> None:
        """asyncssh ends the connection and tells nobody. What a peer's nonsense raises is a
        `ValueError`; anything else is a fault of ours.
        """
        error = (exc_info or sys.exc_info())[1]
        if not isinstance(error, ValueError):
            log.error("connection failed", peer=self.peer_name, exc_info=error)
        super().internal_error(exc_info, error_logger)

    def fail(self, text: str, code: int = 2) -> None:
        """Cut it with a protocol error."""
        if self._transport is not None:
            self._send_disconnect(code, text, "en")
            self._force_close(ProtocolError(text))

    def say_goodbye(self, text: str) -> None:
        """End it in order, once what was written is sent."""
        if self._transport is not None:
            self._send_disconnect(_BY_APPLICATION, text, "en")
            self._force_close(None)

    def drop(self) -> None:
        """End it without waiting for anything."""
        self._force_close(None)
        if self._stream is not None:
            self._stream.abort()

    # ------------------------------------------------------------------------------------- holds

    def hold(self, reason: Held) -> None:
        """Stop reading for that reason, too."""
        self.held |= reason
        self._apply_holds()

    def release(self, reason: Held) -> None:
        """Read again, unless another reason is left."""
        if self.held & reason:
            self.held &= ~reason
            self._apply_holds()

    def _apply_holds(self) -> None:
        """A wire in a key exchange of its own is read though the other side is in one: each would
        wait for the other's end.
        """
        reasons = self.held if self._kex_complete else self.held & ~Held.REKEY
        pause = bool(reasons)
        transport = self._transport
        if pause == self._paused or transport is None or transport.is_closing():
            return
        self._paused = pause
        if pause:
            transport.pause_reading()
        else:
            transport.resume_reading()

    def let_others(self) -> None:
        transport = self._transport
        if not self._paused and transport is not None and not transport.is_closing():
            transport.pause_reading()
            self._loop.call_soon(self._had_theirs)

    def _had_theirs(self) -> None:
        transport = self._transport
        if not self._paused and transport is not None and not transport.is_closing():
            transport.resume_reading()

    def join(self, peer: Wire) -> None:
        """Make each the other's peer, each held as the other's state asks."""
        self.peer, peer.peer = peer, self
        for one, other in ((self, peer), (peer, self)):
            if not other.may_send:
                one.hold(Held.REKEY)
            if other.backlog > self.common.limits.write_high:
                one.hold(Held.FULL)

    def part(self) -> None:
        """End what `join` began, on this side."""
        self.peer = None
        self.release(Held.FULL | Held.REKEY)

    @property
    def may_send(self) -> bool:
        """Whether no key exchange keeps packets back."""
        return self._kex_complete

    @property
    def backlog(self) -> int:
        """Bytes that were written and not sent."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def pause_writing(self) -> None:
        if isinstance(self.peer, Wire):
            self.peer.hold(Held.FULL)

    def resume_writing(self) -> None:
        if isinstance(self.peer, Wire):
            self.peer.release(Held.FULL)
        self.release(Held.OWN)

    def spent(self, packets: int) -> None:
        wait = self._pace.spend(packets, self._heard)
        if wait and not self.tired:
            self.tired = True
            self.hold(Held.BUDGET)
            self._loop.call_later(wait, self._rested)

    def _rested(self) -> None:
        """Another second: what was read comes first."""
        self._pace.begin(self._loop.time())
        self.tired = False
        self.release(Held.BUDGET)
        self.proceed()

    # ------------------------------------------------------------------------------ key exchange

    def _send_kexinit(self) -> None:
        super()._send_kexinit()
        if isinstance(self.peer, Wire):
            self.peer.hold(Held.REKEY)
        self._apply_holds()
        if self._auth_complete and self._stall is None:
            self._stalled = 0.0
            self._stall = self._loop.call_later(_STALL_TICK, self._watch_rekey)

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        super().send_newkeys(k, h)
        self._send_encryption = shared(self._send_encryption)
        self._next_recv_encryption = shared(self._next_recv_encryption)
        self._deferred_size = 0
        self._apply_holds()
        # What was deferred may have begun the next exchange.
        if isinstance(self.peer, Wire) and self._kex_complete:
            self.peer.release(Held.REKEY)

    def _watch_rekey(self) -> None:
        """A key exchange must end; time in which the door does not read is not the peer's."""
        self._stall = None
        if self._transport is None or self._rekeyed:
            return
        if not self._paused:
            self._stalled += _STALL_TICK
        if self._stalled >= self.common.limits.rekey_stall:
            self.fail("key exchange takes too long")
        else:
            self._stall = self._loop.call_later(_STALL_TICK, self._watch_rekey)

    @property
    def _rekeyed(self) -> bool:
        """Whether no key exchange is under way in either direction."""
        return self._kex_complete and self._kex is None and self._next_recv_encryption is None

    def _count_rekey(self) -> None:
        """Bound the key exchanges that the peer begins."""
        if not self._auth_complete or self._kexinit_sent:
            return
        moved = self._rekey_bytes_sent + self._received - self._received_before
        self._received_before = self._received
        if moved >= self.common.limits.rekey_worth:
            return
        now = self._loop.time()
        rekeys = self._peer_rekeys
        if len(rekeys) == rekeys.maxlen and now - rekeys[0] < 60:
            raise ProtocolError("too many key exchanges")
        rekeys.append(now)

    # ----------------------------------------------------------------------------------- sending

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """asyncssh sends an IGNORE before each packet, against an attack on CBC: none is offered."""
        if pkttype != _IGNORE:
            super().send_packet(pkttype, *args, handler=handler)

    def _send(self, data: bytes) -> None:
        """asyncio logs each write to a connection that is already lost."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def forward(self, payload: bytes) -> None:
        """Send one connection-protocol packet."""
        if self._transport is None:
            return
        if not self._kex_complete:
            self._deferred_size += len(payload) + 128
            if self._deferred_size > self.common.limits.deferred:
                self.fail("too much data during key exchange")
                return
        self.send_packet(payload[0], payload[1:])

    def reply(self, payload: bytes) -> None:
        """Send one of the door's own: who does not read them is not read."""
        self.forward(payload)
        self._hold_when_unread()

    def _hold_when_unread(self) -> None:
        if self.backlog > self.common.limits.own_replies and self._kex_complete:
            self.hold(Held.OWN)

    # --------------------------------------------------------------------------------- receiving

    def _recv_pkthdr(self) -> bool:
        if not super()._recv_pkthdr():
            return False
        if self._pktlen < 8:
            raise ProtocolError("bad packet length")
        return True

    def process_packet(self, pkttype: int, pktid: int, packet: Packet) -> bool | Awaitable[None]:
        """What asyncssh's own path received."""
        if FIRST <= pkttype <= LAST:
            if self._kex is not None or self._next_recv_encryption is not None:
                raise ProtocolError("packet during key exchange")
            self._heard = self._loop.time()
            self.take(packet.get_full_payload())
            return True
        if pkttype > LAST:
            raise ProtocolError("unknown message")
        if self._auth_complete:
            self.spent(pace.transport(packet.get_full_payload()))
            if pkttype in CHATTER:
                return True
            # asyncssh may answer.
            self._hold_when_unread()
        if pkttype == _KEXINIT:
            self._count_rekey()
        return super().process_packet(pkttype, pktid, packet)

    def take(self, payload: bytes) -> None:
        """A packet that the fast lane does not switch."""
        if payload[0] in _BULK:
            self.spent(pace.BULK)
        else:
            self.spent(pace.CONTROL)
            self.acknowledge_at_once()
        try:
            if self.receiver is None:
                self.take_unbound(payload)
            else:
                self.receiver.packet_received(self, payload)
        except ProtocolViolation as violation:
            self.fail(str(violation))

    def take_unbound(self, payload: bytes) -> None:
        """A packet while there is no receiver."""
        raise ProtocolViolation(f"unexpected message {payload[0]}")

    def keepalive_answered(self, payload: bytes) -> None:
        """The peer's reply to a global request of the door's own."""
        if not self._global_request_waiters:
            raise ProtocolViolation("reply to no request")
        packet = SSHPacket(payload)
        self._process_global_response(packet.get_byte(), 0, packet)

    def log_sent_packet(self, *_: Any, **__: Any) -> None:
        """Nothing: a line per packet costs as much as the packet, and tells what people type."""

    def log_received_packet(self, *_: Any, **__: Any) -> None:
        """Nothing, as above."""

    # --------------------------------------------------------------------------------- keepalive

    def _send_global_request(self, request: bytes, *args: bytes, want_reply: bool = False) -> None:
        if want_reply and self.receiver is not None:
            self.receiver.keepalive_sent(self)
        super()._send_global_request(request, *args, want_reply=want_reply)

    def _reset_keepalive_timer(self) -> None:
        """asyncssh makes a timer anew at each read; a note of the time is enough."""
        self._heard = self._loop.time()

    def _keepalive_timer_callback(self) -> None:
        quiet = self._loop.time() - self._heard
        if self._paused or quiet < self._keepalive_interval:
            self._keepalive_count = 0
            wait = self._keepalive_interval - (0 if self._paused else quiet)
            self._keepalive_timer = self._loop.call_later(wait, self._keepalive_timer_callback)
        else:
            super()._keepalive_timer_callback()


_BULK = frozenset({Message.WINDOW_ADJUST, Message.DATA, Message.EXTENDED_DATA, Message.EOF})
