"""Transactions: short, whole or absent whatever becomes of the caller, each with its audit row."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from sqlalchemy import insert
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from broker.core.errors import DeskError, StaleState, StateUnusable
from broker.db import tables
from broker.db.sqlite import WRITES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import Index, PrimaryKeyConstraint
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from broker.core.interfaces import Clock

    Unique = Index | PrimaryKeyConstraint
    Fact = str | int | bool | None

T = TypeVar("T")

#: How often a transaction is begun afresh when another one took the same number first.
ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that writes: its connection, its one moment, and who asked for it."""

    connection: AsyncConnection
    now: datetime
    actor: str

    async def record(self, action: str, subject: str, detail: Mapping[str, Fact]) -> None:
        """Tell the audit of a change, in the transaction that makes it."""
        await self.connection.execute(
            insert(tables.audit).values(
                at=self.now,
                actor=self.actor,
                action=action,
                subject=subject,
                detail=dict(detail),
            )
        )


class Transactions:
    """Runs work on the database, and turns what the database says into errors of ours."""

    def __init__(self, engine: AsyncEngine, clock: Clock) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{WRITES: True})
        self._clock = clock
        # SQLite has one writer at a time and makes the others poll; a queue in front is fair.
        self._writers = asyncio.Semaphore(1 if engine.dialect.name == "sqlite" else ATTEMPTS)

    async def read(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Run one statement that changes nothing."""

        async def reading() -> T:
            with complaints():
                async with self._engine.connect() as connection:
                    return await work(connection)

        return await _to_its_end(reading())

    async def write(
        self,
        work: Callable[[Transaction], Awaitable[T]],
        *,
        actor: str,
        refusals: Mapping[Unique, DeskError] | None = None,
    ) -> T:
        """Run `work` in a transaction that is durable on return; whatever it raises leaves nothing.

        A collision that `refusals` names is raised as the error there. Every other one is with a
        transaction of the same moment: `work` runs afresh and sees what that one did.
        """

        async def writing() -> T:
            async with self._writers:
                for _ in range(ATTEMPTS):
                    try:
                        return await self._attempt(work, actor)
                    except IntegrityError as error:
                        _refuse(error, refusals or {})
                raise StaleState(f"a transaction of {actor} collided {ATTEMPTS} times")

        return await _to_its_end(writing())

    async def _attempt(self, work: Callable[[Transaction], Awaitable[T]], actor: str) -> T:
        with complaints():
            async with self._writer.begin() as connection:
                return await work(Transaction(connection, self._clock.now(), actor))


@contextmanager
def complaints() -> Iterator[None]:
    """Turn what a database says of itself, not of a row, into `StateUnusable`."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        raise StateUnusable(f"the state cannot be used: {error.orig}") from error
    except (PoolTimeout, OSError) as error:
        raise StateUnusable(f"the state does not answer: {error}") from error


def _refuse(error: IntegrityError, refusals: Mapping[Unique, DeskError]) -> None:
    for unique, refusal in refusals.items():
        if _violated(error, unique):
            raise refusal from error


def _violated(error: IntegrityError, unique: Unique) -> bool:
    """PostgreSQL names the constraint, SQLite its columns."""
    said = str(error.orig)
    columns = ", ".join(str(column) for column in unique.columns)
    return f'"{unique.name}"' in said or said.endswith(f": {columns}")


async def _to_its_end(work: Coroutine[object, object, T]) -> T:
    """Run `work` to its end even when the caller is cancelled, who then waits for that end: a
    statement in the database's thread cannot be called back, only its outcome be lost.
    """
    task = asyncio.create_task(work)  # noqa: TID251 - no longer-lived than this call
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _outlast(task)
        raise


async def _outlast(task: asyncio.Task[T]) -> None:
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
