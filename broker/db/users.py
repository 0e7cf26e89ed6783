"""Users: added, disabled, removed with all that is theirs but their homes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select, update

from broker.core.model import User, UserId, new_id
from broker.db import (
    credentials,
    desktops,
    groups,
    invites,
    keys,
    people,
    rows,
    shares,
    signins,
    tokens,
    vouched,
)
from broker.db.tables import desktop, user

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.db.transaction import Transaction


async def add_user(tx: Transaction, name: str, *, admin: bool, source: str) -> User:
    made = User(
        id=UserId(new_id()),
        name=name,
        admin=admin,
        enabled=True,
        created_at=tx.now,
        source=source,
    )
    await tx.connection.execute(
        insert(user).values(
            id=made.id,
            name=name,
            admin=admin,
            enabled=True,
            created_at=made.created_at,
            source=source,
        )
    )
    tx.record("user.add", made.id, {"name": name, "admin": admin, "source": source})
    return made


async def remove_user(tx: Transaction, user_id: UserId) -> None:
    found = await people.hold_user(tx, user_id)
    owned = await tx.connection.scalars(
        select(desktop.c.id)
        .where(desktop.c.user_id == user_id, desktop.c.removed_at.is_(None))
        .order_by(desktop.c.name)
    )
    for desktop_id in owned.all():
        await desktops.remove_desktop(tx, desktop_id)
    await keys.forget(tx, user_id)
    await credentials.forget(tx, user_id)
    await invites.forget(tx, user_id)
    await tokens.forget(tx, user_id)
    await signins.forget(tx, user_id)
    await vouched.forget(tx, user_id)
    await groups.forget(tx, user_id)
    await tx.connection.execute(
        update(user).where(user.c.id == user_id).values(removed_at=tx.now, enabled=False)
    )
    tx.record("user.remove", user_id, {"name": found.name, "admin": found.admin})


async def set_enabled(tx: Transaction, user_id: UserId, *, enabled: bool) -> None:
    found = await people.hold_user(tx, user_id)
    if found.enabled == enabled:
        return
    await tx.connection.execute(update(user).where(user.c.id == user_id).values(enabled=enabled))
    if not enabled:
        await signins.forget(tx, user_id)
        await shares.end_of_user(tx, user_id, why=shares.OWNER_GONE)
    action = "user.enable" if enabled else "user.disable"
    tx.record(action, user_id, {"name": found.name})


async def set_admin(tx: Transaction, user_id: UserId, *, admin: bool) -> None:
    found = await people.hold_user(tx, user_id)
    if found.admin == admin:
        return
    await tx.connection.execute(update(user).where(user.c.id == user_id).values(admin=admin))
    tx.record("user.admin", user_id, {"name": found.name, "before": found.admin, "after": admin})


async def user_named(connection: AsyncConnection, name: str) -> User | None:
    return await _one_user(connection, user.c.name == name, user.c.removed_at.is_(None))


async def user_by_id(connection: AsyncConnection, user_id: UserId) -> User | None:
    return await _one_user(connection, user.c.id == user_id)


async def users(connection: AsyncConnection) -> Sequence[User]:
    found = await connection.execute(
        select(user).where(user.c.removed_at.is_(None)).order_by(user.c.name)
    )
    return await rows.values(found, people.user_of)


async def _one_user(connection: AsyncConnection, *where: ColumnElement[bool]) -> User | None:
    found = await connection.execute(select(user).where(*where))
    row = found.one_or_none()
    return None if row is None else people.user_of(row)
