"""Who calls on a Unix socket: the kernel says so."""

from __future__ import annotations

import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

#: Members of this group are admins over the local socket.
ADMIN_GROUP = "desk-admin"


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end of a Unix socket, as it was when it connected."""

    pid: int
    uid: int
    gid: int


def peer_of(sock: socket.socket) -> Peer:
    """Ask the kernel who connected; raises `OSError` for a socket that is no Unix socket."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return Peer(*struct.unpack("3i", raw))


def parent_of(pid: int) -> int | None:
    """The process that it is a child of now; None when it is no more, or may not be looked at."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # Its name stands in brackets and may hold anything, brackets too.
    return int(stat.rpartition(b")")[2].split()[1])


def is_admin(peer: Peer) -> bool:
    """Whether the peer is root, this process's own user or a member of the group `desk-admin`."""
    return peer.uid in {0, os.geteuid()} or peer.gid == admin_gid() or _is_member(peer.uid)


def admin_gid() -> int | None:
    """The id of the group `desk-admin`, None where the host has none."""
    try:
        return grp.getgrnam(ADMIN_GROUP).gr_gid
    except KeyError:
        return None


def _is_member(uid: int) -> bool:
    try:
        name = pwd.getpwuid(uid).pw_name
        return name in grp.getgrnam(ADMIN_GROUP).gr_mem
    except KeyError:
        return False
