"""A copy of the state while others write it, and what has to go with such a copy."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from broker.core.errors import StateUnusable
from broker.db import migrate, sqlite
from broker.db.copying import to_file
from broker.db.tables import guest, share, sign_in, sign_in_link

if TYPE_CHECKING:
    from broker.db.place import Database

#: What lets browsers in without anything that their people know or have.
_OPENINGS = (guest, share, sign_in_link, sign_in)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a state says of itself."""

    schema: str
    instance: str
    live: frozenset[str]
    """Sessions that have not ended: their keys belong to the state."""
    homes: tuple[str, ...]
    """Desktops whose home is on the engine."""
    archives: dict[str, str]
    """Desktops whose home is packed away, and the SHA-256 of the file."""


def copy(database: Database, target: Path) -> None:
    """Copy the state as it is at one moment to a new file of SQLite's; nobody waits for that. No
    loop runs where this is called. Raises `StateUnusable`.
    """
    sqlite.create(target)
    if isinstance(database, Path):
        _copy_file(database, target)
    else:
        asyncio.run(to_file(database, target))


def _copy_file(path: Path, target: Path) -> None:
    if not path.exists():
        raise StateUnusable(f"there is no state at {path} yet: run `deskd migrate`")
    with (
        sqlite.complaints(path),
        closing(sqlite3.connect(path, timeout=sqlite.BUSY_TIMEOUT / 1000)) as connection,
        closing(sqlite3.connect(target)) as other,
    ):
        # In one go: a copy in steps begins anew whenever somebody writes in between.
        connection.backup(other, pages=-1)
        other.execute("PRAGMA journal_mode = DELETE")
        (verdict,) = other.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise StateUnusable(f"the state at {path} is damaged: {verdict}")


def shut(path: Path) -> None:
    """Forget which browsers are signed in, and who may look at what, in a state that nobody writes,
    of any schema: some of it was ended since the copy was made, and nobody knows what. Raises
    `StateUnusable`.
    """
    with sqlite.complaints(path), closing(sqlite3.connect(path)) as connection, connection:
        there = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
        for table in _OPENINGS:
            if table.name in there:
                connection.execute(f"DELETE FROM {table.name}")  # noqa: S608 - one of ours


def facts(path: Path) -> Facts:
    """Of a state that nobody writes, of any schema that this code knows. Raises `StateUnusable`."""
    with (
        sqlite.complaints(path),
        closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
    ):
        version = _version(connection)
        if version is None:
            raise StateUnusable(f"the state at {path} is empty: run `deskd migrate`")
        instance = connection.execute("SELECT id FROM instance").fetchone()
        live = connection.execute("SELECT id FROM session WHERE state != 'ended'").fetchall()
        columns = {row[1] for row in connection.execute("PRAGMA table_info(desktop)")}
        archives = []
        here = "home_made_at IS NOT NULL"
        if "archived_at" in columns:
            here += " AND archived_at IS NULL"
            archives = connection.execute(
                "SELECT id, archive_sha256 FROM desktop WHERE archived_at IS NOT NULL"
            ).fetchall()
        homes = connection.execute(f"SELECT id FROM desktop WHERE {here} ORDER BY id").fetchall()  # noqa: S608 - one of two texts
    migrate.refuse_newer(version)
    return Facts(
        schema=version,
        instance="" if instance is None else instance[0],
        live=frozenset(row[0] for row in live),
        homes=tuple(row[0] for row in homes),
        archives=dict(archives),
    )


def _version(connection: sqlite3.Connection) -> str | None:
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:
        return None
    return None if row is None else str(row[0])
