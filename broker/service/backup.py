"""Making a backup while the broker runs: what belongs to one moment is taken at one moment, the rest
is held fast by links meanwhile.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from broker.core.errors import DeskError, StateUnusable
from broker.core.interfaces import ContainerState
from broker.core.manifest import CONFIG, DATABASE, Manifest
from broker.core.spec import home_volume
from broker.service.archives import Packing
from broker.system.tarball import Writer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from broker.core.interfaces import Engine
    from broker.db.backup import Facts

#: What is being made stands here, on the state's own file system, where links reach.
PART = "backup.part"

#: Beside the database: both of an audit, and of a front door.
KEYS = ("audit.key", "audit.key.new", "ssh_host_key", "ssh_host_key.pub")


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of one moment, in a directory of the backup's own."""

    directory: Path
    facts: Facts

    @property
    def database(self) -> Path:
        return self.directory / DATABASE


@contextmanager
def workplace(state: Path) -> Iterator[Path]:
    """A directory in the state for the one backup that is being made; gone at the end. Raises
    `StateUnusable`, also while there is another one.
    """
    directory = state / PART
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise StateUnusable(f"{directory} cannot be made: {error.strerror}") from error
    with ExitStack() as stack:
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateUnusable(
                public=f"{state}: another backup of this state is being made; wait for its end."
            ) from None
        try:
            _clear(directory)
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _clear(directory: Path) -> None:
    """A backup that was killed has left something."""
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def hold_archives(state: Path, directory: Path) -> None:
    """Link the packed homes: one that is fetched back meanwhile takes its file with it."""
    (directory / "archive").mkdir(mode=0o700, exist_ok=True)
    for path in sorted((state / "archive").glob("*.tar.gz")):
        with suppress(FileNotFoundError, FileExistsError):
            os.link(path, directory / "archive" / path.name)


class Backup:
    """One backup of a state whose moment was taken, into one file."""

    def __init__(
        self, state: Path, config: Path, moment: Moment, *, now: datetime, made_by: str
    ) -> None:
        self._state = state
        self._config = config
        self._moment = moment
        self._now = now
        self._made_by = made_by
        self._left_out: list[str] = []

    async def write(self, file: BinaryIO, *, engine: Engine | None, image: str = "") -> Manifest:
        """Fill the file; with an `engine`, homes on it too. Raises `DeskError`, `OSError`."""
        writer = Writer(file, self._made_by)
        await asyncio.to_thread(self._write_state, writer)
        if engine is not None:
            for desktop_id in self._moment.facts.homes:
                await self._write_home(writer, engine, desktop_id, image)
        facts = self._moment.facts
        told = Manifest(
            made_by=self._made_by,
            made_at=self._now.isoformat(timespec="seconds"),
            schema=facts.schema,
            instance=facts.instance,
            files=writer.files,
            left_out=tuple(self._left_out),
        )
        await asyncio.to_thread(writer.end, told)
        return told

    def _write_state(self, writer: Writer) -> None:
        facts = self._moment.facts
        writer.add(DATABASE, self._moment.database)
        writer.add(CONFIG, self._config)
        for name in KEYS:
            with suppress(FileNotFoundError):
                writer.add(name, self._state / name)
        for session in sorted(facts.live):
            for path in self._files_of(session):
                # It can end meanwhile, and needs none of them then.
                with suppress(FileNotFoundError):
                    writer.add(f"sessions/{session}/{path.name}", path)
        for desktop, sha256 in sorted(facts.archives.items()):
            self._write_archive(writer, desktop, sha256)

    def _files_of(self, session: str) -> Sequence[Path]:
        try:
            return sorted((self._state / "sessions" / session).iterdir())
        except FileNotFoundError:
            return ()

    def _write_archive(self, writer: Writer, desktop: str, sha256: str) -> None:
        name = f"archive/{desktop}.tar.gz"
        try:
            found = writer.add(name, self._moment.directory / name).sha256
        except FileNotFoundError:
            self._left_out.append(f"The packed home of desktop {desktop} is missing.")
            return
        if found != sha256:
            self._left_out.append(
                f"The packed home of desktop {desktop} is damaged: its SHA-256 is not the record's."
            )

    async def _write_home(
        self, writer: Writer, engine: Engine, desktop_id: str, image: str
    ) -> None:
        """A home that somebody writes to would be torn: it is left out, and told."""
        path = self._moment.directory / "home.tar.gz"
        packing = Packing(path, lambda: None)
        try:
            if await _used(engine, desktop_id):
                self._left_out.append(_IN_USE.format(desktop_id))
                return
            await engine.export_home(home_volume(desktop_id), image=image, sink=packing.write)
            await asyncio.to_thread(packing.seal)
            if await _used(engine, desktop_id):
                self._left_out.append(_IN_USE.format(desktop_id))
                return
            await asyncio.to_thread(writer.add, f"homes/{desktop_id}.tar.gz", path)
        except DeskError as error:
            self._left_out.append(f"The home of desktop {desktop_id} is left out: {error}.")
        finally:
            packing.give_up()


_IN_USE = (
    "The home of desktop {} is left out: the desktop runs. Freeze or stop it, and back up again."
)


async def _used(engine: Engine, desktop_id: str) -> bool:
    return any(
        container.desktop_id == desktop_id and container.state is ContainerState.RUNNING
        for container in await engine.containers()
    )
