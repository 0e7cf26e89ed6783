"""The state in one SQLite file: how it is opened, protected and copied."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, event
from sqlalchemy.ext.asyncio import create_async_engine

from broker.core.errors import StateUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

#: The execution option of a connection whose transactions write.
WRITES = "desk_writes"

#: How long a writer waits for another process, in milliseconds.
BUSY_TIMEOUT = 5000


def open_engine(path: Path, *, foreign_keys: bool = True) -> AsyncEngine:
    """An engine over the file, which must exist; nothing is read yet."""
    # The driver must not begin transactions of its own: it would begin them late and deferred.
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)),
        connect_args={"isolation_level": None},
        pool_size=8,
        max_overflow=0,
        hide_parameters=True,  # of an error's text: hashes, secrets
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A reader asks one statement, which is a transaction of its own. A writer takes the lock
        # at once: one that reads first and is refused the lock later cannot wait for it.
        if connection.get_execution_options().get(WRITES):
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def create(path: Path) -> None:
    """Make the file, for its owner's eyes alone; one that is there keeps what it holds."""
    with complaints(path):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        path.chmod(0o600)


def check(path: Path) -> None:
    """Raise `StateUnusable` unless the file is there, can be written, and is sound throughout."""
    if not path.exists():
        raise StateUnusable(f"there is no state at {path} yet: run `deskd migrate`")
    with complaints(path):
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT / 1000)) as connection:
            (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StateUnusable(f"the state at {path} is damaged: {verdict}")


def back_up(path: Path, version: str) -> Path:
    """Copy the state, whose schema has that version, to `NAME.VERSION.backup` beside it, in place of
    the last such copy.
    """
    copy = path.with_name(f"{path.name}.{version}.backup")
    with (
        settled(copy) as part,
        complaints(path),
        closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT / 1000)) as connection,
    ):
        connection.execute("VACUUM INTO ?", (str(part),))
    return copy


@contextmanager
def settled(path: Path) -> Iterator[Path]:
    """An empty file beside, for its owner's eyes alone, that takes the place of `path` at the end,
    and goes where it comes to none. Raises `StateUnusable`.
    """
    part = path.with_name(f"{path.name}-part")
    with complaints(path):
        part.unlink(missing_ok=True)
    create(part)
    try:
        yield part
        with complaints(path):
            part.replace(path)
            _settle(path.parent)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def fold(path: Path) -> None:
    """Make it one file, with nothing beside it; nobody has it open."""
    with complaints(path), closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def _settle(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def complaints(path: Path) -> Iterator[None]:
    """Turn what SQLite and the system say of the file into `StateUnusable`."""
    try:
        yield
    except OSError as error:
        raise StateUnusable(f"the state at {path} cannot be used: {error.strerror}") from error
    except sqlite3.Error as error:
        raise StateUnusable(f"the state at {path} cannot be used: {error}") from error
