"""The kernel's own word that somebody changed nftables, in the network that this process is in."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from broker.core.errors import FirewallFailed

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

# From linux/netlink.h, linux/netfilter/nfnetlink.h and linux/netfilter/nf_tables.h: Python has no
# names for them.
_NETLINK_NETFILTER, _SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES = 12, 270, 1, 7
_NEWGEN = (10 << 8) | 15
_PROC_PID, _PROC_NAME = 2, 3
_HEADER, _FAMILY = struct.Struct("=IHHII"), 4

#: Bytes that may wait to be read; what is more is lost, which the kernel says.
_WAITING = 1 << 20


class Changes:
    """What happens to tables from the moment of entering on. Raises `FirewallFailed` where this
    process may not listen.
    """

    def __init__(self) -> None:
        try:
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        except OSError as error:
            raise FirewallFailed(f"nftables cannot be watched: {error.strerror}") from error

    def __enter__(self) -> Self:
        try:
            self._socket.setblocking(False)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _WAITING)
            self._socket.bind((0, 0))
            self._socket.setsockopt(_SOL_NETLINK, _ADD_MEMBERSHIP, _GROUP_NFTABLES)
        except OSError as error:
            self._socket.close()
            raise FirewallFailed(f"nftables cannot be watched: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    async def of(self, table: str) -> str | None:
        """Wait until something happened to a table of that name, whole or in part, or may have: the
        kernel drops what nobody reads in time. Returns which program did it, where that is known.
        """
        # Every message about a part of a table has the table's name as text that ends with a zero.
        name, touched = table.encode() + b"\0", False
        while True:
            try:
                message = await asyncio.get_running_loop().sock_recv(self._socket, 1 << 16)
            except OSError:
                return None
            touched = touched or name in message
            if touched and _kind(message) == _NEWGEN:  # the last one of each change
                return _program(message)


def _kind(message: bytes) -> int:
    kind: int = _HEADER.unpack_from(message)[1]
    return kind


def _program(message: bytes) -> str | None:
    """`NAME (PID)` of who made the change."""
    found, at = {}, _HEADER.size + _FAMILY
    while at + 4 <= len(message):
        size, kind = struct.unpack_from("=HH", message, at)
        found[kind] = message[at + 4 : at + size]
        at += max(4, (size + 3) & ~3)
    name, pid = found.get(_PROC_NAME, b""), found.get(_PROC_PID, b"")
    if not name or len(pid) != 4:
        return None
    return f"{name.rstrip(bytes(1)).decode(errors='replace')} ({int.from_bytes(pid, 'big')})"
