"""The installation's own id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import insert, select

from broker.core.model import InstanceId, new_id
from broker.db.tables import instance as instance_table

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from broker.db.transaction import Transaction


async def instance(connection: AsyncConnection) -> InstanceId | None:
    found: str | None = await connection.scalar(select(instance_table.c.id))
    return None if found is None else InstanceId(found)


async def make_instance(tx: Transaction) -> InstanceId:
    found = await instance(tx.connection)
    if found is not None:
        return found
    made = InstanceId(new_id())
    await tx.connection.execute(insert(instance_table).values(number=1, id=made))
    tx.record("instance.create", made, {})
    return made
