"""The operator's revocation list, as its file says now."""

from __future__ import annotations

import asyncio
import os
import stat
from typing import TYPE_CHECKING

import structlog

from broker.core.errors import ConfigError
from broker.core.krl import MAGIC, read_krl
from broker.core.revocations import Revoked, read_text
from broker.core.sshdata import Damaged

if TYPE_CHECKING:
    from pathlib import Path

_log = structlog.get_logger(__name__)

#: Bytes of a list: a million serials.
_LARGEST = 8 << 20

#: What of a file changes with what it holds, however it was written.
_Stamp = tuple[int, int, int, int, int]


class Revocations:
    """Reads the file anew whenever it is another or was written."""

    def __init__(self, path: Path | None) -> None:
        """Without a path, nothing is revoked."""
        self._path = path
        self._lock = asyncio.Lock()
        self._stamp: _Stamp | None = None
        self._last = Revoked()
        self._problem: str | None = None

    async def usable(self, path: Path | None) -> None:
        """Raises `ConfigError` when that is another file and cannot be used."""
        if path != self._path:
            await Revocations(path).current()

    async def move(self, path: Path | None) -> None:
        """Take another file from now on. Raises `ConfigError`, and then nothing has changed."""
        if path == self._path:
            return
        last = await Revocations(path).current()
        async with self._lock:
            self._path, self._stamp, self._problem = path, None, None
            self._last = last

    async def current(self) -> Revoked:
        """What the file says now. Raises `ConfigError` while it cannot be used, and tells the log
        so, once.
        """
        if self._path is None:
            return self._last
        async with self._lock:
            before = self._problem
            self._problem = await asyncio.to_thread(self._look, self._path)
            if self._problem != before:
                self._tell()
            if self._problem is not None:
                raise ConfigError(
                    public=f"The revocation list {self._path} cannot be used: {self._problem}."
                )
            return self._last

    async def last(self) -> Revoked:
        """As `current`, but while the file cannot be used, what it said last."""
        try:
            return await self.current()
        except ConfigError:
            return self._last

    def _tell(self) -> None:
        if self._problem is None:
            _log.info("revocation list usable again", path=str(self._path))
        else:
            _log.error(
                "revocation list unusable, certificates refused",
                path=str(self._path),
                problem=self._problem,
            )

    def _look(self, path: Path) -> str | None:
        """Read the file unless it is as before; what is wrong with it, or None. In a thread."""
        known, self._stamp = self._stamp, None
        try:
            with open(path, "rb", opener=_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    return "it is no file"
                stamp = _stamp(status)
                same = stamp == known
                problem = self._problem if same else self._read(file.read(_LARGEST + 1))
        except OSError as error:
            return error.strerror or str(error)
        self._stamp = stamp
        return problem

    def _read(self, data: bytes) -> str | None:
        if len(data) > _LARGEST:
            return f"it has more than {_LARGEST >> 20} MiB"
        try:
            self._last = Revoked(read_krl(data) if data.startswith(MAGIC) else read_text(data))
        except Damaged as damage:
            return str(damage)
        return None


def _without_waiting(path: str, flags: int) -> int:
    """A pipe would be waited for."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)


def _stamp(status: os.stat_result) -> _Stamp:
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
