"""Groups, and who is in them because whom said so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from broker.core.errors import NotFound
from broker.core.model import LOCAL, Group, shown
from broker.db import people, rows
from broker.db.tables import group as group_table
from broker.db.tables import membership, user

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.core.model import User, UserId
    from broker.db.transaction import Transaction


async def set_group(
    tx: Transaction, name: str, *, priority: int, policy: Mapping[str, Any]
) -> Group:
    before = await _hold_group(tx, name)
    made = Group(name=name, priority=priority, policy=dict(policy))
    values = {"priority": priority, "policy": made.policy}
    if before is None:
        await tx.connection.execute(insert(group_table).values(name=name, **values))
    else:
        await tx.connection.execute(
            update(group_table).where(group_table.c.name == name).values(values)
        )
    tx.record(
        "group.set",
        name,
        {
            "priority": priority,
            "policy": _text(made.policy),
            "priority_before": None if before is None else before.priority,
            "policy_before": None if before is None else _text(before.policy),
        },
    )
    return made


async def remove_group(tx: Transaction, name: str) -> None:
    found = await _known(tx, name)
    gone = await tx.connection.execute(delete(membership).where(membership.c.group_name == name))
    await tx.connection.execute(delete(group_table).where(group_table.c.name == name))
    tx.record(
        "group.remove",
        name,
        {
            "priority": found.priority,
            "policy": _text(found.policy),
            "memberships": gone.rowcount,
        },
    )


async def group(connection: AsyncConnection, name: str) -> Group | None:
    found = await connection.execute(select(group_table).where(group_table.c.name == name))
    row = found.one_or_none()
    return None if row is None else _group(row)


async def groups(connection: AsyncConnection) -> Sequence[Group]:
    found = await connection.execute(
        select(group_table).order_by(group_table.c.priority.desc(), group_table.c.name)
    )
    return [_group(row) for row in found]


async def groups_of(connection: AsyncConnection, user_id: UserId) -> Sequence[Group]:
    theirs = select(membership.c.group_name).where(membership.c.user_id == user_id)
    found = await connection.execute(
        select(group_table)
        .where(group_table.c.name.in_(theirs))
        .order_by(group_table.c.priority.desc(), group_table.c.name)
    )
    return [_group(row) for row in found]


async def members(connection: AsyncConnection, name: str) -> Sequence[User]:
    theirs = select(membership.c.user_id).where(membership.c.group_name == name)
    found = await connection.execute(
        select(user).where(user.c.id.in_(theirs)).order_by(user.c.name)
    )
    return await rows.values(found, people.user_of)


async def join_group(tx: Transaction, user_id: UserId, name: str) -> None:
    await people.hold_user(tx, user_id)
    await _known(tx, name)
    if name not in await said_by(tx.connection, user_id, LOCAL):
        await _put(tx, user_id, name, LOCAL)


async def leave_group(tx: Transaction, user_id: UserId, name: str) -> None:
    await people.hold_user(tx, user_id)
    if name not in await said_by(tx.connection, user_id, LOCAL):
        raise NotFound(
            f"{user_id} did not join {name}",
            public=f"The user was not put into the group {shown(name)} here.",
        )
    await _take(tx, user_id, name, LOCAL)


async def said_by(connection: AsyncConnection, user_id: UserId, source: str) -> set[str]:
    """The groups in which the user is because `source` says so."""
    found = await connection.scalars(
        select(membership.c.group_name).where(
            membership.c.user_id == user_id, membership.c.source == source
        )
    )
    return set(found.all())


async def known_of(connection: AsyncConnection, names: Collection[str]) -> set[str]:
    """Those of the names that are groups."""
    found = await connection.scalars(
        select(group_table.c.name).where(group_table.c.name.in_(sorted(set(names))))
    )
    return set(found.all())


async def sync_groups(
    tx: Transaction, user_id: UserId, names: Collection[str], *, source: str
) -> None:
    await people.hold_user(tx, user_id)
    before = await said_by(tx.connection, user_id, source)
    after = await known_of(tx.connection, names)
    for name in sorted(after - before):
        await _known(tx, name)
        await _put(tx, user_id, name, source)
    for name in sorted(before - after):
        await _take(tx, user_id, name, source)


async def forget(tx: Transaction, user_id: UserId) -> None:
    """Take the user out of all; the caller holds the user."""
    found = await tx.connection.execute(
        select(membership.c.group_name, membership.c.source)
        .where(membership.c.user_id == user_id)
        .order_by(membership.c.group_name, membership.c.source)
    )
    for name, source in found.all():
        await _take(tx, user_id, name, source)


async def _put(tx: Transaction, user_id: UserId, name: str, source: str) -> None:
    await tx.connection.execute(
        insert(membership).values(user_id=user_id, group_name=name, source=source)
    )
    tx.record("group.join", user_id, {"group": name, "source": source})


async def _take(tx: Transaction, user_id: UserId, name: str, source: str) -> None:
    await tx.connection.execute(
        delete(membership).where(
            membership.c.user_id == user_id,
            membership.c.group_name == name,
            membership.c.source == source,
        )
    )
    tx.record("group.leave", user_id, {"group": name, "source": source})


async def _known(tx: Transaction, name: str) -> Group:
    """The group, which stays until the transaction ends; raises `NotFound`."""
    found = await _hold_group(tx, name)
    if found is None:
        raise NotFound(f"no group {name}", public=f"There is no group {shown(name)}.")
    return found


async def _hold_group(tx: Transaction, name: str) -> Group | None:
    found = await tx.connection.execute(
        select(group_table).where(group_table.c.name == name).with_for_update()
    )
    row = found.one_or_none()
    return None if row is None else _group(row)


def _text(policy: Mapping[str, Any]) -> str:
    return json.dumps(policy, sort_keys=True, ensure_ascii=False)


def _group(row: Row[*tuple[Any, ...]]) -> Group:
    return Group(name=row.name, priority=row.priority, policy=row.policy)
