"""What was changed, when and by whom: read here, written by each transaction itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from broker.core.model import AuditEntry
from broker.db import rows
from broker.db.tables import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection


async def entries(
    connection: AsyncConnection,
    *,
    limit: int,
    subject: str | None,
    actor: str | None,
    before: int | None,
) -> Sequence[AuditEntry]:
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    if actor is not None:
        query = query.where(audit.c.actor == actor)
    if before is not None:
        query = query.where(audit.c.seq < before)
    return await rows.values(await connection.execute(query), _entry)


def _entry(row: Row[*tuple[Any, ...]]) -> AuditEntry:
    return AuditEntry(
        seq=row.seq,
        at=row.at,
        actor=row.actor,
        proof=row.proof,
        origin=row.origin,
        action=row.action,
        subject=row.subject,
        detail=row.detail,
        hash=row.hash,
    )
