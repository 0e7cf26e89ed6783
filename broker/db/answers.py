"""Answers that are kept for whoever asks the same again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update

from broker.core.errors import CapacityExhausted
from broker.core.tokens import KeptAnswer
from broker.db.tables import answer

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import ColumnElement

    from broker.db.transaction import Transaction


async def begin(
    tx: Transaction, caller: str, key: str, request: str, *, since: datetime, most: int
) -> KeptAnswer | None:
    await tx.connection.execute(delete(answer).where(answer.c.at < since))
    row = (await tx.connection.execute(select(answer).where(_is(caller, key)))).one_or_none()
    if row is not None:
        return KeptAnswer(
            request=row.request, status=row.status, location=row.location, body=row.body
        )
    count = await tx.connection.scalar(
        select(func.count()).select_from(answer).where(answer.c.caller == caller)
    )
    if (count or 0) >= most:
        raise CapacityExhausted(
            f"{caller} has {most} answers kept",
            public="You have too many calls with an Idempotency-Key today.",
        )
    values = {"caller": caller, "key": key, "request": request, "at": tx.now}
    await tx.connection.execute(insert(answer).values(values))
    return None


async def finish(
    tx: Transaction,
    caller: str,
    key: str,
    *,
    status: int,
    location: str | None,
    body: str | None,
) -> None:
    await tx.connection.execute(
        update(answer).where(_is(caller, key)).values(status=status, location=location, body=body)
    )


async def drop(tx: Transaction, caller: str, key: str) -> None:
    await tx.connection.execute(delete(answer).where(_is(caller, key)))


def _is(caller: str, key: str) -> ColumnElement[bool]:
    return (answer.c.caller == caller) & (answer.c.key == key)
