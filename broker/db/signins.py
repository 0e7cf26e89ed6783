"""Browsers in which somebody signed in, and links that are good for that once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, delete, insert, or_, select, update

from broker.core.errors import NotFound
from broker.core.model import Actor, UserId, new_id
from broker.core.signins import Proven, SignIn
from broker.db import people
from broker.db.tables import sign_in, sign_in_link, user

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.model import User
    from broker.db.transaction import Transaction


async def add_sign_in(
    tx: Transaction,
    user_id: UserId,
    *,
    secret_hash: str,
    proven: Proven,
    address: str,
    browser: str,
    most: int,
) -> tuple[SignIn, Sequence[str]]:
    await _hold_enabled(tx, user_id)
    beyond = await tx.connection.scalars(
        select(sign_in.c.id)
        .where(sign_in.c.user_id == user_id)
        .order_by(sign_in.c.last_used_at.desc(), sign_in.c.made_at.desc(), sign_in.c.id)
        .offset(most - 1)
    )
    ended = await _end(tx, sign_in.c.id.in_(beyond.all()), why="there are more")
    made = SignIn(
        id=new_id(),
        user_id=user_id,
        proven=proven,
        address=address,
        browser=browser,
        made_at=tx.now,
        last_used_at=tx.now,
    )
    await tx.connection.execute(
        insert(sign_in).values(
            id=made.id,
            secret_hash=secret_hash,
            user_id=user_id,
            **_columns(proven),
            address=address,
            browser=browser,
            made_at=tx.now,
            last_used_at=tx.now,
        )
    )
    tx.record("sign-in.add", user_id, {"sign_in": made.id, "browser": browser})
    return made, ended


async def sign_in_of(
    connection: AsyncConnection, *, secret_hash: str | None = None, sign_in_id: str | None = None
) -> tuple[SignIn, User] | None:
    """By the one of the two that is given."""
    which = sign_in.c.id == sign_in_id
    if secret_hash is not None:
        which = sign_in.c.secret_hash == secret_hash
    columns = [column.label(f"sign_in_{column.name}") for column in sign_in.c]
    found = await connection.execute(
        select(user, *columns)
        .join(sign_in, sign_in.c.user_id == user.c.id)
        .where(which, user.c.enabled, user.c.removed_at.is_(None))
    )
    row = found.one_or_none()
    return None if row is None else (_sign_in(row, "sign_in_"), people.user_of(row))


async def sign_ins(connection: AsyncConnection, user_id: UserId | None) -> Sequence[SignIn]:
    query = select(sign_in).order_by(sign_in.c.last_used_at.desc(), sign_in.c.id)
    if user_id is not None:
        query = query.where(sign_in.c.user_id == user_id)
    return [_sign_in(row) for row in await connection.execute(query)]


async def note_use(tx: Transaction, sign_in_id: str) -> None:
    await tx.connection.execute(
        update(sign_in).where(sign_in.c.id == sign_in_id).values(last_used_at=tx.now)
    )


async def prove(tx: Transaction, sign_in_id: str, method: str) -> None:
    whose = await tx.connection.scalar(
        update(sign_in)
        .where(sign_in.c.id == sign_in_id)
        .values(method=method)
        .returning(sign_in.c.user_id)
    )
    if whose is None:
        raise _missing(sign_in_id)
    tx.record("sign-in.prove", whose, {"sign_in": sign_in_id, "method": method})


async def end_sign_in(tx: Transaction, sign_in_id: str) -> None:
    if not await _end(tx, sign_in.c.id == sign_in_id, why=None):
        raise _missing(sign_in_id)


async def end_by(tx: Transaction, credential: str) -> Sequence[str]:
    await tx.connection.execute(delete(sign_in_link).where(sign_in_link.c.credential == credential))
    return await _end(tx, sign_in.c.credential == credential, why="what proved it is gone")


async def forget_old(tx: Transaction, *, made: datetime, used: datetime) -> Sequence[str]:
    await tx.connection.execute(delete(sign_in_link).where(sign_in_link.c.expires_at <= tx.now))
    old = or_(sign_in.c.made_at <= made, sign_in.c.last_used_at <= used)
    return await _end(tx, old, why="it is too old")


async def add_link(
    tx: Transaction,
    user_id: UserId,
    *,
    token_hash: str,
    proven: Proven,
    expires_at: datetime,
    most: int,
) -> None:
    await _hold_enabled(tx, user_id)
    beyond = await tx.connection.scalars(
        select(sign_in_link.c.token_hash)
        .where(sign_in_link.c.user_id == user_id)
        .order_by(sign_in_link.c.made_at.desc(), sign_in_link.c.token_hash)
        .offset(most - 1)
    )
    await tx.connection.execute(
        delete(sign_in_link).where(sign_in_link.c.token_hash.in_(beyond.all()))
    )
    await tx.connection.execute(
        insert(sign_in_link).values(
            token_hash=token_hash,
            user_id=user_id,
            **_columns(proven),
            made_at=tx.now,
            expires_at=expires_at,
        )
    )
    tx.record("sign-in.link", user_id, {"expires_at": expires_at.isoformat()})


async def take_link(tx: Transaction, token_hash: str, origin: str) -> tuple[Proven, User] | None:
    taken = await tx.connection.execute(
        delete(sign_in_link)
        .where(sign_in_link.c.token_hash == token_hash, sign_in_link.c.expires_at > tx.now)
        .returning(*sign_in_link.c)
    )
    row = taken.one_or_none()
    if row is None:
        return None
    found = await tx.connection.execute(
        select(user).where(user.c.id == row.user_id, user.c.enabled, user.c.removed_at.is_(None))
    )
    person = found.one_or_none()
    if person is None:
        return None
    whose = people.user_of(person)
    tx.record("sign-in.open", whose.id, {}, actor=Actor(f"user:{whose.name}", "link", origin))
    return _proven(row), whose


async def forget(tx: Transaction, user_id: UserId) -> None:
    """Take away all of a user's; the caller holds the user."""
    await tx.connection.execute(delete(sign_in_link).where(sign_in_link.c.user_id == user_id))
    await _end(tx, sign_in.c.user_id == user_id, why="the account is closed")


async def _hold_enabled(tx: Transaction, user_id: UserId) -> None:
    if not (await people.hold_user(tx, user_id)).enabled:
        raise NotFound(f"the user {user_id} is disabled", public="There is no such user.")


async def _end(tx: Transaction, which: ColumnElement[bool], *, why: str | None) -> Sequence[str]:
    gone = await tx.connection.execute(
        delete(sign_in).where(which).returning(sign_in.c.id, sign_in.c.user_id)
    )
    ended = sorted((row.id, row.user_id) for row in gone)
    for sign_in_id, user_id in ended:
        tx.record("sign-in.end", user_id, {"sign_in": sign_in_id, "why": why})
    return [sign_in_id for sign_in_id, _ in ended]


def _missing(sign_in_id: str) -> NotFound:
    return NotFound(f"no sign-in {sign_in_id}", public="There is no such sign-in.")


def _columns(proven: Proven) -> dict[str, object]:
    return {
        "credential": proven.credential,
        "method": proven.method,
        "denied": sorted(proven.denied),
    }


def _proven(row: Row[*tuple[Any, ...]], prefix: str = "") -> Proven:
    credential, method, denied = (
        getattr(row, prefix + column) for column in ("credential", "method", "denied")
    )
    return Proven(credential=credential, method=method, denied=tuple(denied))


def _sign_in(row: Row[*tuple[Any, ...]], prefix: str = "") -> SignIn:
    def value(column: str) -> Any:
        return getattr(row, prefix + column)

    return SignIn(
        id=value("id"),
        user_id=UserId(value("user_id")),
        proven=_proven(row, prefix),
        address=value("address"),
        browser=value("browser"),
        made_at=value("made_at"),
        last_used_at=value("last_used_at"),
    )
