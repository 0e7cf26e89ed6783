"""Keys: whose they are, what limits them, when they were last used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, func, insert, or_, select, update

from broker.core.errors import Conflict, NotFound
from broker.core.model import Key, UserId
from broker.db import people
from broker.db.tables import UtcDateTime, user, user_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.model import LoginNote, User
    from broker.db.transaction import Transaction


async def add_key(
    tx: Transaction,
    user_id: UserId,
    *,
    fingerprint: str,
    public: str,
    name: str,
    expires_at: datetime | None = None,
    sources: Sequence[str] = (),
    verify_required: bool = False,
) -> Key:
    await people.hold_user(tx, user_id)
    if await owner(tx, fingerprint) == user_id:
        raise Conflict(f"{user_id} has {fingerprint}", public="This key was added already.")
    made = Key(
        fingerprint=fingerprint,
        user_id=user_id,
        public=public,
        name=name,
        added_at=tx.now,
        expires_at=expires_at,
        sources=tuple(sources),
        verify_required=verify_required,
    )
    await tx.connection.execute(
        insert(user_key).values(
            fingerprint=fingerprint,
            user_id=user_id,
            position=select(func.coalesce(func.max(user_key.c.position), 0) + 1)
            .where(user_key.c.user_id == user_id)
            .scalar_subquery(),
            public=public,
            name=name,
            added_at=made.added_at,
            expires_at=expires_at,
            sources=list(sources),
            verify_required=verify_required,
        )
    )
    tx.record(
        "key.add",
        user_id,
        {
            "fingerprint": fingerprint,
            "name": name,
            "expires_at": None if expires_at is None else expires_at.isoformat(),
            "sources": " ".join(sources),
            "verify_required": verify_required,
        },
    )
    return made


async def owner(tx: Transaction, fingerprint: str) -> UserId | None:
    found: str | None = await tx.connection.scalar(
        select(user_key.c.user_id).where(user_key.c.fingerprint == fingerprint)
    )
    return None if found is None else UserId(found)


async def rename_key(tx: Transaction, user_id: UserId, fingerprint: str, name: str) -> None:
    await people.hold_user(tx, user_id)
    mine = (user_key.c.user_id == user_id) & (user_key.c.fingerprint == fingerprint)
    before = await tx.connection.scalar(select(user_key.c.name).where(mine))
    if before is None:
        raise _no_key(user_id, fingerprint)
    if before == name:
        return
    await tx.connection.execute(update(user_key).where(mine).values(name=name))
    tx.record("key.rename", user_id, {"fingerprint": fingerprint, "before": before, "after": name})


async def remove_key(tx: Transaction, user_id: UserId, fingerprint: str) -> None:
    await people.hold_user(tx, user_id)
    gone = await tx.connection.execute(
        delete(user_key)
        .where(user_key.c.user_id == user_id, user_key.c.fingerprint == fingerprint)
        .returning(user_key.c.name)
    )
    row = gone.one_or_none()
    if row is None:
        raise _no_key(user_id, fingerprint)
    tx.record("key.remove", user_id, {"fingerprint": fingerprint, "name": row.name})


async def forget(tx: Transaction, user_id: UserId) -> None:
    """Take away all that the user has."""
    for key in await keys(tx.connection, user_id):
        await remove_key(tx, user_id, key.fingerprint)


async def keys(connection: AsyncConnection, user_id: UserId) -> Sequence[Key]:
    found = await connection.execute(
        select(user_key).where(user_key.c.user_id == user_id).order_by(user_key.c.position)
    )
    return [_key(row) for row in found]


async def key_owner(connection: AsyncConnection, fingerprint: str) -> tuple[Key, User] | None:
    columns = [column.label(f"key_{column.name}") for column in user_key.c]
    found = await connection.execute(
        select(user, *columns)
        .join(user_key, user_key.c.user_id == user.c.id)
        .where(user_key.c.fingerprint == fingerprint, user.c.enabled, user.c.removed_at.is_(None))
    )
    row = found.one_or_none()
    return None if row is None else (_key(row, "key_"), people.user_of(row))


async def note_logins(tx: Transaction, logins: Sequence[LoginNote]) -> None:
    used = [
        {"of": note.user_id, "with": note.fingerprint, "moment": note.at, "address": note.address}
        for note in logins
        if note.fingerprint is not None
    ]
    if used:
        moment = bindparam("moment", type_=UtcDateTime)
        await tx.connection.execute(
            update(user_key)
            .where(
                user_key.c.fingerprint == bindparam("with"),
                user_key.c.user_id == bindparam("of"),
                or_(user_key.c.last_used_at.is_(None), user_key.c.last_used_at <= moment),
            )
            .values(last_used_at=moment, last_used_from=bindparam("address")),
            used,
        )
    for note in logins:
        detail = {"fingerprint": note.fingerprint, "address": note.address}
        tx.record("login", note.user_id, detail, actor=note.actor, at=note.at)


def _no_key(user_id: UserId, fingerprint: str) -> NotFound:
    return NotFound(f"{user_id} has no {fingerprint}", public="There is no such key.")


def _key(row: Row[*tuple[Any, ...]], prefix: str = "") -> Key:
    def value(column: str) -> Any:
        return getattr(row, prefix + column)

    return Key(
        fingerprint=value("fingerprint"),
        user_id=UserId(value("user_id")),
        public=value("public"),
        name=value("name"),
        added_at=value("added_at"),
        expires_at=value("expires_at"),
        sources=tuple(value("sources")),
        verify_required=value("verify_required"),
        last_used_at=value("last_used_at"),
        last_used_from=value("last_used_from"),
    )
