"""Sockets that systemd holds and hands on, so that a service can be replaced without losing who calls."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping

#: The first of the descriptors, by sd_listen_fds(3).
_FIRST = 3


def handed_on(
    environment: MutableMapping[str, str], *, first: int = _FIRST
) -> dict[str, socket.socket]:
    """The listening sockets by the names that their units give them (`FileDescriptorName=`); of
    several with one name, the first. None are there without systemd, and for a child of the process
    that they were meant for. They are taken out of `environment`, and no child inherits them.
    """
    pid, count, names = (
        environment.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, socket.socket] = {}
    called = names.split(":")
    for number in range(int(count)):
        os.set_inheritable(first + number, False)
        sock = socket.socket(fileno=first + number)
        sock.setblocking(False)
        name = called[number] if number < len(called) else "unknown"
        if name in found:
            sock.close()
        else:
            found[name] = sock
    return found
