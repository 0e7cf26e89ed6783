"""The file that a backup is: one tar, written in one go, read to its end before any of it is used."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from typing import TYPE_CHECKING, BinaryIO

from broker.core import manifest
from broker.core.errors import BackupUnusable
from broker.core.manifest import HEAD, MANIFEST, Entry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from broker.core.manifest import Manifest

_PIECE = 1 << 20
_MANIFEST_BYTES = 64 << 20


class Writer:
    """Fills a backup; `end` makes it whole."""

    def __init__(self, file: BinaryIO, made_by: str) -> None:
        self._tar = tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT)  # noqa: SIM115 - closed by `end`
        self.files: dict[str, Entry] = {}
        self._put(HEAD, io.BytesIO(manifest.head(made_by)), 0o600)

    def add(self, name: str, path: Path) -> Entry:
        """Raises `OSError`."""
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            self.files[name] = self._put(name, file, mode)
        return self.files[name]

    def end(self, told: Manifest) -> None:
        self._put(MANIFEST, io.BytesIO(told.write()), 0o600)
        self._tar.close()

    def _put(self, name: str, file: BinaryIO, mode: int) -> Entry:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, mode
        reader = _Hashed(file)
        self._tar.addfile(info, reader)
        return Entry(size, reader.hash.hexdigest(), mode)


class _Hashed(io.RawIOBase):
    """Hashes what is read through it."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner = inner
        self.hash = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        data = self._inner.read(size)
        self.hash.update(data)
        return data


class Reader:
    """A backup that is whole: every byte of it was read and compared when this was made."""

    def __init__(self, file: BinaryIO) -> None:
        """Raises `BackupUnusable` in words that go behind the file's name."""
        self._file = file
        self._places: dict[str, int] = {}
        try:
            self.manifest = self._verify()
        except (tarfile.TarError, EOFError) as error:
            raise BackupUnusable(f"it is no backup of Desk's, or damaged: {error}") from error

    def _verify(self) -> Manifest:
        found: dict[str, Entry] = {}
        text: bytes | None = None
        self._file.seek(0)
        with tarfile.open(fileobj=self._file, mode="r:") as tar:
            first = tar.next()
            if first is None or first.name != HEAD or first.size > _PIECE:
                raise BackupUnusable("it is no backup of Desk's")
            manifest.check_head(self._content(first))
            while (member := tar.next()) is not None:
                if text is not None or member.name in found or not member.isreg():
                    raise BackupUnusable(f"it is damaged: {member.name!r} has no place there")
                if member.name == MANIFEST:
                    if member.size > _MANIFEST_BYTES:
                        raise BackupUnusable("it is damaged: its manifest is too long")
                    text = self._content(member)
                else:
                    found[member.name] = self._entry(member)
                    self._places[member.name] = member.offset_data
        if text is None:
            raise BackupUnusable("it is damaged: its end is missing")
        told = manifest.read(text)
        wrong = {n for n in found.keys() | told.files.keys() if found.get(n) != told.files.get(n)}
        if wrong:
            raise BackupUnusable(f"it is damaged: {min(wrong)} is not what was backed up")
        return told

    def content(self, name: str) -> bytes:
        return b"".join(self.pieces(name))

    def extract(self, name: str, path: Path) -> None:
        """Write it, durable on return, with the mode that it had and nothing for others before."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            for piece in self.pieces(name):
                target.write(piece)
            target.flush()
            os.fchmod(target.fileno(), self.manifest.files[name].mode & 0o755)
            os.fsync(target.fileno())

    def pieces(self, name: str) -> Iterator[bytes]:
        return self._pieces(name, self._places[name], self.manifest.files[name].size)

    def _pieces(self, name: str, place: int, left: int) -> Iterator[bytes]:
        while left:
            self._file.seek(place)
            piece = self._file.read(min(_PIECE, left))
            if not piece:
                raise BackupUnusable(f"it is damaged: it ends within {name}")
            place, left = place + len(piece), left - len(piece)
            yield piece

    def _content(self, member: tarfile.TarInfo) -> bytes:
        return b"".join(self._pieces(member.name, member.offset_data, member.size))

    def _entry(self, member: tarfile.TarInfo) -> Entry:
        digest = hashlib.sha256()
        for piece in self._pieces(member.name, member.offset_data, member.size):
            digest.update(piece)
        return Entry(member.size, digest.hexdigest(), member.mode)
