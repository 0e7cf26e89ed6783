"""Passwords, one-time codes and recovery codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, func, insert, select, update

from broker.core.errors import Conflict, NotFound
from broker.core.model import Codes, Password, new_id
from broker.db import people
from broker.db.tables import codes as codes_table
from broker.db.tables import password as password_table
from broker.db.tables import recovery_code

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.model import UserId
    from broker.db.transaction import Transaction

#: No step of time is before this one.
_NEVER = -1


async def set_password(tx: Transaction, user_id: UserId, hashed: str) -> Password:
    await people.hold_user(tx, user_id)
    gone = await _delete_password(tx, user_id)
    made = Password(user_id=user_id, id=new_id(), hash=hashed, changed_at=tx.now)
    await tx.connection.execute(
        insert(password_table).values(user_id=user_id, id=made.id, hash=hashed, changed_at=tx.now)
    )
    tx.record("password.set", user_id, {"before": gone, "after": made.id})
    return made


async def remove_password(tx: Transaction, user_id: UserId) -> None:
    await people.hold_user(tx, user_id)
    gone = await _delete_password(tx, user_id)
    if gone is None:
        raise NotFound(f"{user_id} has no password", public="There is no password.")
    tx.record("password.remove", user_id, {"before": gone})


async def _delete_password(tx: Transaction, user_id: UserId) -> str | None:
    gone: str | None = await tx.connection.scalar(
        delete(password_table)
        .where(password_table.c.user_id == user_id)
        .returning(password_table.c.id)
    )
    return gone


async def password(connection: AsyncConnection, user_id: UserId) -> Password | None:
    found = await connection.execute(
        select(password_table).where(password_table.c.user_id == user_id)
    )
    row = found.one_or_none()
    if row is None:
        return None
    return Password(user_id=user_id, id=row.id, hash=row.hash, changed_at=row.changed_at)


async def begin_codes(tx: Transaction, user_id: UserId, secret: str) -> None:
    await people.hold_user(tx, user_id)
    await _refuse_confirmed(tx, user_id)
    await tx.connection.execute(delete(codes_table).where(codes_table.c.user_id == user_id))
    await tx.connection.execute(
        insert(codes_table).values(user_id=user_id, secret=secret, last_step=_NEVER)
    )
    tx.record("code.begin", user_id, {})


async def confirm_codes(
    tx: Transaction, user_id: UserId, step: int, recovery_hashes: Collection[str]
) -> None:
    await people.hold_user(tx, user_id)
    if await _refuse_confirmed(tx, user_id) is None:
        raise _no_codes(user_id)
    await tx.connection.execute(
        update(codes_table)
        .where(codes_table.c.user_id == user_id)
        .values(confirmed_at=tx.now, last_step=step)
    )
    if recovery_hashes:
        rows = [{"user_id": user_id, "hash": each} for each in recovery_hashes]
        await tx.connection.execute(insert(recovery_code), rows)
    tx.record("code.confirm", user_id, {"recovery": len(recovery_hashes)})


async def _refuse_confirmed(tx: Transaction, user_id: UserId) -> Codes | None:
    found = await codes(tx.connection, user_id)
    if found is not None and found.confirmed_at is not None:
        raise Conflict(
            f"{user_id} has confirmed codes",
            public="One-time codes are set up already; they must be removed first.",
        )
    return found


async def codes(connection: AsyncConnection, user_id: UserId) -> Codes | None:
    left = (
        select(func.count())
        .where(recovery_code.c.user_id == user_id, recovery_code.c.used_at.is_(None))
        .scalar_subquery()
    )
    found = await connection.execute(
        select(codes_table, left.label("left")).where(codes_table.c.user_id == user_id)
    )
    row = found.one_or_none()
    if row is None:
        return None
    return Codes(
        user_id=user_id,
        secret=row.secret,
        confirmed_at=row.confirmed_at,
        last_step=row.last_step,
        recovery_left=row.left,
    )


async def take_step(tx: Transaction, user_id: UserId, step: int) -> bool:
    taken = await tx.connection.execute(
        update(codes_table)
        .where(
            codes_table.c.user_id == user_id,
            codes_table.c.confirmed_at.is_not(None),
            codes_table.c.last_step < step,
        )
        .values(last_step=step)
    )
    return taken.rowcount == 1


async def take_recovery(tx: Transaction, user_id: UserId, hashed: str) -> bool:
    taken = await tx.connection.execute(
        update(recovery_code)
        .where(
            recovery_code.c.user_id == user_id,
            recovery_code.c.hash == hashed,
            recovery_code.c.used_at.is_(None),
        )
        .values(used_at=tx.now)
    )
    if taken.rowcount != 1:
        return False
    found = await codes(tx.connection, user_id)
    tx.record("code.recover", user_id, {"left": found.recovery_left if found else 0})
    return True


async def remove_codes(tx: Transaction, user_id: UserId) -> None:
    await people.hold_user(tx, user_id)
    if not await _delete_codes(tx, user_id):
        raise _no_codes(user_id)


async def _delete_codes(tx: Transaction, user_id: UserId) -> bool:
    await tx.connection.execute(delete(recovery_code).where(recovery_code.c.user_id == user_id))
    gone = await tx.connection.execute(delete(codes_table).where(codes_table.c.user_id == user_id))
    if gone.rowcount:
        tx.record("code.remove", user_id, {})
    return bool(gone.rowcount)


async def forget(tx: Transaction, user_id: UserId) -> None:
    """Take away all that the user has; the caller holds the user."""
    gone = await _delete_password(tx, user_id)
    if gone is not None:
        tx.record("password.remove", user_id, {"before": gone})
    await _delete_codes(tx, user_id)


def _no_codes(user_id: UserId) -> NotFound:
    return NotFound(f"{user_id} has no codes", public="No one-time codes are set up.")
