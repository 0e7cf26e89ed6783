"""What was changed, when and by whom: read here, written by each transaction itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import select

from broker.core.model import AuditEntry
from broker.db.tables import audit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


async def entries(
    connection: AsyncConnection, *, limit: int, subject: str | None
) -> Sequence[AuditEntry]:
    query = select(audit).order_by(audit.c.seq.desc()).limit(limit)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    rows = await connection.execute(query)
    return [
        AuditEntry(
            seq=row.seq,
            at=row.at,
            actor=row.actor,
            action=row.action,
            subject=row.subject,
            detail=row.detail,
        )
        for row in rows
    ]
