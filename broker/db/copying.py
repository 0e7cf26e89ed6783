"""Whole states from one database to another, whatever kind each is: all rows of one moment, compared
before they count.
"""

from __future__ import annotations

import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from alembic import command
from sqlalchemy import MetaData, delete, func, insert, inspect, select, text

from broker.core.errors import StateUnusable
from broker.db import migrate, sqlite
from broker.db.place import open_engine
from broker.db.transaction import complaints

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Row, Table
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from broker.db.place import Database

#: Rows that are read and written at a time.
_MANY = 500

_VERSION = "alembic_version"


class Copied(NamedTuple):
    """What was copied."""

    schema: str
    rows: dict[str, int]
    """Of each table."""


@asynccontextmanager
async def copying(source: Database, target: Database) -> AsyncIterator[Copied]:
    """All of the source, at one moment, in the target, which must be there and hold nothing. It
    counts once the block is over, and what is raised there leaves nothing. Raises `StateUnusable`,
    also for a source of a schema that this code does not know.
    """
    one, other = open_engine(source, alone=True), open_engine(target, alone=True)
    try:
        version = await migrate.current(one)
        if version is None:
            raise StateUnusable(f"the state at {source} is empty")
        migrate.refuse_newer(version)
        with complaints():
            async with _moment(one) as reading, _writer(other).begin() as writing:
                await writing.run_sync(_demand_empty, str(target))
                await writing.run_sync(
                    migrate.run_on, lambda config: command.upgrade(config, version)
                )
                yield Copied(version, await _copy(reading, writing))
    finally:
        await one.dispose()
        await other.dispose()


async def to_file(source: Database, path: Path) -> Copied:
    """Likewise, to an empty file of SQLite's that stays one file."""
    async with copying(source, path) as copied:
        pass
    sqlite.fold(path)
    return copied


def _writer(engine: AsyncEngine) -> AsyncEngine:
    return engine.execution_options(**{sqlite.WRITES: True})


@asynccontextmanager
async def _moment(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection that sees nothing of what others write from its first look on."""
    async with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            await connection.exec_driver_sql("BEGIN")
        else:
            connection = await connection.execution_options(  # noqa: PLW2901 - the same
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )
        yield connection


def _demand_empty(connection: Connection, name: str) -> None:
    if inspect(connection).get_table_names():
        raise StateUnusable(public=f"{name}: there is something in it; name an empty database.")


async def _copy(source: AsyncConnection, target: AsyncConnection) -> dict[str, int]:
    # As the databases themselves say: a schema can be older than the tables that this code knows.
    old, new = MetaData(), MetaData()
    await source.run_sync(old.reflect)
    await target.run_sync(new.reflect)
    tables = [table for table in new.sorted_tables if table.name != _VERSION]
    for table in reversed(tables):
        # What the migrations put there themselves.
        if await target.scalar(select(func.count()).select_from(table)):
            await target.execute(delete(table))
    counts = {}
    for table in tables:
        names = sorted(column.name for column in table.columns)
        read, found = _Sum(), _Sum()
        async for page in _pages(source, old.tables[table.name], names):
            read.add(page)
            rows = [dict(zip(names, row, strict=True)) for row in page]
            await target.execute(insert(table), rows)
        async for page in _pages(target, table, names):
            found.add(page)
        if read != found:
            raise StateUnusable(f"the table {table.name} is not what was copied there")
        counts[table.name] = read.rows
        await _go_on_counting(target, table)
    return counts


async def _pages(
    connection: AsyncConnection, table: Table, names: Sequence[str]
) -> AsyncIterator[Sequence[Row[*tuple[Any, ...]]]]:
    found = await connection.stream(select(*(table.c[name] for name in names)))
    async for page in found.partitions(_MANY):
        yield page


@dataclass(slots=True)
class _Sum:
    """How many rows, and one number over all of them, in whatever order they come: the databases
    have orders of their own.
    """

    rows: int = 0
    total: int = 0

    def add(self, page: Sequence[Row[*tuple[Any, ...]]]) -> None:
        self.rows += len(page)
        for row in page:
            digest = hashlib.sha256(repr(tuple(row)).encode()).digest()
            self.total = (self.total + int.from_bytes(digest)) % (1 << 256)


async def _go_on_counting(connection: AsyncConnection, table: Table) -> None:
    """PostgreSQL counts apart from the rows; SQLite goes by them."""
    key = table.autoincrement_column
    if connection.dialect.name != "postgresql" or key is None:
        return
    names = {"t": connection.dialect.identifier_preparer.format_table(table), "c": key.name}
    sequence = await connection.scalar(text("SELECT pg_get_serial_sequence(:t, :c)"), names)
    last = await connection.scalar(select(func.max(key)))
    if sequence is not None and last is not None:
        await connection.execute(text("SELECT setval(:s, :n)"), {"s": sequence, "n": last})
