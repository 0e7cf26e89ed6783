"""Who calls on a Unix socket: the kernel says so."""

from __future__ import annotations

import grp
import os
import pwd
import re
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

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


def child_of(parent: int) -> Callable[[int], Hashable | None]:
    """Tells children of `parent` apart by their pid; everybody else is None."""
    return lambda pid: pid if parent_of(pid) == parent else None


def instance_of(template: str, processes: Path = Path("/proc")) -> Callable[[int], Hashable | None]:
    """Tells instances of the system's service `template@` apart by their unit, to which all that a
    process starts belongs too; everybody else is None.
    """
    # A user's own services lie below user@N.service: no part of the way may be a service.
    unit = re.compile(rf"(?:/[^/]+\.slice)+/({re.escape(template)}@[^/]+\.service)")

    def of(pid: int) -> str | None:
        found = unit.fullmatch(_control_group(processes / str(pid) / "cgroup"))
        return None if found is None else found[1]

    return of


def _control_group(file: Path) -> str:
    """Where systemd has put that process."""
    try:
        lines = file.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    # The second version; the first has a hierarchy of that name beside it, or in its place.
    for begin in ("0::", "1:name=systemd:"):
        for line in lines:
            if line.startswith(begin) and (path := line.removeprefix(begin)) != "/":
                return path
    return ""


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
