"""Tokens that let programs in as their users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, or_, select, update

from broker.core.errors import Conflict, NotFound
from broker.core.model import UserId, new_id
from broker.core.tokens import Reach, Scope, Token
from broker.db import people
from broker.db.tables import token, user

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.model import User
    from broker.db.transaction import Transaction


async def add_token(
    tx: Transaction,
    user_id: UserId,
    *,
    token_hash: str,
    name: str,
    scopes: Collection[Scope],
    reach: Reach,
    expires_at: datetime | None,
    most: int,
) -> Token:
    await people.hold_user(tx, user_id)
    count = await tx.connection.scalar(
        select(func.count()).select_from(token).where(token.c.user_id == user_id)
    )
    if (count or 0) >= most:
        raise Conflict(public=f"A user has at most {most} tokens: take one back first.")
    made = Token(
        id=new_id(),
        user_id=user_id,
        name=name,
        scopes=frozenset(scopes),
        reach=reach,
        made_at=tx.now,
        made_by=tx.actor.name,
        expires_at=expires_at,
        last_used_at=None,
        last_used_from=None,
    )
    words = sorted(made.scopes)
    await tx.connection.execute(
        insert(token).values(
            id=made.id,
            token_hash=token_hash,
            user_id=user_id,
            name=name,
            scopes=words,
            reach=reach.value,
            made_at=made.made_at,
            made_by=made.made_by,
            expires_at=expires_at,
        )
    )
    detail = {
        "token": made.id,
        "name": name,
        "scopes": " ".join(words),
        "reach": reach.value,
        "expires_at": expires_at.isoformat() if expires_at else None,
    }
    tx.record("token.add", user_id, detail)
    return made


async def tokens(connection: AsyncConnection, user_id: UserId | None) -> Sequence[Token]:
    query = select(token).order_by(token.c.made_at.desc(), token.c.id)
    if user_id is not None:
        query = query.where(token.c.user_id == user_id)
    return [_token(row) for row in await connection.execute(query)]


async def token_by_id(connection: AsyncConnection, token_id: str) -> Token | None:
    row = (await connection.execute(select(token).where(token.c.id == token_id))).one_or_none()
    return None if row is None else _token(row)


async def token_of(
    connection: AsyncConnection, token_hash: str, now: datetime
) -> tuple[Token, User] | None:
    columns = [column.label(f"token_{column.name}") for column in token.c]
    found = await connection.execute(
        select(user, *columns)
        .join(token, token.c.user_id == user.c.id)
        .where(
            token.c.token_hash == token_hash,
            or_(token.c.expires_at.is_(None), token.c.expires_at > now),
            user.c.enabled,
            user.c.removed_at.is_(None),
        )
    )
    row = found.one_or_none()
    return None if row is None else (_token(row, "token_"), people.user_of(row))


async def note_use(tx: Transaction, token_id: str, address: str) -> None:
    await tx.connection.execute(
        update(token)
        .where(token.c.id == token_id)
        .values(last_used_at=tx.now, last_used_from=address)
    )


async def revoke_token(tx: Transaction, token_id: str) -> None:
    gone = await tx.connection.scalar(
        delete(token).where(token.c.id == token_id).returning(token.c.user_id)
    )
    if gone is None:
        raise NotFound(f"no token {token_id}", public="There is no such token.")
    tx.record("token.revoke", gone, {"token": token_id})


async def forget(tx: Transaction, user_id: UserId) -> None:
    """Take them all away; the caller holds the user."""
    gone = await tx.connection.scalars(
        delete(token).where(token.c.user_id == user_id).returning(token.c.id)
    )
    for token_id in sorted(gone.all()):
        tx.record("token.revoke", user_id, {"token": token_id})


def _token(row: Row[*tuple[Any, ...]], prefix: str = "") -> Token:
    def value(column: str) -> Any:
        return getattr(row, prefix + column)

    return Token(
        id=value("id"),
        user_id=UserId(value("user_id")),
        name=value("name"),
        scopes=frozenset(map(Scope, value("scopes"))),
        reach=Reach(value("reach")),
        made_at=value("made_at"),
        made_by=value("made_by"),
        expires_at=value("expires_at"),
        last_used_at=value("last_used_at"),
        last_used_from=value("last_used_from"),
    )
