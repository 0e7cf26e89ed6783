"""deskd copy-database: the state moves to another database, and is looked at there."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from broker.cli.owner import owner_of
from broker.config.database import postgres
from broker.core.errors import BadRequest, StateUnusable
from broker.db import migrate, sqlite
from broker.db.connect import connect
from broker.db.copying import copying
from broker.db.place import AUDIT_KEY
from broker.db.postgres import Postgres
from broker.db.store import SqlStore
from broker.system.auditkey import AuditKey
from broker.system.clock import SystemClock
from broker.system.lock import SUCCESSION, StateLock

if TYPE_CHECKING:
    from broker.config import Config
    from broker.core.model import Verification
    from broker.db.copying import Copied
    from broker.db.place import Database


def copy(
    config: Config, source: str, target: str, *, password: Path | None
) -> tuple[dict[str, Any], str]:
    """Returns what programs and what people are told. Raises `DeskError`, and then the target holds
    nothing.
    """
    one, other = (_database(text, config, password) for text in (source, target))
    if isinstance(other, Path) and other.exists():
        raise StateUnusable(public=f"{other}: is there already; name a new file.")
    owner = owner_of(config.state, "copy-database")
    with owner.acting(), StateLock(config.state / "lock", patience=SUCCESSION):
        if isinstance(one, Path):
            sqlite.check(one)
        key = AuditKey(config.state / AUDIT_KEY)
        if isinstance(other, Path):
            with sqlite.settled(other) as part:
                copied, found = asyncio.run(_copy(one, part, key.secret))
                sqlite.fold(part)
        else:
            copied, found = asyncio.run(_copy(one, other, key.secret))
    rows = sum(copied.rows.values())
    answer = {
        "from": str(one),
        "to": str(other),
        "schema": copied.schema,
        "rows": copied.rows,
        "audit": {"entries": found.entries, "problem": found.problem},
    }
    chain = found.problem or f"its {found.entries} entries are as they were written"
    setting = "no 'database'" if isinstance(other, Path) else f"'database: {other}'"
    return answer, (
        f"{other}: {rows} rows in {len(copied.rows)} tables are what they were in {one}.\n"
        f"The audit there: {chain}.\n"
        f"Set {setting} in the configuration before you start Desk."
    )


def _database(text: str, config: Config, password: Path | None) -> Database:
    if "://" not in text:
        return Path(text).absolute()
    try:
        url = postgres(text)
    except ValueError as error:
        raise BadRequest(public=f"{text}: {error}.") from None
    if password is None and url == config.database:
        password = config.database_password
    return Postgres(url, password, config.state)


async def _copy(source: Database, target: Database, key: bytes) -> tuple[Copied, Verification]:
    """The audit is walked along on both sides: what is wrong with it was wrong before."""
    before = await _verified(source, key)
    async with copying(source, target) as copied:
        if copied.schema != migrate.head():
            raise StateUnusable(f"the state at {source} has another schema: run `deskd migrate`")
    after = await _verified(target, key)
    if after != before:
        raise StateUnusable(f"the audit at {target} is not what it was: {after.problem}")
    return copied, after


async def _verified(database: Database, key: bytes) -> Verification:
    store = SqlStore(await connect(database), SystemClock(), key)
    try:
        return await store.verify_audit()
    finally:
        await store.close()
