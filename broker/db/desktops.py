"""Desktops: made once, kept, taken up again, forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, exists, func, insert, select, update

from broker.core.errors import Conflict, NotFound
from broker.core.model import Desktop, DesktopId, HomeArchive, new_id
from broker.db import leases, rows, shares
from broker.db.tables import (
    UtcDateTime,
    deadline,
    desktop,
    is_archived,
    is_live,
    session,
    user,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.model import UserId
    from broker.core.pools import Pool
    from broker.db.transaction import Transaction


async def make_desktop(
    tx: Transaction, user_id: UserId, name: str, *, template: str, host: str, uids: Pool
) -> Desktop:
    """Find, revive or create; the caller holds the user."""
    found = await _one_desktop(tx.connection, desktop.c.user_id == user_id, desktop.c.name == name)
    if found is None:
        return await _create(tx, user_id, name, template=template, host=host, uids=uids)
    if found.removed_at is None:
        return found
    return await _revive(tx, found, template=template)


async def remove_desktop(tx: Transaction, desktop_id: DesktopId) -> None:
    found = await hold_desktop(tx, desktop_id)
    await _refuse_while_live(tx, found)
    if found.removed_at is not None:
        return
    await tx.connection.execute(
        update(desktop).where(desktop.c.id == desktop_id).values(removed_at=tx.now)
    )
    await shares.end_of_desktop(tx, desktop_id, why=shares.DESKTOP_GONE)
    tx.record(
        "desktop.remove",
        desktop_id,
        {"user": found.user_id, "name": found.name, "uid": found.uid},
    )


async def note_home(tx: Transaction, desktop_id: DesktopId) -> None:
    found = await hold_desktop(tx, desktop_id)
    if found.home_made_at is not None:
        return
    await tx.connection.execute(
        update(desktop).where(desktop.c.id == desktop_id).values(home_made_at=tx.now)
    )
    tx.record("home.create", desktop_id, {"user": found.user_id, "uid": found.uid})


async def note_archived(
    tx: Transaction, desktop_id: DesktopId, *, size: int, unpacked: int, sha256: str
) -> HomeArchive:
    found = await hold_desktop(tx, desktop_id)
    await _refuse_while_live(tx, found)
    if found.home_made_at is None or found.archive is not None:
        raise Conflict(f"desktop {desktop_id} has no home that could be packed away")
    await tx.connection.execute(
        update(desktop)
        .where(desktop.c.id == desktop_id)
        .values(
            archived_at=tx.now,
            archive_size=size,
            archive_unpacked=unpacked,
            archive_sha256=sha256,
        )
    )
    tx.record(
        "home.archive",
        desktop_id,
        {"user": found.user_id, "size": size, "unpacked": unpacked, "sha256": sha256},
    )
    return HomeArchive(at=tx.now, size=size, unpacked=unpacked, sha256=sha256)


async def note_restored(tx: Transaction, desktop_id: DesktopId) -> None:
    found = await hold_desktop(tx, desktop_id)
    if found.archive is None:
        return
    await tx.connection.execute(
        update(desktop)
        .where(desktop.c.id == desktop_id)
        .values(
            archived_at=None,
            archive_size=None,
            archive_unpacked=None,
            archive_sha256=None,
        )
    )
    detail = {"user": found.user_id, "sha256": found.archive.sha256}
    tx.record("home.restore", desktop_id, detail)


async def forget_desktop(tx: Transaction, desktop_id: DesktopId) -> None:
    found = await hold_desktop(tx, desktop_id)
    if found.removed_at is None:
        raise Conflict(
            f"desktop {desktop_id} is not removed",
            public=f"The desktop '{found.name}' must be removed first.",
        )
    await _refuse_while_live(tx, found)
    await leases.release_desktop(tx, desktop_id)
    runs = select(session.c.id).where(session.c.desktop_id == desktop_id)
    await tx.connection.execute(delete(deadline).where(deadline.c.session_id.in_(runs)))
    await tx.connection.execute(delete(session).where(session.c.desktop_id == desktop_id))
    await shares.forget_desktop(tx, desktop_id)
    await tx.connection.execute(delete(desktop).where(desktop.c.id == desktop_id))
    tx.record(
        "desktop.forget",
        desktop_id,
        {"user": found.user_id, "name": found.name, "uid": found.uid},
    )


async def hold_desktop(tx: Transaction, desktop_id: DesktopId) -> Desktop:
    """The desktop, removed or not, as it stays until the transaction ends; raises `NotFound`."""
    found = await tx.connection.execute(
        select(desktop).where(desktop.c.id == desktop_id).with_for_update()
    )
    row = found.one_or_none()
    if row is None:
        raise NotFound(f"no desktop {desktop_id}", public="There is no such desktop.")
    return _desktop(row)


async def desktop_by_id(connection: AsyncConnection, desktop_id: DesktopId) -> Desktop | None:
    return await _one_desktop(connection, desktop.c.id == desktop_id)


async def desktop_of(connection: AsyncConnection, user_id: UserId, name: str) -> Desktop | None:
    return await _one_desktop(
        connection,
        desktop.c.user_id == user_id,
        desktop.c.name == name,
        desktop.c.removed_at.is_(None),
    )


async def desktops(
    connection: AsyncConnection, *, user_id: UserId | None, removed: bool
) -> Sequence[Desktop]:
    query = select(desktop).join(user).order_by(user.c.name, user.c.id, desktop.c.name)
    if user_id is not None:
        query = query.where(desktop.c.user_id == user_id)
    if not removed:
        query = query.where(desktop.c.removed_at.is_(None))
    return await rows.values(await connection.execute(query), _desktop)


async def unused_desktops(
    connection: AsyncConnection, since: datetime, *, limit: int
) -> Sequence[Desktop]:
    """A desktop whose every session was forgotten counts from when its home was made."""
    own = session.c.desktop_id == desktop.c.id
    ended = select(func.max(session.c.changed_at)).where(own).correlate(desktop).scalar_subquery()
    used = func.coalesce(ended, desktop.c.home_made_at, type_=UtcDateTime)
    query = (
        select(desktop)
        .where(desktop.c.home_made_at.is_not(None), desktop.c.archived_at.is_(None))
        .where(used <= since, ~exists().where(own, is_live).correlate(desktop))
        .order_by(used, desktop.c.id)
        .limit(limit)
    )
    return await rows.values(await connection.execute(query), _desktop)


async def archived_desktops(connection: AsyncConnection) -> Sequence[Desktop]:
    query = select(desktop).where(is_archived).order_by(desktop.c.archived_at, desktop.c.id)
    return await rows.values(await connection.execute(query), _desktop)


async def _create(
    tx: Transaction, user_id: UserId, name: str, *, template: str, host: str, uids: Pool
) -> Desktop:
    await leases.hold_pools(tx)
    made = Desktop(
        id=DesktopId(new_id()),
        user_id=user_id,
        name=name,
        template=template,
        uid=await leases.take_uid(tx, host=host, pool=uids),
        created_at=tx.now,
        home_made_at=None,
        removed_at=None,
    )
    await tx.connection.execute(
        insert(desktop).values(
            id=made.id,
            user_id=user_id,
            name=name,
            template=template,
            uid=made.uid,
            created_at=made.created_at,
        )
    )
    await leases.record_uid(tx, host=host, uid=made.uid, desktop_id=made.id)
    tx.record(
        "desktop.create",
        made.id,
        {"user": user_id, "name": name, "template": template, "uid": made.uid},
    )
    return made


async def _revive(tx: Transaction, found: Desktop, *, template: str) -> Desktop:
    revived = await tx.connection.execute(
        update(desktop)
        .where(desktop.c.id == found.id)
        .values(template=template, removed_at=None)
        .returning(desktop)
    )
    tx.record(
        "desktop.revive",
        found.id,
        {
            "user": found.user_id,
            "name": found.name,
            "template_before": found.template,
            "template": template,
            "uid": found.uid,
        },
    )
    return _desktop(revived.one())


async def _refuse_while_live(tx: Transaction, found: Desktop) -> None:
    live = await tx.connection.scalar(
        select(exists().where(session.c.desktop_id == found.id, is_live))
    )
    if live:
        raise Conflict(
            f"desktop {found.id} has a live session",
            public=f"The desktop '{found.name}' is running. Stop it first.",
        )


async def _one_desktop(connection: AsyncConnection, *where: ColumnElement[bool]) -> Desktop | None:
    found = await connection.execute(select(desktop).where(*where))
    row = found.one_or_none()
    return None if row is None else _desktop(row)


def _desktop(row: Row[*tuple[Any, ...]]) -> Desktop:
    return Desktop(
        id=DesktopId(row.id),
        user_id=row.user_id,
        name=row.name,
        template=row.template,
        uid=row.uid,
        created_at=row.created_at,
        home_made_at=row.home_made_at,
        removed_at=row.removed_at,
        archive=_archive(row),
    )


def _archive(row: Row[*tuple[Any, ...]]) -> HomeArchive | None:
    if row.archived_at is None:
        return None
    return HomeArchive(
        at=row.archived_at,
        size=row.archive_size,
        unpacked=row.archive_unpacked,
        sha256=row.archive_sha256,
    )
