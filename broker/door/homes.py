"""The files of a desktop's home, by the sftp of its own sshd: as the tenant, whose links lead nowhere
that the tenant could not go.
"""

from __future__ import annotations

import asyncio
import stat
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import asyncssh

from broker.core.errors import (
    AccessDenied,
    CapacityExhausted,
    Conflict,
    NotFound,
    StartFailed,
)
from broker.core.model import new_id
from broker.door.answers import Refused
from broker.system.sshclient import BROKEN

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from broker.door.connections import Way

#: Seconds that the desktop may take for one step.
_STEP = 30.0

#: Bytes that are read or written at a time, in packets of so many, of which so many are under way.
PIECE, _PACKET, _UNDER_WAY = 256 * 1024, 32 * 1024, 16

#: Entries of a folder that are told, and links whose ends are looked at.
_ENTRIES, _LINKS = 5000, 500

#: What a server says that has no room; this one has the same word for everything else.
_TAKES_NO_MORE = (
    asyncssh.SFTPFailure,
    asyncssh.SFTPNoSpaceOnFilesystem,
    asyncssh.SFTPQuotaExceeded,
)

_FULL = "The desktop did not take all of it: its home may be full. Nothing of it was kept."
_SILENT = "The desktop does not answer just now. Try again."


class Home:
    """One desktop's."""

    def __init__(self, sftp: asyncssh.SFTPClient) -> None:
        self._sftp = sftp

    async def entries(self, path: str) -> list[dict[str, Any]]:
        """What is in a folder, by name. Names that are no UTF-8, links to nowhere and what is
        neither file nor folder are left out, and what is beyond the first thousands.
        """
        async with _step():
            return sorted([one async for one in self._entries(path)], key=_by_name)

    async def _entries(self, path: str) -> AsyncIterator[dict[str, Any]]:
        told, links = 0, 0
        async for entry in self._sftp.scandir(path.encode() or b"."):
            if told >= _ENTRIES:
                return
            name, attrs = _name(entry.filename), entry.attrs
            if name in {None, ".", ".."}:
                continue
            assert name is not None
            if stat.S_ISLNK(attrs.permissions or 0):
                links += 1
                attrs = await self._end_of(f"{path}/{name}" if path else name, links)
            kind = _kind(attrs)
            if kind is not None:
                told += 1
                yield _told(name, kind, attrs)

    async def _end_of(self, path: str, links: int) -> asyncssh.SFTPAttrs:
        if links <= _LINKS:
            with suppress(asyncssh.SFTPError):
                return await self._sftp.stat(path)
        return asyncssh.SFTPAttrs()

    @asynccontextmanager
    async def opened(self, path: str) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """A file's size, and all of it: as many bytes, or fewer when it becomes shorter meanwhile."""
        async with _step():
            attrs = await self._sftp.stat(path)
        if _kind(attrs) != "file":
            raise Refused(404, "That is no file.", code=NotFound.code)
        size = attrs.size or 0
        async with _step():
            file = await self._sftp.open(
                path, "rb", encoding=None, block_size=_PACKET, max_requests=_UNDER_WAY
            )
        async with file:
            yield size, _pieces(file, size)

    async def put(self, path: str, pieces: AsyncIterator[bytes]) -> None:
        """A new file of that; half of one is never there under its name."""
        folder = path.rpartition("/")[0]
        async with _step():
            await self._no_such(path)
            if folder:
                await self._sftp.makedirs(folder, exist_ok=True)
        part = f"{folder}/.{new_id()}.part".removeprefix("/")
        try:
            await self._fill(part, pieces)
            await self._rename(part, path)
        except BaseException as error:
            await self._remove(part)
            if isinstance(error, _TAKES_NO_MORE):
                raise Refused(507, _FULL, code=CapacityExhausted.code) from None
            raise

    async def _fill(self, part: str, pieces: AsyncIterator[bytes]) -> None:
        async with _step():
            file = await self._sftp.open(
                part, "xb", encoding=None, block_size=_PACKET, max_requests=_UNDER_WAY
            )
        async with file:
            async for piece in pieces:
                async with _step():
                    await file.write(piece)

    async def _no_such(self, path: str) -> None:
        with suppress(asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
            await self._sftp.lstat(path)
            name = path.rpartition("/")[2]
            raise Refused(409, f"There is a {name} already.", code=Conflict.code)

    async def _rename(self, part: str, path: str) -> None:
        """The server replaces nothing, and has one word for all that fails."""
        async with _step():
            try:
                await self._sftp.rename(part, path)
            except asyncssh.SFTPFailure:
                await self._no_such(path)
                raise

    async def _remove(self, part: str) -> None:
        """Also of whoever left in the middle, but not for ever."""
        with suppress(*BROKEN):
            async with asyncio.timeout(_STEP / 10):
                await self._sftp.remove(part)


@asynccontextmanager
async def home(way: Way) -> AsyncIterator[Home]:
    """That desktop's. What its sftp says no to is raised as `Refused`."""
    try:
        async with _step():
            sftp = await way.ssh.start_sftp_client()
        try:
            yield Home(sftp)
        finally:
            with suppress(*BROKEN):
                sftp.exit()
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath, asyncssh.SFTPNotADirectory):
        raise Refused(404, "There is no such file or folder.", code=NotFound.code) from None
    except asyncssh.SFTPPermissionDenied:
        raise Refused(403, "The desktop refuses that.", code=AccessDenied.code) from None
    except asyncssh.SFTPFailure:
        raise Refused(400, "The desktop could not do that.") from None
    except (asyncssh.Error, TimeoutError, ValueError, EOFError):
        raise Refused(503, _SILENT, code=StartFailed.code) from None


def _step() -> asyncio.Timeout:
    """A desktop that says nothing is not waited for."""
    return asyncio.timeout(_STEP)


async def _pieces(file: asyncssh.SFTPClientFile, size: int) -> AsyncIterator[bytes]:
    while size > 0:
        async with _step():
            piece: bytes = await file.read(min(size, PIECE))
        if not piece:
            return
        yield piece[:size]
        size -= len(piece)


def _name(told: bytes | str) -> str | None:
    """A server can say anything."""
    try:
        name = told.decode() if isinstance(told, bytes) else told
    except UnicodeDecodeError:
        return None
    return None if "/" in name or "\0" in name else name


def _kind(attrs: asyncssh.SFTPAttrs) -> str | None:
    mode = attrs.permissions or 0
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else None


def _by_name(entry: dict[str, Any]) -> str:
    return str(entry["name"])


def _told(name: str, kind: str, attrs: asyncssh.SFTPAttrs) -> dict[str, Any]:
    changed = None if attrs.mtime is None else datetime.fromtimestamp(attrs.mtime, UTC)
    return {
        "name": name,
        "kind": kind,
        "size": attrs.size if kind == "file" else None,
        "modified": None if changed is None else changed.isoformat().replace("+00:00", "Z"),
    }
