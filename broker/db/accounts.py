"""Users, their keys, and the installation's own id."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from broker.core.errors import Conflict, NotFound
from broker.core.model import InstanceId, Key, User, UserId, new_id
from broker.db import desktops, rows
from broker.db.tables import desktop as desktop_table
from broker.db.tables import instance as instance_table
from broker.db.tables import user, user_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.db.transaction import Transaction


async def instance(connection: AsyncConnection) -> InstanceId | None:
    found: str | None = await connection.scalar(select(instance_table.c.id))
    return None if found is None else InstanceId(found)


async def make_instance(tx: Transaction) -> InstanceId:
    found = await instance(tx.connection)
    if found is not None:
        return found
    made = InstanceId(new_id())
    await tx.connection.execute(insert(instance_table).values(number=1, id=made))
    await tx.record("instance.create", made, {})
    return made


async def add_user(tx: Transaction, name: str, *, admin: bool) -> User:
    made = User(id=UserId(new_id()), name=name, admin=admin, enabled=True, created_at=tx.now)
    await tx.connection.execute(
        insert(user).values(
            id=made.id, name=name, admin=admin, enabled=True, created_at=made.created_at
        )
    )
    await tx.record("user.add", made.id, {"name": name, "admin": admin})
    return made


async def remove_user(tx: Transaction, user_id: UserId) -> None:
    found = await hold_user(tx, user_id)
    owned = await tx.connection.scalars(
        select(desktop_table.c.id)
        .where(desktop_table.c.user_id == user_id, desktop_table.c.removed_at.is_(None))
        .order_by(desktop_table.c.name)
    )
    for desktop_id in owned.all():
        await desktops.remove_desktop(tx, desktop_id)
    for key in await keys(tx.connection, user_id):
        await remove_key(tx, user_id, key.fingerprint)
    await tx.connection.execute(
        update(user).where(user.c.id == user_id).values(removed_at=tx.now, enabled=False)
    )
    await tx.record("user.remove", user_id, {"name": found.name, "admin": found.admin})


async def set_enabled(tx: Transaction, user_id: UserId, *, enabled: bool) -> None:
    found = await hold_user(tx, user_id)
    if found.enabled == enabled:
        return
    await tx.connection.execute(update(user).where(user.c.id == user_id).values(enabled=enabled))
    action = "user.enable" if enabled else "user.disable"
    await tx.record(action, user_id, {"name": found.name})


async def hold_user(tx: Transaction, user_id: UserId) -> User:
    """The unremoved user, who stays so until the transaction ends; raises `NotFound`."""
    found = await tx.connection.execute(
        select(user).where(user.c.id == user_id, user.c.removed_at.is_(None)).with_for_update()
    )
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"no user {user_id}", public="There is no such user.")
    return _user(row)


async def user_named(connection: AsyncConnection, name: str) -> User | None:
    return await _one_user(connection, user.c.name == name, user.c.removed_at.is_(None))


async def user_by_id(connection: AsyncConnection, user_id: UserId) -> User | None:
    return await _one_user(connection, user.c.id == user_id)


async def user_of_key(connection: AsyncConnection, fingerprint: str) -> User | None:
    return await _one_user(
        connection,
        user.c.id
        == select(user_key.c.user_id)
        .where(user_key.c.fingerprint == fingerprint)
        .scalar_subquery(),
        user.c.enabled,
        user.c.removed_at.is_(None),
    )


async def users(connection: AsyncConnection) -> Sequence[User]:
    found = await connection.execute(
        select(user).where(user.c.removed_at.is_(None)).order_by(user.c.name)
    )
    return await rows.values(found, _user)


async def add_key(
    tx: Transaction, user_id: UserId, *, fingerprint: str, public: str, comment: str
) -> Key:
    await hold_user(tx, user_id)
    owner = await tx.connection.scalar(
        select(user_key.c.user_id).where(user_key.c.fingerprint == fingerprint)
    )
    if owner == user_id:
        raise Conflict(f"{user_id} has {fingerprint}", public="This key was added already.")
    made = Key(
        fingerprint=fingerprint,
        user_id=user_id,
        public=public,
        comment=comment,
        added_at=tx.now,
    )
    await tx.connection.execute(
        insert(user_key).values(
            fingerprint=fingerprint,
            user_id=user_id,
            position=select(func.coalesce(func.max(user_key.c.position), 0) + 1)
            .where(user_key.c.user_id == user_id)
            .scalar_subquery(),
            public=public,
            comment=comment,
            added_at=made.added_at,
        )
    )
    await tx.record("key.add", user_id, {"fingerprint": fingerprint, "comment": comment})
    return made


async def remove_key(tx: Transaction, user_id: UserId, fingerprint: str) -> None:
    gone = await tx.connection.execute(
        delete(user_key)
        .where(user_key.c.user_id == user_id, user_key.c.fingerprint == fingerprint)
        .returning(user_key.c.comment)
    )
    row = gone.one_or_none()
    if row is None:
        raise NotFound(f"{user_id} has no {fingerprint}", public="There is no such key.")
    await tx.record("key.remove", user_id, {"fingerprint": fingerprint, "comment": row.comment})


async def keys(connection: AsyncConnection, user_id: UserId) -> Sequence[Key]:
    found = await connection.execute(
        select(user_key).where(user_key.c.user_id == user_id).order_by(user_key.c.position)
    )
    return [
        Key(
            fingerprint=row.fingerprint,
            user_id=row.user_id,
            public=row.public,
            comment=row.comment,
            added_at=row.added_at,
        )
        for row in found
    ]


async def _one_user(connection: AsyncConnection, *where: ColumnElement[bool]) -> User | None:
    found = await connection.execute(select(user).where(*where))
    row = found.one_or_none()
    return None if row is None else _user(row)


def _user(row: Row[*tuple[Any, ...]]) -> User:
    return User(
        id=UserId(row.id),
        name=row.name,
        admin=row.admin,
        enabled=row.enabled,
        created_at=row.created_at,
    )
