"""New keys, of a cipher that the fast lane knows, for a client that put another one first.

The client's order decides which cipher is taken, and OpenSSH before 10 puts CTR before GCM though it
has both: all that it moves would go by the slow lane, at a third of the speed. A connection that
turns out to move much is therefore rekeyed once, with the fast ciphers alone on offer. One that
does not costs nothing more, and a client that has no fast cipher keeps the one that it chose.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from asyncssh.packet import SSHPacket

from broker.door.cipher import SharedGCM
from broker.door.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable

_KEXINIT = 20
_COOKIE = 16
_FAST = frozenset({b"aes128-gcm@openssh.com", b"aes256-gcm@openssh.com"})

#: Bytes either way that the new keys are worth: exchanging them takes the door 3 ms, and so do the
#: slow lane's packets of so much.
_WORTH = 1 << 20


class Upgrading(Wire):
    """A wire whose peer's choice of a cipher is not the last word."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fast_in_common: list[bytes] = []
        self._upgrade_at: int | None = None
        """How much must have been received."""
        self._usual_rekey = self._rekey_bytes

    def process_packet(self, pkttype: int, pktid: int, packet: SSHPacket) -> bool | Awaitable[None]:
        if pkttype == _KEXINIT and self.common.fast:
            both = _ciphers(packet.get_full_payload())
            self._fast_in_common = [name for name in self._enc_algs if name in _FAST & both]
        return super().process_packet(pkttype, pktid, packet)

    def send_newkeys(self, k: bytes, h: bytes) -> None:
        # What was deferred is sent at once, and must not begin another exchange.
        self._rekey_bytes, self._upgrade_at = self._usual_rekey, None
        super().send_newkeys(k, h)
        fast = type(self._send_encryption), type(self._next_recv_encryption)
        if self._fast_in_common and fast != (SharedGCM, SharedGCM):
            self._enc_algs = self._fast_in_common
            self._rekey_bytes = min(self._usual_rekey, _WORTH)
            self._upgrade_at = self._received + _WORTH

    def send_packet(self, pkttype: int, *args: bytes, handler: Any = None) -> None:
        """asyncssh begins a key exchange before the packet that passes its bound of bytes sent."""
        if self._upgrade_at is not None and self._received >= self._upgrade_at:
            self._rekey_bytes = 0
        super().send_packet(pkttype, *args, handler=handler)


def _ciphers(kexinit: bytes) -> frozenset[bytes]:
    """What a peer has for both directions. Raises a `ValueError` where it is no such message."""
    packet = SSHPacket(kexinit)
    packet.get_byte()
    packet.get_bytes(_COOKIE)
    packet.get_namelist()  # key exchange
    packet.get_namelist()  # host keys
    return frozenset(packet.get_namelist()) & frozenset(packet.get_namelist())
