"""Opening the state for use: sound, writable, and of exactly the schema that this code knows."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from broker.core.errors import StateUnusable
from broker.db import migrate, sqlite

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncEngine


async def connect(path: Path) -> AsyncEngine:
    """Open the state for `SqlStore`; raises `StateUnusable` with what to do about it."""
    await asyncio.to_thread(sqlite.check, path)
    engine = sqlite.open_engine(path)
    try:
        await _check_schema(engine, path)
    except BaseException:
        await engine.dispose()
        raise
    return engine


async def _check_schema(engine: AsyncEngine, path: Path) -> None:
    version = await migrate.current(engine)
    migrate.refuse_newer(version)
    if version != migrate.head():
        raise StateUnusable(
            f"the state at {path} has schema {version or 'none'}, and this Desk wants"
            f" {migrate.head()}: run `deskd migrate`"
        )
