"""Whom a provider of sign-ins means by its own lasting word for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert, select

from broker.core.errors import Conflict, NotFound
from broker.db import people
from broker.db.tables import user, vouched

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.model import User, UserId
    from broker.db.transaction import Transaction


async def user_vouched(connection: AsyncConnection, source: str, subject: str) -> User | None:
    found = await connection.execute(
        select(user)
        .join(vouched, vouched.c.user_id == user.c.id)
        .where(vouched.c.source == source, vouched.c.subject == subject)
    )
    row = found.one_or_none()
    return None if row is None else people.user_of(row)


async def vouch(tx: Transaction, user_id: UserId, *, source: str, subject: str) -> None:
    await people.hold_user(tx, user_id)
    known = await tx.connection.scalar(
        select(vouched.c.subject).where(vouched.c.user_id == user_id, vouched.c.source == source)
    )
    if known == subject:
        return
    if known is not None:
        raise elsewhere(source)
    await tx.connection.execute(
        insert(vouched).values(source=source, subject=subject, user_id=user_id, since=tx.now)
    )
    tx.record("user.bind", user_id, {"source": source, "subject": subject})


async def unbind(tx: Transaction, user_id: UserId) -> Sequence[str]:
    await people.hold_user(tx, user_id)
    gone = await _delete(tx, user_id)
    if not gone:
        raise NotFound(f"{user_id} is bound to nobody", public="No provider's account is bound.")
    return gone


async def forget(tx: Transaction, user_id: UserId) -> None:
    """Take away all of a user's; the caller holds the user."""
    await _delete(tx, user_id)


async def _delete(tx: Transaction, user_id: UserId) -> Sequence[str]:
    gone = await tx.connection.scalars(
        delete(vouched).where(vouched.c.user_id == user_id).returning(vouched.c.source)
    )
    sources = sorted(gone.all())
    for source in sources:
        tx.record("user.unbind", user_id, {"source": source})
    return sources


def elsewhere(source: str) -> Conflict:
    return Conflict(
        f"somebody else of {source} is that user",
        public="Another account of the provider is that user here.",
    )
