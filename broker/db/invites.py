"""Invites: tokens that bind one key each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from broker.core.errors import Conflict, NotFound
from broker.core.model import Invite, UserId, free_key_name, new_id
from broker.db import keys, people
from broker.db.tables import invite, user

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.model import User
    from broker.db.transaction import Transaction


async def add_invite(
    tx: Transaction, user_id: UserId, *, token_hash: str, expires_at: datetime
) -> Invite:
    await people.hold_user(tx, user_id)
    made = Invite(
        id=new_id(),
        user_id=user_id,
        made_at=tx.now,
        made_by=tx.actor.name,
        expires_at=expires_at,
        used_at=None,
        fingerprint=None,
    )
    await tx.connection.execute(
        insert(invite).values(
            id=made.id,
            token_hash=token_hash,
            user_id=user_id,
            made_at=made.made_at,
            made_by=made.made_by,
            expires_at=expires_at,
        )
    )
    detail = {"invite": made.id, "expires_at": expires_at.isoformat()}
    tx.record("invite.add", user_id, detail)
    return made


async def invites(connection: AsyncConnection, user_id: UserId | None) -> Sequence[Invite]:
    query = select(invite).order_by(invite.c.made_at.desc(), invite.c.id)
    if user_id is not None:
        query = query.where(invite.c.user_id == user_id)
    return [_invite(row) for row in await connection.execute(query)]


async def invite_of(
    connection: AsyncConnection, token_hash: str, now: datetime
) -> tuple[Invite, User] | None:
    columns = [column.label(f"invite_{column.name}") for column in invite.c]
    found = await connection.execute(
        select(user, *columns)
        .join(invite, invite.c.user_id == user.c.id)
        .where(_open(token_hash, now), user.c.enabled, user.c.removed_at.is_(None))
    )
    row = found.one_or_none()
    return None if row is None else (_invite(row, "invite_"), people.user_of(row))


async def redeem_invite(
    tx: Transaction, token_hash: str, *, fingerprint: str, public: str, name: str
) -> User:
    found = await invite_of(tx.connection, token_hash, tx.now)
    if found is None:
        raise _not_open()
    invited, _ = found
    person = await people.hold_user(tx, invited.user_id)
    taken = await tx.connection.execute(
        update(invite)
        .where(_open(token_hash, tx.now))
        .values(used_at=tx.now, fingerprint=fingerprint)
    )
    if taken.rowcount != 1 or not person.enabled:
        raise _not_open()
    whose = await keys.owner(tx, fingerprint)
    if whose is None:
        names = {key.name for key in await keys.keys(tx.connection, person.id)}
        free = free_key_name(name, names)
        await keys.add_key(tx, person.id, fingerprint=fingerprint, public=public, name=free)
    elif whose != person.id:
        raise Conflict(
            f"{fingerprint} is not {person.id}'s", public="This key belongs to another user."
        )
    tx.record("invite.redeem", person.id, {"invite": invited.id, "fingerprint": fingerprint})
    return person


async def revoke_invite(tx: Transaction, invite_id: str) -> None:
    gone = await tx.connection.scalar(
        delete(invite)
        .where(invite.c.id == invite_id, invite.c.used_at.is_(None))
        .returning(invite.c.user_id)
    )
    if gone is None:
        raise NotFound(f"no invite {invite_id}", public="There is no such unused invite.")
    tx.record("invite.revoke", gone, {"invite": invite_id})


async def forget(tx: Transaction, user_id: UserId) -> None:
    """Take away the unused ones; the caller holds the user."""
    gone = await tx.connection.scalars(
        delete(invite)
        .where(invite.c.user_id == user_id, invite.c.used_at.is_(None))
        .returning(invite.c.id)
    )
    for invite_id in sorted(gone.all()):
        tx.record("invite.revoke", user_id, {"invite": invite_id})


def _open(token_hash: str, now: datetime) -> ColumnElement[bool]:
    return (
        (invite.c.token_hash == token_hash)
        & invite.c.used_at.is_(None)
        & (invite.c.expires_at > now)
    )


def _not_open() -> NotFound:
    return NotFound(
        "an invite that is not open",
        public="This invite was used, revoked or has expired; ask for a new one.",
    )


def _invite(row: Row[*tuple[Any, ...]], prefix: str = "") -> Invite:
    def value(column: str) -> Any:
        return getattr(row, prefix + column)

    return Invite(
        id=value("id"),
        user_id=UserId(value("user_id")),
        made_at=value("made_at"),
        made_by=value("made_by"),
        expires_at=value("expires_at"),
        used_at=value("used_at"),
        fingerprint=value("fingerprint"),
    )
