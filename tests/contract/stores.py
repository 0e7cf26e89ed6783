"""The databases over which the store's contract is held: add a `Place` here to hold it there too."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Protocol

from broker.core.interfaces import Clock
from broker.core.pools import Pool, Pools
from broker.db.connect import connect
from broker.db.migrate import migrate
from broker.db.store import SqlStore
from tests.contract.postgres import AUDIT_KEY, PostgresDatabase

HOST = "host-a"

POOLS = Pools(
    ports=Pool(20000, 20099),
    displays=Pool(1000, 1099),
    addresses=Pool(0x0A000002, 0x0A000065),
    uids=Pool(200000, 200099),
)


class Place(Protocol):
    """One database, empty at first, that any number of stores can open."""

    async def open(self, clock: Clock) -> SqlStore: ...


class SqliteFile:
    def __init__(self, directory: Path) -> None:
        self.path = directory / "state.db"
        self.copy(self.path)

    async def open(self, clock: Clock) -> SqlStore:
        return SqlStore(await connect(self.path), clock, AUDIT_KEY)

    @staticmethod
    def copy(path: Path) -> None:
        shutil.copy(_migrated(), path)


PLACES = {"sqlite": SqliteFile, "postgresql": PostgresDatabase}


@cache
def _migrated() -> Path:
    """Made once: a migration costs more than a whole test."""
    path = Path(tempfile.mkdtemp(prefix="desk-test-")) / "empty.db"
    atexit.register(shutil.rmtree, path.parent, ignore_errors=True)
    asyncio.run(migrate(path))
    return path
