"""The state, opened for use together with the key of its audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.db import postgres
from broker.db.connect import connect
from broker.db.place import audit_key_of
from broker.db.postgres import Postgres
from broker.db.store import SqlStore
from broker.system.auditkey import AuditKey

if TYPE_CHECKING:
    from broker.core.interfaces import Clock
    from broker.db.place import Database

log = structlog.get_logger()


async def open_store(database: Database, clock: Clock) -> SqlStore:
    """Open the database, whose audit is chained from now on; the caller closes it. Raises
    `StateUnusable` with what to do about it, also while another host's broker has the database.
    """
    engine = await connect(database)
    hold = None
    try:
        if isinstance(database, Postgres):
            hold = await postgres.hold(engine, database)
        key = AuditKey(audit_key_of(database))
        store = SqlStore(engine, clock, key.secret, hold=hold)
        broken = await store.open_audit(new_key=key.new)
        key.keep()
    except BaseException:
        if hold is not None:
            await hold.close()
        await engine.dispose()
        raise
    if broken is not None:
        log.error("the audit is not whole", why=broken)
    return store
