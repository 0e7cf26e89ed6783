"""The schema's versions: what the state has, what this code wants, and the way from one to the
other.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

import broker
from broker.core.errors import StateUnusable
from broker.db import sqlite
from broker.db.place import SQLITE, open_engine
from broker.db.transaction import complaints

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

    from broker.db.place import Database


def head() -> str:
    """The version that this code reads and writes."""
    (version,) = ScriptDirectory(str(_scripts())).get_heads()
    return version


async def current(engine: AsyncEngine) -> str | None:
    """The version that the state has; None for an empty one."""

    def ask(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    with complaints():
        async with engine.connect() as connection:
            return await connection.run_sync(ask)


class Migrated(NamedTuple):
    """What a migration did."""

    before: str | None
    """The version that the state had; None: it was empty."""
    after: str
    backup: Path | None
    """The copy of what was there before; None where nothing was changed."""


async def migrate(database: Database) -> Migrated:
    """Bring the state to this code's version, making it if need be, each step whole or absent.
    State that had a version is copied first, to a file of SQLite's that is named for it. Raises
    `StateUnusable`. Repeating it changes nothing.
    """
    if isinstance(database, Path):
        await asyncio.to_thread(sqlite.create, database)
        await asyncio.to_thread(sqlite.check, database)
    # A step may rebuild a table that others refer to; references are checked before it commits.
    engine = open_engine(database, alone=True)
    try:
        before = await current(engine)
        if before == head():
            return Migrated(before, before, None)
        refuse_newer(before)
        backup = None
        if before is not None:
            backup = await _back_up(database, before)
        await run(engine, lambda config: command.upgrade(config, "head"))
        return Migrated(before, head(), backup)
    finally:
        await engine.dispose()


async def _back_up(database: Database, version: str) -> Path:
    if isinstance(database, Path):
        return await asyncio.to_thread(sqlite.back_up, database, version)
    from broker.db.copying import to_file

    with sqlite.settled(database.state / f"{SQLITE}.{version}.backup") as part:
        await to_file(database, part)
    return database.state / f"{SQLITE}.{version}.backup"


async def run(engine: AsyncEngine, step: Callable[[Config], None]) -> None:
    """Run one of Alembic's commands over the engine."""
    writer = engine.execution_options(**{sqlite.WRITES: True})
    with complaints():
        async with writer.connect() as connection:
            await connection.run_sync(run_on, step)


def run_on(connection: Connection, step: Callable[[Config], None]) -> None:
    """Run one of Alembic's commands, within the connection's transaction where it is in one."""
    config = Config()
    config.set_main_option("script_location", str(_scripts()))
    config.attributes["connection"] = connection
    step(config)


def refuse_newer(version: str | None) -> None:
    """Raise `StateUnusable` for a version that this code has never heard of."""
    known = {script.revision for script in ScriptDirectory(str(_scripts())).walk_revisions()}
    if version is not None and version not in known:
        raise StateUnusable(
            f"the state has schema {version}, made by a newer Desk than this one, which knows {head()}"
        )


def _scripts() -> Path:
    """Inside an installed package, or at the top level of a source tree."""
    package = Path(broker.__file__).parent
    installed = package / "migrations"
    return installed if installed.is_dir() else package.parent / "migrations"
