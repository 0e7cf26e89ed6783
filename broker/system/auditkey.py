"""The key of the audit's chain: made once, private, kept beside the state and not in it."""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

from broker.core.errors import StateUnusable

if TYPE_CHECKING:
    from pathlib import Path

_OTHERS = 0o077
_BYTES = 32


class AuditKey:
    """The key in the file `path`; while it is new, in a file beside it.

    A new one becomes the key by `keep`, once the audit is chained with it: a broker that dies
    before finds it new again. From then on an audit without its chain is one that lost it.
    """

    def __init__(self, path: Path) -> None:
        """Read it, or make one. Raises `StateUnusable` when it cannot be read, or others may."""
        self._path = path
        self._new = path.with_name(f"{path.name}.new")
        try:
            self.new = not path.exists()
            if self.new and not self._new.exists():
                _make(self._new)
            self.secret = _read(self._new if self.new else path)
        except OSError as error:
            raise StateUnusable(
                public=f"{path}: the audit's key cannot be read ({error.strerror}); put it back from"
                " a backup."
            ) from error

    def keep(self) -> None:
        """From now on it is new no more."""
        if self.new:
            self._new.replace(self._path)
            _settle(self._path)
            self.new = False


def _read(path: Path) -> bytes:
    mode = path.stat().st_mode & 0o777
    if mode & _OTHERS:
        raise StateUnusable(
            public=f"{path}: the audit's key has mode {mode:04o}, so that others may read it; nobody"
            " but its owner may: `chmod 600` it."
        )
    text = path.read_bytes().strip()
    try:
        key = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        key = b""
    if len(key) != _BYTES:
        raise StateUnusable(
            public=f"{path}: the audit's key is damaged: {2 * _BYTES} hex digits are wanted; put it"
            " back from a backup."
        )
    return key


def _make(path: Path) -> None:
    part = path.with_name(f"{path.name}-part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_hex(_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    _settle(path)


def _settle(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
