"""Long answers of the database, turned into values without holding up everybody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import CursorResult, Row

T = TypeVar("T")

#: Rows turned into values in one go, at some 10 microseconds each.
SLICE = 100


async def values(
    rows: CursorResult[*tuple[Any, ...]], value: Callable[[Row[*tuple[Any, ...]]], T]
) -> list[T]:
    """The value of each row. The database's thread fetched them; what becomes of them is made in
    the event loop, which turns to others between slices.
    """
    made: list[T] = []
    for part in rows.partitions(SLICE):
        made += map(value, part)
        await asyncio.sleep(0)
    return made
