"""Opening the state for use: sound, writable, and of exactly the schema that this code knows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from broker.core.errors import StateUnusable
from broker.db import migrate, sqlite
from broker.db.place import open_engine

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from broker.db.place import Database


async def connect(database: Database) -> AsyncEngine:
    """Open the state for `SqlStore`; raises `StateUnusable` with what to do about it."""
    if isinstance(database, Path):
        await asyncio.to_thread(sqlite.check, database)
    engine = open_engine(database)
    try:
        await _check_schema(engine, database)
    except BaseException:
        await engine.dispose()
        raise
    return engine


async def _check_schema(engine: AsyncEngine, database: Database) -> None:
    version = await migrate.current(engine)
    migrate.refuse_newer(version)
    if version != migrate.head():
        raise StateUnusable(
            f"the state at {database} has schema {version or 'none'}, and this Desk wants"
            f" {migrate.head()}: run `deskd migrate`"
        )
