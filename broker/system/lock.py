"""One broker for one state directory: a lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Self

from broker.core.errors import StateUnusable
from broker.system.patience import holds_within

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

#: Seconds for which the children of a holder that was killed may still have what it had.
SUCCESSION = 2.0


class StateLock:
    """Hold `path` exclusively as long as this is entered; the file tells the holder's pid."""

    def __init__(self, path: Path, *, patience: float = 0.0) -> None:
        """A holder is waited for, `patience` seconds at most: one that was killed may have left a
        child that ends a moment later.
        """
        self._path = path
        self._patience = patience
        self._fd: int | None = None

    def __enter__(self) -> Self:
        """Raises `StateUnusable` when another process holds it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not holds_within(self._patience, partial(_locked, fd)):
            os.close(fd)
            holder = holder_of(self._path)
            process = "" if holder is None else f" (process {holder})"
            raise StateUnusable(
                public=f"{self._path.parent}: another broker{process} uses this state;"
                " stop it first, or give this one a state of its own."
            )
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        self._fd = fd
        return self

    @property
    def descriptor(self) -> int:
        """What holds it: a process that inherits this holds it too, for as long as it lives."""
        assert self._fd is not None
        return self._fd

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def holder_of(path: Path) -> int | None:
    """The pid of the process that holds the lock now; None when nobody does."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        if not _locked(fd):
            with suppress(ValueError):
                return int(os.pread(fd, 32, 0))
        return None
    finally:
        os.close(fd)


def is_held_by(descriptor: int, path: Path) -> bool:
    """Whether that inherited descriptor is the lock's, and no other process's lock is in its way."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat()) and _locked(descriptor)
    except OSError:
        return False


def _locked(descriptor: int) -> bool:
    """Whether it holds the lock now: who has it already does."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
