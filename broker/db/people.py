"""The rows of users, as all modules that change something of theirs read and hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from broker.core.errors import NotFound
from broker.core.model import User, UserId
from broker.db.tables import user

if TYPE_CHECKING:
    from sqlalchemy import Row

    from broker.db.transaction import Transaction


async def hold_user(tx: Transaction, user_id: UserId) -> User:
    """The unremoved user, who stays so until the transaction ends; raises `NotFound`.

    Whatever a transaction changes of a user's, it holds the user first: two that hold each other's
    rows would wait for ever.
    """
    found = await tx.connection.execute(
        select(user).where(user.c.id == user_id, user.c.removed_at.is_(None)).with_for_update()
    )
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"no user {user_id}", public="There is no such user.")
    return user_of(row)


def user_of(row: Row[*tuple[Any, ...]]) -> User:
    return User(
        id=UserId(row.id),
        name=row.name,
        admin=row.admin,
        enabled=row.enabled,
        created_at=row.created_at,
        source=row.source,
    )
