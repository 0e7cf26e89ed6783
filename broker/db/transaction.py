"""Transactions: short, whole or absent whatever becomes of the caller, each with its audit row."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from broker.core.errors import DeskError, StaleState, StateUnusable
from broker.core.model import Actor
from broker.db import audit
from broker.db.sqlite import WRITES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
    from datetime import datetime

    from sqlalchemy import Index, PrimaryKeyConstraint
    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

    from broker.core.chain import Chain
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
    actor: Actor
    told: list[dict[str, Any]] = field(default_factory=list)

    def record(
        self,
        action: str,
        subject: str,
        detail: Mapping[str, Fact],
        *,
        actor: Actor | None = None,
        at: datetime | None = None,
    ) -> None:
        """Tell the audit of a change, in the transaction that makes it; of somebody else's and of
        another moment where they are named. It is written at the transaction's end.
        """
        who = actor or self.actor
        self.told.append(
            {
                "at": at or self.now,
                "actor": who.name,
                "proof": who.proof,
                "origin": who.origin,
                "action": action,
                "subject": subject,
                "detail": dict(detail),
            }
        )


class Transactions:
    """Runs work on the database, and turns what the database says into errors of ours."""

    def __init__(self, engine: AsyncEngine, clock: Clock, chain: Chain) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{WRITES: True})
        self._clock = clock
        self._chain = chain
        # SQLite has one writer at a time and makes the others poll; a queue in front is fair.
        self._writers = asyncio.Semaphore(1 if engine.dialect.name == "sqlite" else ATTEMPTS)
        self._recorded = asyncio.Event()

    def next_record(self) -> asyncio.Event:
        """Set once a transaction that told the audit something is durable; ask before you read."""
        return self._recorded

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
        actor: Actor | str,
        refusals: Mapping[Unique, DeskError] | None = None,
    ) -> T:
        """Run `work` in a transaction that is durable on return; whatever it raises leaves nothing.

        A collision that `refusals` names is raised as the error there. Every other one is with a
        transaction of the same moment: `work` runs afresh and sees what that one did.
        """
        who = Actor(actor) if isinstance(actor, str) else actor

        async def writing() -> T:
            async with self._writers:
                for _ in range(ATTEMPTS):
                    try:
                        return await self._attempt(work, who)
                    except IntegrityError as error:
                        _refuse(error, refusals or {})
                raise StaleState(f"a transaction of {who.name} collided {ATTEMPTS} times")

        return await _to_its_end(writing())

    async def _attempt(self, work: Callable[[Transaction], Awaitable[T]], actor: Actor) -> T:
        with complaints():
            async with self._writer.begin() as connection:
                tx = Transaction(connection, self._clock.now(), actor)
                result = await work(tx)
                if tx.told:
                    await audit.write(connection, self._chain, tx.told)
        if tx.told:
            self._recorded.set()
            self._recorded = asyncio.Event()
        return result


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
