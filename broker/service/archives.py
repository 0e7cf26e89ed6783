"""Packed homes as files, `STATE/archive/DESKTOP-ID.tar.gz`: written, read back, unpacked.

Everything here blocks: it belongs into a thread.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from broker.core.errors import HomeMissing, StateUnusable
from broker.core.model import DesktopId
from broker.core.words import spoken_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

    from broker.core.model import HomeArchive

#: Bytes of the state's file system that archives leave free, or a tenth of it when that is less:
#: the database is there too.
RESERVE = 1 << 30

#: Bytes that are written between two looks at what is free, and that are read at a time.
_LOOK_EVERY, _PIECE = 8 << 20, 256 << 10

#: On homes of programs, texts and pictures 6 takes half as long again and saves a fortieth.
_LEVEL = 3

_GZIP = zlib.MAX_WBITS | 16
_SUFFIX, _PART = ".tar.gz", ".tar.gz.part"

#: What the engine calls the home's own directory, and the end of every whole tar.
_HOME, _END = "desk", bytes(2 * tarfile.BLOCKSIZE)

_DAMAGED = (
    "Your home was put into the archive of this host, and cannot be fetched from there, so your"
    " desktop was not started in an empty one. Tell your administrator."
)


class NoRoom(StateUnusable):
    """The state's file system has too little room for an archive."""


@dataclass(frozen=True, slots=True)
class Packed:
    """What a finished archive is."""

    size: int
    unpacked: int
    sha256: str
    members: int


class Archives:
    """The files of one state. Each raises `StateUnusable` when the disk does not do its part."""

    def __init__(
        self, root: Path, *, room: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage
    ) -> None:
        """`room` tells the total, used and free bytes of the file system of a path."""
        self._root = root
        self._room = room

    def begin(self, desktop_id: DesktopId) -> Packing:
        """Raises `NoRoom`."""
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.spare()
            return Packing(self._root / f"{desktop_id}{_PART}", self.spare)
        except OSError as error:
            raise _broken(self._root, error) from error

    def commit(self, desktop_id: DesktopId) -> None:
        """Give a sealed one its name, in place of an older one; durable on return."""
        path = self._path(desktop_id)
        try:
            (self._root / f"{desktop_id}{_PART}").rename(path)
            _sync_directory(self._root)
            _sync_directory(self._root.parent)  # the first one made the directory too
        except OSError as error:
            raise _broken(path, error) from error

    def check(self, desktop_id: DesktopId, archive: HomeArchive) -> None:
        """Raises `HomeMissing` unless the file is there and the very one of the record."""
        path = self._path(desktop_id)
        try:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _missing(path, error.strerror) from error
        if found != archive.sha256:
            raise _missing(path, f"its SHA-256 is {found}, and that of the record {archive.sha256}")

    def unpack(self, desktop_id: DesktopId) -> Iterator[bytes]:
        """The tar in it, piece by piece. Raises `HomeMissing` where it is damaged."""
        path = self._path(desktop_id)
        try:
            with gzip.open(path) as file:
                while piece := file.read(_PIECE):
                    yield piece
        except (OSError, EOFError, zlib.error) as error:
            raise _missing(path, str(error)) from error

    def remove(self, desktop_id: DesktopId) -> None:
        """Gone already is success."""
        path = self._path(desktop_id)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise _broken(path, error) from error

    def existing(self) -> list[DesktopId]:
        """Every desktop that has a file."""
        return [DesktopId(path.name.removesuffix(_SUFFIX)) for path in self._files(_SUFFIX)]

    def sweep(self) -> None:
        """Delete what a process that died left half written; nobody writes meanwhile."""
        for path in self._files(_PART):
            path.unlink(missing_ok=True)

    def spare(self) -> None:
        """Raises `NoRoom` when there is less than has to stay free."""
        total, _, free = self._room(self._root)
        wanted = min(RESERVE, total // 10)
        if free < wanted:
            raise NoRoom(
                f"{self._root} has {spoken_size(free)} free, and {spoken_size(wanted)} have to stay"
            )

    def _path(self, desktop_id: DesktopId) -> Path:
        return self._root / f"{desktop_id}{_SUFFIX}"

    def _files(self, suffix: str) -> list[Path]:
        return sorted(self._root.glob(f"*{suffix}"))


class Packing:
    """One archive while it is written. `write` takes the tar; `seal` ends and proves it."""

    def __init__(self, path: Path, spare: Callable[[], None]) -> None:
        self._path = path
        self._spare = spare
        self._file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
        self._gzip = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
        self._plain = hashlib.sha256()
        self._end = b""
        self._unpacked = self._size = self._looked_at = 0
        self._given_up = False

    def write(self, piece: bytes) -> None:
        """Raises `NoRoom`, `StateUnusable`."""
        self._plain.update(piece)
        self._unpacked += len(piece)
        self._end = (self._end + piece)[-len(_END) :]
        self._put(self._gzip.compress(piece))

    def seal(self) -> Packed:
        """Bring it to the disk and read it back: what comes out has to be what went in, a whole tar
        of nothing but what a home can hold. Raises `StateUnusable`.
        """
        self._put(self._gzip.flush())
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            # What is read back comes from the disk, and nobody else's pages had to go for it.
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            packed = self._read_back()
        except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
            raise StateUnusable(f"{self._path} cannot be read back: {error}") from error
        if self._end != _END:
            raise StateUnusable(f"{self._path}: the engine's tar has no end")
        return packed

    def give_up(self) -> None:
        """Close and delete it, unless it was committed. A `seal` in another thread fails soon."""
        self._given_up = True
        self._file.close()
        self._path.unlink(missing_ok=True)

    def _put(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except (OSError, ValueError) as error:
            raise _broken(self._path, error) from error
        self._size += len(data)
        if self._size - self._looked_at >= _LOOK_EVERY:
            self._looked_at = self._size
            self._spare()

    def _read_back(self) -> Packed:
        with self._path.open("rb", buffering=0) as file, _Counted(file) as packed:
            with gzip.GzipFile(fileobj=_buffered(packed)) as inner, _Counted(inner) as unpacked:
                plain = _buffered(unpacked)
                members = self._members(plain)
                while plain.read(_PIECE):
                    pass
            if unpacked.sha256 != self._plain.hexdigest():
                raise StateUnusable(f"{self._path} is not what was written")
            return Packed(packed.size, unpacked.size, packed.sha256, members)

    def _members(self, plain: io.BufferedReader) -> int:
        count = 0
        with tarfile.open(fileobj=plain, mode="r|") as archive:
            while (member := archive.next()) is not None:
                if self._given_up:
                    raise StateUnusable(f"{self._path} was given up")
                _admit(member)
                count += 1
                # Or it would keep every name of the home.
                archive.members.clear()  # type: ignore[attr-defined]  # the stubs forgot it
        if count == 0:
            raise StateUnusable(f"{self._path} holds nothing")
        return count


class _Counted(io.RawIOBase):
    """Counts and hashes what is read through it."""

    def __init__(self, inner: _Readable) -> None:
        self._inner = inner
        self._hash = hashlib.sha256()
        self.size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with memoryview(buffer) as room:
            data = self._inner.read(len(room))
            room[: len(data)] = data
        self._hash.update(data)
        self.size += len(data)
        return len(data)

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _buffered(raw: io.RawIOBase) -> io.BufferedReader:
    return io.BufferedReader(raw, _PIECE)


def _admit(member: tarfile.TarInfo) -> None:
    """A tar that could write outside the home is never unpacked, so it is not kept either; nor one
    with a device: nobody in a desktop can make one.
    """
    names = [member.name, *([member.linkname] if member.islnk() else [])]
    for path in map(PurePosixPath, names):
        if path.is_absolute() or ".." in path.parts or path.parts[:1] != (_HOME,):
            raise StateUnusable(f"the engine's tar names {str(path)!r}, which is in no home")
    if member.isdev() and not member.isfifo() and (member.devmajor, member.devminor) != (0, 0):
        raise StateUnusable(f"the home holds the device {member.name!r}")


def _missing(path: Path, why: str | None) -> HomeMissing:
    return HomeMissing(f"the archive {path} cannot be used: {why}", public=_DAMAGED)


def _broken(path: Path, error: Exception) -> StateUnusable:
    return StateUnusable(f"{path} cannot be written: {error}")


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
