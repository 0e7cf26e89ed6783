"""The front door's host key: made once, private, and the same for ever."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import asyncssh

from broker.core.errors import StateUnusable

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS = 0o077


def load_or_make(path: Path) -> asyncssh.SSHKey:
    """Read the key at `path`, or make one, ed25519, with its `.pub` beside it.

    Raises `StateUnusable` when it cannot be read: a new one in its place would look to every
    client like somebody else's host. Also when others may read it: they could be that host.
    """
    try:
        if not path.exists():
            _make(path)
        key = asyncssh.read_private_key(path)
        mode = path.stat().st_mode & 0o777
    except (OSError, asyncssh.KeyImportError) as error:
        raise StateUnusable(
            public=f"{path}: the host key cannot be read ({error}); put it back from a backup,"
            " or remove it to have a new one made, which every client will ask about."
        ) from error
    if mode & _OTHERS:
        raise StateUnusable(
            public=f"{path}: the host key has mode {mode:04o}, so that others may read it; nobody"
            " but its owner may: `chmod 600` it, and replace it if somebody could have read it."
        )
    return key


def _make(path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="desk")
    path.with_suffix(".pub").write_bytes(key.export_public_key())
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.export_private_key())
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
