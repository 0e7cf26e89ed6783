"""Shares of desktops, and the guests who came by them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, update

from broker.core.errors import CapacityExhausted, Conflict, NotFound, StaleState
from broker.core.model import DesktopId, UserId, new_id
from broker.core.shares import Guest, GuestState, Mode, Share
from broker.db.tables import desktop, guest, share, user

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, Row, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.db.transaction import Transaction

#: For how long what is over is remembered: a guest who asks is told why.
KEPT = timedelta(days=1)

#: Shares of a desktop that are over and remembered at most.
_MOST_OVER = 100

#: What guests are told whose share went with something else.
DESKTOP_GONE = "The desktop is not there any more."
OWNER_GONE = "Whoever shared this desktop has closed it."

_HERE = (GuestState.ASKED, GuestState.IN)

#: What the audit calls each step of a guest.
_STEPS = {
    GuestState.ASKED: "share.asked",
    GuestState.IN: "share.joined",
    GuestState.REFUSED: "share.refused",
    GuestState.LEFT: "share.left",
    GuestState.ENDED: "share.left",
}


async def add_share(
    tx: Transaction,
    desktop_id: DesktopId,
    *,
    token_hash: str,
    mode: Mode,
    expires_at: datetime,
    most: int,
) -> Share:
    user_id = await _hold_owner(tx, desktop.c.id == desktop_id)
    await _forget(tx, desktop_id)
    count = await tx.connection.scalar(
        select(func.count())
        .select_from(share)
        .where(share.c.desktop_id == desktop_id, _open(tx.now))
    )
    if (count or 0) >= most:
        raise Conflict(public=f"A desktop has at most {most} shares at a time: end one first.")
    made = Share(
        id=new_id(),
        desktop_id=desktop_id,
        user_id=user_id,
        mode=mode,
        made_at=tx.now,
        made_by=tx.actor.name,
        expires_at=expires_at,
        ended_at=None,
    )
    await tx.connection.execute(
        insert(share).values(
            id=made.id,
            token_hash=token_hash,
            desktop_id=desktop_id,
            mode=mode,
            made_at=made.made_at,
            made_by=made.made_by,
            expires_at=expires_at,
        )
    )
    detail = {
        "share": made.id,
        "desktop": desktop_id,
        "mode": mode.value,
        "expires_at": expires_at.isoformat(),
    }
    tx.record("share.made", user_id, detail)
    return made


async def share_by(connection: AsyncConnection, which: ColumnElement[bool]) -> Share | None:
    found = await _with_guests(connection, _shares().where(which))
    return found[0] if found else None


async def share_of(connection: AsyncConnection, token_hash: str, now: datetime) -> Share | None:
    return await share_by(connection, (share.c.token_hash == token_hash) & _open(now))


async def shares(
    connection: AsyncConnection,
    *,
    user_id: UserId | None,
    desktop_id: DesktopId | None,
    now: datetime,
) -> Sequence[Share]:
    query = _shares().where(_open(now)).order_by(share.c.made_at.desc(), share.c.id)
    if user_id is not None:
        query = query.where(desktop.c.user_id == user_id)
    if desktop_id is not None:
        query = query.where(share.c.desktop_id == desktop_id)
    return await _with_guests(connection, query)


async def expired_shares(connection: AsyncConnection, now: datetime) -> Sequence[Share]:
    query = _shares().where(share.c.ended_at.is_(None), share.c.expires_at <= now)
    return [_share(row) for row in await connection.execute(query)]


async def end_share(tx: Transaction, share_id: str, *, why: str) -> Sequence[Guest]:
    found = await share_by(tx.connection, share.c.id == share_id)
    if found is None:
        raise NotFound(f"no share {share_id}", public="There is no such share.")
    if found.ended_at is not None:
        return []
    await _hold_owner(tx, desktop.c.id == found.desktop_id, also_closed=True)
    return await _end(tx, found, why=why)


async def end_of_desktop(tx: Transaction, desktop_id: DesktopId, *, why: str) -> None:
    """All that are open; the caller holds the desktop or its owner."""
    await _end_all(tx, share.c.desktop_id == desktop_id, why=why)


async def end_of_user(tx: Transaction, user_id: UserId, *, why: str) -> None:
    """All that are open; the caller holds the user."""
    await _end_all(tx, desktop.c.user_id == user_id, why=why)


async def forget_desktop(tx: Transaction, desktop_id: DesktopId) -> None:
    """Delete the records of all of them; the caller holds the desktop."""
    of_desktop = select(share.c.id).where(share.c.desktop_id == desktop_id)
    await tx.connection.execute(delete(guest).where(guest.c.share_id.in_(of_desktop)))
    await tx.connection.execute(delete(share).where(share.c.desktop_id == desktop_id))


async def add_guest(
    tx: Transaction,
    share_id: str,
    *,
    secret_hash: str,
    name: str,
    address: str,
    asked: int,
    most: int,
) -> Guest:
    found = await share_by(tx.connection, share.c.id == share_id)
    if found is not None:
        await _hold_owner(tx, desktop.c.id == found.desktop_id)
        found = await share_by(tx.connection, (share.c.id == share_id) & _open(tx.now))
    if found is None:
        raise _over(share_id)
    if len(found.guests) >= most:
        raise Conflict(
            f"{most} guests came by the share {share_id}",
            public="Too many have come by this link: ask for a new one.",
        )
    if sum(one.state is GuestState.ASKED for one in found.guests) >= asked:
        raise CapacityExhausted(
            f"the owner of the share {share_id} is asked about {asked}",
            public="Others wait to be let in already. Try again in a minute.",
        )
    made = Guest(
        id=new_id(),
        share_id=share_id,
        name=name,
        address=address,
        state=GuestState.ASKED,
        asked_at=tx.now,
        since=tx.now,
        reason=None,
    )
    await tx.connection.execute(
        insert(guest).values(
            id=made.id,
            share_id=share_id,
            secret_hash=secret_hash,
            name=name,
            address=address,
            state=made.state,
            asked_at=tx.now,
            since=tx.now,
        )
    )
    _tell(tx, found, made)
    return made


async def guest_by(
    connection: AsyncConnection, which: ColumnElement[bool]
) -> tuple[Guest, Share] | None:
    row = (await connection.execute(_guests().where(which))).one_or_none()
    return None if row is None else (_guest(row, "guest_"), _share(row))


async def asked_guests(connection: AsyncConnection) -> Sequence[Guest]:
    query = (
        select(guest)
        .where(guest.c.state == GuestState.ASKED)
        .order_by(guest.c.asked_at, guest.c.id)
    )
    return [_guest(row) for row in await connection.execute(query)]


async def move_guest(
    tx: Transaction,
    guest_id: str,
    *,
    expected: Collection[GuestState],
    to: GuestState,
    why: str | None,
) -> Guest:
    found = await guest_by(tx.connection, guest.c.id == guest_id)
    if found is None:
        raise NotFound(f"no guest {guest_id}", public="There is no such guest.")
    _, of = found
    await _hold_owner(tx, desktop.c.id == of.desktop_id, also_closed=True)
    moved = await tx.connection.execute(
        update(guest)
        .where(guest.c.id == guest_id, guest.c.state.in_(expected))
        .values(state=to, since=tx.now, reason=why)
        .returning(*guest.c)
    )
    row = moved.one_or_none()
    current = await share_by(tx.connection, share.c.id == of.id)
    if row is None or current is None:
        raise StaleState(
            f"the guest {guest_id} is in another state",
            public="That was decided already: see who is in with 'desk share ls'.",
        )
    if to is GuestState.IN and not current.open(tx.now):
        raise _over(of.id)
    made = _guest(row)
    _tell(tx, of, made)
    return made


async def _end_all(tx: Transaction, which: ColumnElement[bool], *, why: str) -> None:
    query = _shares().where(which, share.c.ended_at.is_(None)).order_by(share.c.id)
    for one in await _with_guests(tx.connection, query):
        await _end(tx, one, why=why)


async def _end(tx: Transaction, found: Share, *, why: str) -> Sequence[Guest]:
    ended = await tx.connection.execute(
        update(share)
        .where(share.c.id == found.id, share.c.ended_at.is_(None))
        .values(ended_at=tx.now)
    )
    if ended.rowcount != 1:
        return []
    detail = {"share": found.id, "desktop": found.desktop_id, "why": why}
    tx.record("share.ended", found.user_id, detail)
    gone = await tx.connection.execute(
        update(guest)
        .where(guest.c.share_id == found.id, guest.c.state.in_(_HERE))
        .values(state=GuestState.ENDED, since=tx.now, reason=why)
        .returning(*guest.c)
    )
    guests = sorted((_guest(row) for row in gone), key=lambda one: (one.asked_at, one.id))
    for one in guests:
        _tell(tx, found, one)
    return guests


async def _forget(tx: Transaction, desktop_id: DesktopId) -> None:
    """What is over for long, or one of very many that are over."""
    over = select(share.c.id).where(share.c.desktop_id == desktop_id, ~_open(tx.now))
    before = tx.now - KEPT
    long = over.where((share.c.ended_at < before) | (share.c.expires_at < before))
    many = over.order_by(share.c.made_at.desc(), share.c.id).offset(_MOST_OVER)
    old = {*(await tx.connection.scalars(long)), *(await tx.connection.scalars(many))}
    await tx.connection.execute(delete(guest).where(guest.c.share_id.in_(old)))
    await tx.connection.execute(delete(share).where(share.c.id.in_(old)))


async def _hold_owner(
    tx: Transaction, which: ColumnElement[bool], *, also_closed: bool = False
) -> UserId:
    """Whose desktop it is, held as `hold_user` does; with `also_closed` one that is removed too, or
    whose owner is. Raises `NotFound`.
    """
    query = select(user.c.id).join(desktop, desktop.c.user_id == user.c.id).where(which)
    if not also_closed:
        query = query.where(
            desktop.c.removed_at.is_(None), user.c.removed_at.is_(None), user.c.enabled
        )
    held = await tx.connection.scalar(query.with_for_update(of=user))
    if held is None:
        raise NotFound("no such desktop to share", public="There is no such desktop.")
    return UserId(held)


def _tell(tx: Transaction, of: Share, one: Guest) -> None:
    detail: dict[str, str | int | bool | None] = {
        "share": of.id,
        "guest": one.id,
        "name": one.name,
        "address": one.address,
        "desktop": of.desktop_id,
    }
    if one.reason is not None:
        detail["why"] = one.reason
    tx.record(_STEPS[one.state], of.user_id, detail)


def _open(now: datetime) -> ColumnElement[bool]:
    return share.c.ended_at.is_(None) & (share.c.expires_at > now)


def _over(share_id: str) -> NotFound:
    return NotFound(
        f"the share {share_id} is over",
        public="This link does not count any more: ask for a new one.",
    )


def _shares() -> Select[Any]:
    return select(share, desktop.c.user_id).join(desktop, desktop.c.id == share.c.desktop_id)


def _guests() -> Select[Any]:
    columns = [column.label(f"guest_{column.name}") for column in guest.c]
    return _shares().join(guest, guest.c.share_id == share.c.id).add_columns(*columns)


async def _with_guests(connection: AsyncConnection, query: Select[Any]) -> list[Share]:
    found = [_share(row) for row in await connection.execute(query)]
    if not found:
        return []
    came = (
        select(guest)
        .where(guest.c.share_id.in_([one.id for one in found]))
        .order_by(guest.c.asked_at, guest.c.id)
    )
    guests: defaultdict[str, list[Guest]] = defaultdict(list)
    for row in await connection.execute(came):
        guests[row.share_id].append(_guest(row))
    return [replace(one, guests=tuple(guests[one.id])) for one in found]


def _share(row: Row[*tuple[Any, ...]]) -> Share:
    return Share(
        id=row.id,
        desktop_id=DesktopId(row.desktop_id),
        user_id=UserId(row.user_id),
        mode=Mode(row.mode),
        made_at=row.made_at,
        made_by=row.made_by,
        expires_at=row.expires_at,
        ended_at=row.ended_at,
    )


def _guest(row: Row[*tuple[Any, ...]], prefix: str = "") -> Guest:
    def value(column: str) -> Any:
        return getattr(row, prefix + column)

    return Guest(
        id=value("id"),
        share_id=value("share_id"),
        name=value("name"),
        address=value("address"),
        state=value("state"),
        asked_at=value("asked_at"),
        since=value("since"),
        reason=value("reason"),
    )
