"""Bringing a backup back: into a state that holds nothing yet, and all of it or nothing."""

from __future__ import annotations

import os
import shutil
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

from broker.core.errors import BackupUnusable, DeskError, StateUnusable
from broker.core.manifest import CONFIG, DATABASE
from broker.core.model import shown
from broker.core.spec import home_volume
from broker.db import backup as copies
from broker.service.backup import KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from broker.core.interfaces import Engine
    from broker.db.backup import Facts
    from broker.system.tarball import Reader

#: What is being brought back stands here until all of it is there.
PART = "restore.part"

_PIECE = 256 << 10


def demand_empty(state: Path) -> None:
    """Raise `StateUnusable` where a state is already. What a restore that was killed had moved to
    its place goes.
    """
    if (state / PART).exists() and not (state / DATABASE).exists():
        _clear(state)
    names = [DATABASE, f"{DATABASE}-wal", *KEYS]
    there = [name for name in names if (state / name).exists()]
    there += [n for n in ("sessions", "archive") if any(_inside(state / n))]
    if there:
        raise StateUnusable(
            public=f"{state}: there is a state already ({there[0]}); restore into an empty one."
        )


def _clear(state: Path) -> None:
    for name in ("sessions", "archive", PART):
        shutil.rmtree(state / name, ignore_errors=True)
    for name in KEYS:
        (state / name).unlink(missing_ok=True)


def _inside(directory: Path) -> Sequence[Path]:
    try:
        return list(directory.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return ()


class Restore:
    """One backup on its way back into `state`."""

    def __init__(self, reader: Reader, state: Path) -> None:
        self._reader = reader
        self._state = state
        self._part = state / PART
        self._volumes: list[str] = []

    def stage(self) -> Facts:
        """Put the files where they can be moved from in one step each; browsers sign in anew, and
        nobody is a guest any more. Raises `DeskError`.
        """
        try:
            self._part.mkdir(mode=0o700)
            for name in self._reader.manifest.files:
                if name != CONFIG and not name.startswith("homes/"):
                    self._reader.extract(name, self._part / name)
        except OSError as error:
            raise StateUnusable(f"{self._part} cannot be written: {error.strerror}") from error
        facts = copies.facts(self._part / DATABASE)
        copies.shut(self._part / DATABASE)
        return facts

    async def bring_homes(self, engine: Engine, *, image: str) -> Sequence[str]:
        """Returns the desktops whose homes are on the engine now. Raises `DeskError`, before
        anything is changed when one is there already.
        """
        homes = self._reader.manifest.homes
        there = set(await engine.homes())
        for desktop_id in homes:
            if home_volume(desktop_id) in there:
                raise StateUnusable(
                    public=f"The engine has the home of desktop {desktop_id} already: remove the"
                    f" volume {home_volume(desktop_id)}, or restore with --no-homes."
                )
        await engine.image_id(image)
        for desktop_id in homes:
            volume = home_volume(desktop_id)
            self._volumes.append(volume)
            await engine.import_home(
                volume, desktop_id=desktop_id, image=image, source=self._unpacked(desktop_id)
            )
        return homes

    @property
    def database(self) -> Path:
        """What was staged of it."""
        return self._part / DATABASE

    def commit(self, *, but: str = "") -> None:
        """Move what was staged to its place, `but` that one, and the database last: without it there
        is no state.
        """
        staged = {name.partition("/")[0] for name in self._reader.manifest.files}
        names = [name for name in staged - {but} if (self._part / name).exists()]
        for name in sorted(names, key=DATABASE.__eq__):
            (self._part / name).rename(self._state / name)
        descriptor = os.open(self._state, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def end(self) -> None:
        """From now on it is a state as any other."""
        shutil.rmtree(self._part)

    def give_up_files(self) -> None:
        """Nothing of it stays in the state; what was there before does."""
        shutil.rmtree(self._part, ignore_errors=True)

    async def give_up_homes(self, engine: Engine) -> None:
        for volume in self._volumes:
            with suppress(DeskError):
                await engine.remove_home(volume)

    def _unpacked(self, desktop_id: str) -> Iterator[bytes]:
        stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
        try:
            for piece in self._reader.pieces(f"homes/{desktop_id}.tar.gz"):
                data = stream.decompress(piece, _PIECE)
                while data:
                    yield data
                    data = stream.decompress(stream.unconsumed_tail, _PIECE)
        except zlib.error as error:
            raise BackupUnusable(f"the home of {shown(desktop_id)} is damaged: {error}") from error


def refuse_unfinished(state: Path) -> None:
    """Raise `StateUnusable` where a restore was killed: what it had moved is no state yet."""
    if (state / PART).exists():
        raise StateUnusable(
            public=f"{state}: a restore of this state was cut off; repeat `deskd restore`."
        )
