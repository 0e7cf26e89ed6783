"""The state, opened for use together with the key of its audit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from broker.db.connect import connect
from broker.db.store import SqlStore
from broker.system.auditkey import AuditKey

if TYPE_CHECKING:
    from pathlib import Path

    from broker.core.interfaces import Clock

log = structlog.get_logger()

#: The file beside the database.
AUDIT_KEY = "audit.key"


async def open_store(path: Path, clock: Clock) -> SqlStore:
    """Open the database at `path`, whose audit is chained from now on; the caller closes it. Raises
    `StateUnusable` with what to do about it.
    """
    engine = await connect(path)
    try:
        key = AuditKey(path.with_name(AUDIT_KEY))
        store = SqlStore(engine, clock, key.secret)
        broken = await store.open_audit(new_key=key.new)
        key.keep()
    except BaseException:
        await engine.dispose()
        raise
    if broken is not None:
        log.error("the audit is not whole", why=broken)
    return store
