"""One broker for one state directory: a lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from broker.core.errors import StateUnusable

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class StateLock:
    """Hold `PATH` exclusively as long as this is entered; the file tells the holder's pid."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def __enter__(self) -> Self:
        """Raises `StateUnusable` when another process holds it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            holder = holder_of(self._path)
            process = "" if holder is None else f" (process {holder})"
            raise StateUnusable(
                public=f"{self._path.parent}: another broker{process} uses this state;"
                " stop it first, or give this one a state of its own."
            ) from None
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
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with suppress(ValueError):
            return int(os.pread(fd, 32, 0))
        return None
    else:
        return None
    finally:
        os.close(fd)
