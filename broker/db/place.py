"""Where a state is: in a file of SQLite's, or in a database of PostgreSQL's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from broker.db import postgres, sqlite
from broker.db.postgres import Postgres

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from broker.config import Config

Database: TypeAlias = Path | Postgres

#: The file of SQLite's in a state, and that of the audit's key, which no database holds.
SQLITE, AUDIT_KEY = "desk.db", "audit.key"


def database_of(config: Config) -> Database:
    if config.database is None:
        return config.state / SQLITE
    return Postgres(config.database, config.database_password, config.state)


def audit_key_of(database: Database) -> Path:
    if isinstance(database, Postgres):
        return database.state / AUDIT_KEY
    return database.with_name(AUDIT_KEY)


def open_engine(database: Database, *, alone: bool = False) -> AsyncEngine:
    """For schemas and whole tables, where `alone`; nothing is read yet. SQLite's file must exist."""
    if isinstance(database, Postgres):
        return postgres.open_engine(database, alone=alone)
    return sqlite.open_engine(database, foreign_keys=not alone)
