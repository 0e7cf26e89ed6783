"""Who holds which number, and which is next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
)

from broker.core.errors import CapacityExhausted
from broker.core.model import DesktopId, Lease, LeaseKind, SessionId
from broker.db import rows
from broker.db.tables import desktop, instance, lease, set_aside

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from sqlalchemy import Row, Select
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.pools import Pool, Pools
    from broker.db.transaction import Transaction


def session_pools(pools: Pools) -> dict[LeaseKind, Pool]:
    """What a session holds one number of each while it lives."""
    return {
        LeaseKind.PORT: pools.ports,
        LeaseKind.DISPLAY: pools.displays,
        LeaseKind.ADDRESS: pools.addresses,
    }


async def hold_pools(tx: Transaction) -> None:
    """Let one transaction at a time look for free numbers: two would find the same one. SQLite has
    one writer anyhow; elsewhere the instance's row is the lock. The keys are the guarantee.
    """
    await tx.connection.execute(select(instance.c.id).with_for_update())


async def take(
    tx: Transaction,
    wanted: Mapping[LeaseKind, Pool],
    *,
    host: str,
    session_id: SessionId,
    desktop_id: DesktopId,
) -> dict[LeaseKind, int]:
    """Lease of each pool the lowest number that nobody holds and that is not set aside. Raises
    `CapacityExhausted` naming the pool that has none.
    """
    await tx.connection.execute(
        delete(set_aside).where(set_aside.c.host == host, set_aside.c.until <= tx.now)
    )
    free = await tx.connection.execute(
        select(
            *(
                _lowest_free(host, kind, pool).scalar_subquery().label(kind.value)
                for kind, pool in wanted.items()
            )
        )
    )
    numbers = dict(zip(wanted, free.one(), strict=True))
    for kind, number in numbers.items():
        if number is None:
            raise _exhausted(host, kind, wanted[kind])
    await tx.connection.execute(
        insert(lease),
        [
            {
                "host": host,
                "kind": kind,
                "number": number,
                "session_id": session_id,
                "desktop_id": desktop_id,
                "since": tx.now,
            }
            for kind, number in numbers.items()
        ],
    )
    return numbers


async def take_uid(tx: Transaction, *, host: str, pool: Pool) -> int:
    """Find a uid that no desktop has: above all that were given, so that one whose desktop was
    forgotten comes back as late as possible; the lowest free one when the top is reached. Raises
    `CapacityExhausted`.
    """
    highest: int | None = await tx.connection.scalar(
        select(func.max(desktop.c.uid)).where(desktop.c.uid.between(pool.first, pool.last))
    )
    if highest is None:
        return pool.first
    if highest < pool.last:
        return highest + 1
    number = await tx.connection.scalar(_lowest_free_uid(pool))
    if number is None:
        raise _exhausted(host, LeaseKind.UID, pool)
    return number


async def record_uid(tx: Transaction, *, host: str, uid: int, desktop_id: DesktopId) -> None:
    """The lease of a desktop's uid, for as long as the desktop's record is kept."""
    await tx.connection.execute(
        insert(lease).values(
            host=host, kind=LeaseKind.UID, number=uid, desktop_id=desktop_id, since=tx.now
        )
    )


async def put_aside(
    tx: Transaction, session_id: SessionId, *, kind: LeaseKind, until: datetime
) -> None:
    """Take from a session the number that a stranger holds, and lease it to nobody until then."""
    gone = await tx.connection.execute(
        delete(lease)
        .where(lease.c.session_id == session_id, lease.c.kind == kind)
        .returning(lease.c.host, lease.c.number)
    )
    host, number = gone.one()
    await tx.connection.execute(
        insert(set_aside).values(host=host, kind=kind, number=number, until=until)
    )


async def release_session(tx: Transaction, session_id: SessionId) -> int:
    """Returns how many leases it held."""
    gone = await tx.connection.execute(delete(lease).where(lease.c.session_id == session_id))
    return gone.rowcount


async def release_desktop(tx: Transaction, desktop_id: DesktopId) -> None:
    await tx.connection.execute(delete(lease).where(lease.c.desktop_id == desktop_id))


async def leases(connection: AsyncConnection, kind: LeaseKind | None) -> Sequence[Lease]:
    query = select(lease).order_by(lease.c.host, lease.c.kind, lease.c.number)
    if kind is not None:
        query = query.where(lease.c.kind == kind)
    return await rows.values(await connection.execute(query), _lease)


async def count(connection: AsyncConnection, host: str, pools: Pools) -> dict[LeaseKind, int]:
    """How many numbers of each pool are leased."""
    every = {**session_pools(pools), LeaseKind.UID: pools.uids}
    within = or_(
        *(
            and_(lease.c.kind == kind, lease.c.number.between(pool.first, pool.last))
            for kind, pool in every.items()
        )
    )
    query = select(lease.c.kind, func.count()).where(lease.c.host == host, within)
    found = await connection.execute(query.group_by(lease.c.kind))
    return {**dict.fromkeys(every, 0), **{row[0]: row[1] for row in found}}


def _lease(row: Row[*tuple[Any, ...]]) -> Lease:
    return Lease(
        host=row.host,
        kind=row.kind,
        number=row.number,
        session_id=row.session_id,
        desktop_id=row.desktop_id,
        since=row.since,
    )


def _lowest_free(host: str, kind: LeaseKind, pool: Pool) -> Select[int | None]:
    """The lowest free number is the pool's first or stands right behind one that is not free."""
    behind = [
        select(table.c.number + 1).where(
            table.c.host == host,
            table.c.kind == kind,
            table.c.number.between(pool.first, pool.last - 1),
        )
        for table in (lease, set_aside)
    ]
    first = select(literal(pool.first, BigInteger).label("number"))
    candidate = union_all(first, *behind).subquery("candidate")
    busy = [
        exists().where(
            table.c.host == host, table.c.kind == kind, table.c.number == candidate.c.number
        )
        for table in (lease, set_aside)
    ]
    return select(func.min(candidate.c.number)).where(*(~held for held in busy))


def _lowest_free_uid(pool: Pool) -> Select[int | None]:
    other = desktop.alias("other")
    first = select(literal(pool.first, BigInteger).label("number"))
    behind = select(other.c.uid + 1).where(other.c.uid.between(pool.first, pool.last - 1))
    candidate = union_all(first, behind).subquery("candidate")
    return select(func.min(candidate.c.number)).where(
        ~exists().where(desktop.c.uid == candidate.c.number)
    )


def _exhausted(host: str, kind: LeaseKind, pool: Pool) -> CapacityExhausted:
    return CapacityExhausted(
        f"no {kind} is free on {host}: all {len(pool)} of {pool.first}-{pool.last} are held",
        public=f"Every {kind} for desktops is in use just now. Try again when somebody has stopped"
        " theirs, or ask your administrator for a larger range.",
    )
