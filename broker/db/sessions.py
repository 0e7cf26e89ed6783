"""Sessions and their steps; what a session holds is read from the leases, where alone it stands."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from broker.core.errors import Conflict, NotFound, StaleState
from broker.core.model import (
    DesktopId,
    LeaseKind,
    Owner,
    Session,
    SessionId,
    SessionState,
    UserId,
    new_id,
)
from broker.db import leases, rows
from broker.db.desktops import hold_desktop
from broker.db.tables import desktop, is_live, lease, membership, session

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from sqlalchemy import ColumnElement, FromClause, Row, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.pools import Pools
    from broker.db.transaction import Transaction

_PORT, _DISPLAY, _ADDRESS = (lease.alias(name) for name in ("port", "display", "address"))


async def begin_session(
    tx: Transaction,
    desktop_id: DesktopId,
    *,
    host: str,
    image: str,
    pools: Pools,
    deadline: datetime,
) -> Session:
    """The database refuses a second live one."""
    found = await hold_desktop(tx, desktop_id)
    if found.removed_at is not None:
        raise NotFound(f"desktop {desktop_id} is removed", public="There is no such desktop.")
    session_id = SessionId(new_id())
    await tx.connection.execute(
        insert(session).values(
            id=session_id,
            desktop_id=desktop_id,
            state=SessionState.STARTING,
            host=host,
            image=image,
            deadline=deadline,
            created_at=tx.now,
            changed_at=tx.now,
        )
    )
    await leases.hold_pools(tx)
    numbers = await leases.take(
        tx,
        leases.session_pools(pools),
        host=host,
        session_id=session_id,
        desktop_id=desktop_id,
    )
    made = Session(
        id=session_id,
        desktop_id=desktop_id,
        state=SessionState.STARTING,
        host=host,
        image=image,
        port=numbers[LeaseKind.PORT],
        display=numbers[LeaseKind.DISPLAY],
        address=str(IPv4Address(numbers[LeaseKind.ADDRESS])),
        deadline=deadline,
        kept_until=None,
        reason=None,
        created_at=tx.now,
        changed_at=tx.now,
    )
    tx.record("session.begin", session_id, {"image": image, **_held(made)})
    return made


async def replace_lease(
    tx: Transaction, session_id: SessionId, *, kind: LeaseKind, until: datetime, pools: Pools
) -> Session:
    """Set a starting session's number aside and lease the next one to it."""
    before = await _touch(tx, session_id)
    await leases.hold_pools(tx)
    await leases.put_aside(tx, session_id, kind=kind, until=until)
    numbers = await leases.take(
        tx,
        {kind: leases.session_pools(pools)[kind]},
        host=before.host,
        session_id=session_id,
        desktop_id=before.desktop_id,
    )
    if kind is LeaseKind.PORT:
        after = replace(before, port=numbers[kind])
    else:
        after = replace(before, address=str(IPv4Address(numbers[kind])))
    tx.record(
        "lease.set_aside",
        session_id,
        {
            "host": before.host,
            "kind": kind.value,
            "before": getattr(before, kind.value),
            "after": getattr(after, kind.value),
            "until": until.isoformat(),
        },
    )
    return after


async def advance(
    tx: Transaction,
    session_id: SessionId,
    *,
    expected: SessionState,
    to: SessionState,
    deadline: datetime | None,
    reason: str | None,
) -> Session:
    values: dict[str, object] = {"state": to, "deadline": deadline, "changed_at": tx.now}
    if reason is not None:
        values["reason"] = reason
    moved = await tx.connection.execute(
        update(session)
        .where(session.c.id == session_id, session.c.state == expected)
        .values(values)
    )
    after = await _one_session(tx.connection, session.c.id == session_id)
    if after is None:
        raise NotFound(f"no session {session_id}")
    if moved.rowcount == 0:
        raise StaleState(f"session {session_id} is {after.state}, not {expected}")
    tx.record(
        _action(expected, to),
        session_id,
        {"before": expected.value, "after": to.value, "reason": after.reason, **_held(after)},
    )
    if to is not SessionState.ENDED:
        return after
    await leases.release_session(tx, session_id)
    return replace(after, port=None, display=None, address=None)


async def keep_session(
    tx: Transaction, session_id: SessionId, *, until: datetime | None
) -> Session:
    """Its state does not change, nor when it last did."""
    await tx.connection.execute(
        select(session.c.id).where(session.c.id == session_id).with_for_update()
    )
    before = await _one_session(tx.connection, session.c.id == session_id)
    if before is None:
        raise NotFound(f"no session {session_id}")
    if not before.live:
        raise StaleState(f"session {session_id} has ended")
    if before.kept_until == until:
        return before
    await tx.connection.execute(
        update(session).where(session.c.id == session_id).values(kept_until=until)
    )
    tx.record(
        "session.keep",
        session_id,
        {
            "desktop": before.desktop_id,
            "before": _moment(before.kept_until),
            "after": _moment(until),
        },
    )
    return replace(before, kept_until=until)


async def refuse_live(tx: Transaction, session_id: SessionId) -> None:
    """Raises `Conflict` unless it has ended, which no session comes back from."""
    query = select(session.c.state).where(session.c.id == session_id, is_live)
    if await tx.connection.scalar(query) is not None:
        raise Conflict(f"session {session_id} is live")


async def session_by_id(connection: AsyncConnection, session_id: SessionId) -> Session | None:
    return await _one_session(connection, session.c.id == session_id)


async def live_session(connection: AsyncConnection, desktop_id: DesktopId) -> Session | None:
    return await _one_session(connection, session.c.desktop_id == desktop_id, is_live)


async def last_session(connection: AsyncConnection, desktop_id: DesktopId) -> Session | None:
    newest = _sessions().where(session.c.desktop_id == desktop_id)
    order = newest.order_by(session.c.created_at.desc(), session.c.id).limit(1)
    row = (await connection.execute(order)).one_or_none()
    return None if row is None else _session(row)


async def live_sessions(connection: AsyncConnection, host: str | None) -> Sequence[Session]:
    query = _sessions().where(is_live).order_by(session.c.created_at, session.c.id)
    if host is not None:
        query = query.where(session.c.host == host)
    return await rows.values(await connection.execute(query), _session)


async def live_owners(connection: AsyncConnection) -> dict[DesktopId, Owner]:
    query = (
        select(desktop.c.id, desktop.c.user_id, membership.c.group_name)
        .join(session, session.c.desktop_id == desktop.c.id)
        .outerjoin(membership, membership.c.user_id == desktop.c.user_id)
        .where(is_live)
        .distinct()
    )
    groups: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for desktop_id, user_id, name in await connection.execute(query):
        groups[desktop_id, user_id].extend([] if name is None else [name])
    return {
        DesktopId(desktop_id): Owner(user_id=UserId(user_id), groups=tuple(names))
        for (desktop_id, user_id), names in groups.items()
    }


async def addresses(
    connection: AsyncConnection, host: str, states: Collection[SessionState]
) -> dict[SessionId, IPv4Address]:
    query = (
        select(session.c.id, lease.c.number)
        .join(lease, (lease.c.session_id == session.c.id) & (lease.c.kind == LeaseKind.ADDRESS))
        .where(is_live, session.c.host == host, session.c.state.in_(states))
    )
    found = await connection.execute(query)
    return {SessionId(id): IPv4Address(number) for id, number in found}  # noqa: A001


async def session_of_display(
    connection: AsyncConnection, host: str, display: int
) -> Session | None:
    return await _one_session(
        connection, _DISPLAY.c.host == host, _DISPLAY.c.number == display, is_live
    )


async def _touch(tx: Transaction, session_id: SessionId) -> Session:
    """The session as changed now, if it is starting; raises `StaleState`."""
    touched = await tx.connection.execute(
        update(session)
        .where(session.c.id == session_id, session.c.state == SessionState.STARTING)
        .values(changed_at=tx.now)
    )
    found = await _one_session(tx.connection, session.c.id == session_id)
    if touched.rowcount == 0 or found is None:
        state = "unknown" if found is None else found.state
        raise StaleState(f"session {session_id} is {state}, not starting")
    return found


def _action(before: SessionState, after: SessionState) -> str:
    match before, after:
        case SessionState.FROZEN, SessionState.READY:
            return "session.thaw"
        case _, SessionState.READY:
            return "session.ready"
        case _, SessionState.FROZEN:
            return "session.freeze"
        case _, SessionState.STOPPING:
            return "session.stop"
        case _:
            return "session.end"


def _held(held: Session) -> dict[str, str | int | None]:
    return {
        "desktop": held.desktop_id,
        "host": held.host,
        "port": held.port,
        "display": held.display,
        "address": held.address,
    }


def _moment(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _sessions() -> Select[*tuple[Any, ...]]:
    joined: FromClause = session
    for held in (_PORT, _DISPLAY, _ADDRESS):
        joined = joined.outerjoin(
            held, (held.c.session_id == session.c.id) & (held.c.kind == LeaseKind(held.name))
        )
    return select(
        session,
        _PORT.c.number.label("port"),
        _DISPLAY.c.number.label("display"),
        _ADDRESS.c.number.label("address"),
    ).select_from(joined)


async def _one_session(connection: AsyncConnection, *where: ColumnElement[bool]) -> Session | None:
    found = await connection.execute(_sessions().where(*where))
    row = found.one_or_none()
    return None if row is None else _session(row)


def _session(row: Row[*tuple[Any, ...]]) -> Session:
    return Session(
        id=SessionId(row.id),
        desktop_id=row.desktop_id,
        state=row.state,
        host=row.host,
        image=row.image,
        port=row.port,
        display=row.display,
        address=None if row.address is None else str(IPv4Address(row.address)),
        deadline=row.deadline,
        kept_until=row.kept_until,
        reason=row.reason,
        created_at=row.created_at,
        changed_at=row.changed_at,
    )
