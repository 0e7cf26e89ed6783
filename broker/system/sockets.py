"""Listening sockets: bound early, so that a taken port is told before anything starts."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from broker.core.errors import ConfigError
from broker.system.patience import holds_within

if TYPE_CHECKING:
    from pathlib import Path

#: Doors that may wait for a broker that is away.
_WAITING = 64


def bind_tcp(key: str, host: str, port: int, *, patience: float = 0.0) -> socket.socket:
    """A bound TCP socket, not listening yet; a port that is taken is waited for, `patience` seconds
    at most. Raises `ConfigError` that names the config's `key`.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)

    def bound() -> bool:
        try:
            sock.bind((host, port))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not holds_within(patience, bound):
            sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ConfigError(public=f"{key}: {_why(error, host, port)}") from error
    sock.setblocking(False)
    return sock


def _why(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"port {port} of {host} is used by another program; stop it or choose another port."
            )
        case errno.EACCES:
            return f"port {port} needs root; choose one above 1023."
        case errno.EADDRNOTAVAIL:
            return f"this machine has no address {host}."
        case _:
            return f"{host}:{port} cannot be listened on: {error.strerror}."


def bind_unix(path: Path, *, mode: int, gid: int | None) -> socket.socket:
    """A bound Unix socket in place of a left-over one. The caller holds the state's lock."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    previous = os.umask(0o177)
    try:
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise ConfigError(
            public=f"{path}: cannot be listened on: {error.strerror or error}."
        ) from error
    finally:
        os.umask(previous)
    # Without root only a member may give the group its socket; else it is its owner's alone.
    with suppress(PermissionError):
        if gid is not None:
            os.chown(path, -1, gid)
            path.chmod(mode)
    sock.setblocking(False)
    return sock


def bind_private(path: Path, owner: int | None) -> socket.socket:
    """A bound Unix socket, in place of a left-over one, that only the user `owner` may reach: or, for
    None, only whoever this process is. Its directory is made for it, and lets others pass through it
    alone: that keeps the rest of the state closed, and the socket's own mode keeps them out.
    """
    directory = path.parent
    try:
        directory.mkdir(mode=0o711, exist_ok=True)
        directory.chmod(0o711)
        sock = bind_unix(path, mode=0o600, gid=None)
    except OSError as error:
        raise ConfigError(public=f"{path}: cannot be listened on: {error.strerror}.") from error
    try:
        if owner is not None:
            os.chown(path, owner, -1)
    except OSError as error:
        sock.close()
        raise ConfigError(public=_not_given(path, owner, error)) from error
    sock.listen(_WAITING)
    return sock


def _not_given(path: Path, owner: int | None, error: OSError) -> str:
    if error.errno == errno.EINVAL:  # a user namespace does not map it
        return (
            f"pools.uids: front doors run as the uid after the range, {owner}, and there is none on"
            " this system (/proc/self/uid_map tells which there are); choose a lower range."
        )
    return f"{path}: cannot be given to the front doors' uid {owner}: {error.strerror}."
