"""The front door's host key: made once, private, and the same for ever."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import asyncssh

from broker.core.errors import StateUnusable

if TYPE_CHECKING:
    from pathlib import Path


def load_or_make(path: Path) -> asyncssh.SSHKey:
    """Read the ed25519 key at `path`, or make it with its `.pub` beside it.

    Raises `StateUnusable` when it cannot be read: a new one in its place would look to every
    client like somebody else's host.
    """
    try:
        if not path.exists():
            _make(path)
        return asyncssh.read_private_key(path)
    except (OSError, asyncssh.KeyImportError) as error:
        raise StateUnusable(
            public=f"{path}: the host key cannot be read ({error}); put it back from a backup,"
            " or remove it to have a new one made, which every client will ask about."
        ) from error


def _make(path: Path) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="desk")
    path.with_suffix(".pub").write_bytes(key.export_public_key())
    unfinished = path.with_suffix(".new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.export_private_key())
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(path)
