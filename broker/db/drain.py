"""The maintenance that is announced, if one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from broker.core.model import Drain
from broker.db.tables import drain as table

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.db.transaction import Transaction


async def drain(connection: AsyncConnection) -> Drain | None:
    row = (await connection.execute(select(table))).one_or_none()
    if row is None:
        return None
    return Drain(since=row.since, made_by=row.made_by, at=row.at, message=row.message)


async def begin(tx: Transaction, *, at: datetime | None, message: str) -> Drain:
    """Announce it, in the place of one that was before."""
    before = await drain(tx.connection)
    made = Drain(
        since=tx.now if before is None else before.since,
        made_by=tx.actor.name,
        at=at,
        message=message,
    )
    if before is not None and (before.at, before.message) == (at, message):
        return before
    await tx.connection.execute(delete(table))
    await tx.connection.execute(
        insert(table).values(
            number=1, since=made.since, made_by=made.made_by, at=at, message=message
        )
    )
    detail = {"at": None if at is None else at.isoformat(), "message": bool(message)}
    tx.record("maintenance.drain", "desk", detail)
    return made


async def end(tx: Transaction) -> None:
    """Nothing stands any more."""
    gone = await tx.connection.execute(delete(table))
    if gone.rowcount:
        tx.record("maintenance.resume", "desk", {})
