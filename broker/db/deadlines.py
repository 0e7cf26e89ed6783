"""When the next step of a session's sleep is due, and all that ever changed it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select

from broker.core.errors import NotFound
from broker.core.model import Deadline
from broker.db import rows
from broker.db.tables import deadline, is_live, session

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.idle import Signal, Step
    from broker.core.model import SessionId
    from broker.db.transaction import Transaction


async def note_deadline(
    tx: Transaction,
    session_id: SessionId,
    *,
    step: Step | None,
    due_at: datetime | None,
    signal: Signal,
    reason: str,
) -> Deadline:
    known = await tx.connection.scalar(select(session.c.id).where(session.c.id == session_id))
    if known is None:
        raise NotFound(f"no session {session_id}")
    made = Deadline(
        session_id=session_id,
        at=tx.now,
        step=step,
        due_at=due_at,
        signal=signal,
        reason=reason,
        actor=tx.actor.name,
    )
    await tx.connection.execute(
        insert(deadline).values(
            session_id=session_id,
            at=made.at,
            step=step,
            due_at=due_at,
            signal=signal,
            reason=reason,
            actor=made.actor,
        )
    )
    return made


async def deadlines(
    connection: AsyncConnection, session_id: SessionId, *, limit: int
) -> Sequence[Deadline]:
    found = await connection.execute(
        select(deadline)
        .where(deadline.c.session_id == session_id)
        .order_by(deadline.c.seq.desc())
        .limit(limit)
    )
    return await rows.values(found, _deadline)


async def last_deadlines(connection: AsyncConnection, host: str) -> Sequence[Deadline]:
    # Asked of each live session, it is one step down an index; grouped, it reads every row of
    # sessions long ended.
    other = deadline.alias("other")
    newest = (
        select(func.max(other.c.seq))
        .where(other.c.session_id == session.c.id)
        .correlate(session)
        .scalar_subquery()
    )
    found = await connection.execute(
        select(deadline)
        .select_from(session)
        .join(deadline, deadline.c.seq == newest)
        .where(session.c.host == host, is_live)
        .order_by(deadline.c.seq)
    )
    return await rows.values(found, _deadline)


def _deadline(row: Row[*tuple[Any, ...]]) -> Deadline:
    return Deadline(
        session_id=row.session_id,
        at=row.at,
        step=row.step,
        due_at=row.due_at,
        signal=row.signal,
        reason=row.reason,
        actor=row.actor,
    )
