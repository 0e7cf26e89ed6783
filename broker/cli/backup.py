"""deskd backup and restore: which state, by whom, into which file."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from broker import __version__
from broker.cli.owner import Owner, as_caller, owner_of
from broker.config import load, parse
from broker.core.errors import BackupUnusable, ConfigError
from broker.core.manifest import CONFIG, DATABASE
from broker.core.model import InstanceId
from broker.core.words import spoken_size
from broker.db import backup as copies
from broker.db import migrate
from broker.db.copying import copying
from broker.db.place import database_of
from broker.engine.docker import DockerEngine
from broker.service.backup import Backup, Moment, hold_archives, workplace
from broker.service.restore import Restore, demand_empty
from broker.system.lock import SUCCESSION, StateLock
from broker.system.state import prepare
from broker.system.tarball import Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from broker.config import Config
    from broker.core.manifest import Manifest


# ------------------------------------------------------------------------------------- backup


def back_up(config_file: Path, target: Path, *, homes: bool) -> tuple[dict[str, Any], str]:
    """Make a backup; returns what programs and what people are told. Raises `DeskError`."""
    os.umask(0o077)
    config = load(config_file)
    owner = owner_of(config.state, "backup")
    if target.exists():
        raise BackupUnusable(f"{target}: is there already; name a new file")
    with owner.acting(), workplace(config.state) as directory:
        moment = _moment(config, directory)
        with as_caller(), _whole(target) as file:
            backup = Backup(
                config.state,
                config_file,
                moment,
                now=datetime.now(UTC),
                made_by=__version__,
            )
            told = asyncio.run(_write(backup, file, config, moment, homes=homes))
    size = target.stat().st_size
    answer = {
        "file": str(target),
        "bytes": size,
        "schema": told.schema,
        "instance": told.instance,
        "homes": told.homes,
        "left_out": list(told.left_out),
    }
    kept = f" and {_count(len(told.homes), 'home')}" if homes else ""
    sentence = (
        f"{target}: the state{kept}, {spoken_size(size)}. Keys are in it: keep it as they are kept."
    )
    return answer, "\n".join([sentence, *told.left_out])


def _moment(config: Config, directory: Path) -> Moment:
    # Before and after: a home that is packed in between is in the copy, one that is fetched not.
    hold_archives(config.state, directory)
    moment_of = directory / DATABASE
    copies.copy(database_of(config), moment_of)
    hold_archives(config.state, directory)
    return Moment(directory, copies.facts(moment_of))


async def _write(
    backup: Backup, file: BinaryIO, config: Config, moment: Moment, *, homes: bool
) -> Manifest:
    if not homes:
        return await backup.write(file, engine=None)
    async with _engine(moment.facts.instance, config) as engine:
        await engine.image_id(config.template.image)
        return await backup.write(file, engine=engine, image=config.template.image)


@contextmanager
def _whole(target: Path) -> Iterator[BinaryIO]:
    """A file that has its name once it is whole and on the disk. Raises `BackupUnusable`."""
    part = target.with_name(f".{target.name}.part")
    try:
        part.unlink(missing_ok=True)
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            part.rename(target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise BackupUnusable(f"{target}: cannot be written: {error.strerror}") from error


# ------------------------------------------------------------------------------------ restore


def restore(config_file: Path, source: Path, *, homes: bool) -> tuple[dict[str, Any], str]:
    """Bring a backup back; returns what programs and what people are told. Raises `DeskError`, and
    then nothing of it is anywhere.
    """
    os.umask(0o077)
    try:
        with source.open("rb") as file:
            reader = Reader(file)
            migrate.refuse_newer(reader.manifest.schema)
            config, text = _config(config_file, reader)
            answer = _restore(reader, config, homes=homes)
            if text is not None:
                _put(config_file, text)
    except OSError as error:
        raise BackupUnusable(f"{source}: cannot be read: {error.strerror}") from error
    except BackupUnusable as error:
        raise BackupUnusable(f"{source}: {error}") from error
    brought = _count(len(answer["homes"]), "home")
    older = answer["schema"] != migrate.head()
    sentences = [
        f"{config.state}: restored the backup of {reader.manifest.made_at}, with {brought}.",
        *(["Run `deskd migrate` before it is started: its schema is older."] if older else []),
        *([f"The configuration is in {config_file}."] if text is not None else []),
    ]
    return answer, "\n".join(sentences)


def _config(path: Path, reader: Reader) -> tuple[Config, bytes | None]:
    """The one that is there, else the backup's and its text, which is to be put there."""
    if path.exists():
        return load(path), None
    text = reader.content(CONFIG)
    try:
        return parse(text.decode(), str(path)), text
    except (UnicodeDecodeError, ConfigError) as error:
        raise BackupUnusable(
            f"its configuration cannot be used here; write one to {path} first ({error})"
        ) from error


def _restore(reader: Reader, config: Config, *, homes: bool) -> dict[str, Any]:
    if not config.state.exists():
        prepare(config.state)
    owner = owner_of(config.state, "restore")
    work = Restore(reader, config.state)
    with owner.acting(), StateLock(config.state / "lock", patience=SUCCESSION):
        demand_empty(config.state)
        try:
            facts = work.stage()
            with as_caller():
                brought = asyncio.run(_homes(work, reader, config, homes=homes, owner=owner))
        except BaseException:
            work.give_up_files()
            raise
    return {
        "state": str(config.state),
        "schema": facts.schema,
        "instance": facts.instance,
        "made_at": reader.manifest.made_at,
        "homes": brought,
    }


async def _homes(
    work: Restore, reader: Reader, config: Config, *, homes: bool, owner: Owner
) -> list[str]:
    """Bring what is on the engine, then all that was staged."""
    if not (homes and reader.manifest.homes):
        with owner.acting():
            await _commit(work, config)
        return []
    async with _engine(reader.manifest.instance, config) as engine:
        try:
            brought = await work.bring_homes(engine, image=config.template.image)
            with owner.acting():
                await _commit(work, config)
        except BaseException:
            await work.give_up_homes(engine)
            raise
    return list(brought)


async def _commit(work: Restore, config: Config) -> None:
    database = database_of(config)
    if isinstance(database, Path):
        work.commit()
    else:
        async with copying(work.database, database):
            work.commit(but=DATABASE)
    work.end()


def _put(path: Path, text: bytes) -> None:
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text)


# --------------------------------------------------------------------------------------- both


@asynccontextmanager
async def _engine(instance: str, config: Config) -> AsyncIterator[DockerEngine]:
    engine = DockerEngine(InstanceId(instance), base_url=config.engine.socket)
    try:
        yield engine
    finally:
        await engine.close()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
