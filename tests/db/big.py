"""A state as large as one gets, made in bulk; `tests.db.speed` measures over it."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Table, insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from broker.core.idle import Signal, Step
from broker.core.model import LeaseKind, SessionState
from broker.core.pools import Pool, Pools
from broker.db import tables
from broker.db.sqlite import WRITES
from tests.clocks import START
from tests.contract.stores import HOST

#: Room for every size below.
POOLS = Pools(
    ports=Pool(20000, 59999),
    displays=Pool(1000, 40999),
    addresses=Pool(0x0A000002, 0x0AFFFFF0),
    uids=Pool(200000, 2000000),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    desktops: int = 100_000
    """Each with a user and a key of its own: `fingerprint(n)`, `user(n)`, desktop `main`."""
    live: int = 2_000
    """Sessions, of the first desktops."""
    ended: int = 100_000
    """Sessions, spread over all desktops."""
    deadlines: int = 3
    """Of each session, live or ended."""


def fingerprint(n: int) -> str:
    return f"SHA256:{n:043}"


def user(n: int) -> str:
    return f"u{n}"


async def fill(engine: AsyncEngine, size: Size, *, host: str = HOST) -> None:
    """Fill an empty state of the newest schema, in one transaction and without an audit. The same
    size makes the same state.
    """
    writer = engine.execution_options(**{WRITES: True})
    async with writer.begin() as connection, _roomy(connection):
        for table, rows in _rows(size, host):
            await _insert(connection, table, rows)


@asynccontextmanager
async def _roomy(connection: AsyncConnection) -> AsyncIterator[None]:
    """With SQLite's own 2 MiB of cache each page of an index goes to the disk again and again."""
    if connection.dialect.name != "sqlite":
        yield
        return
    before = (await connection.exec_driver_sql("PRAGMA cache_size")).scalar_one()
    await connection.exec_driver_sql(f"PRAGMA cache_size = {-(2**20)}")
    yield
    await connection.exec_driver_sql(f"PRAGMA cache_size = {before}")


Rows = Iterator[dict[str, Any]]


async def _insert(connection: AsyncConnection, table: Table, rows: Rows) -> None:
    while part := list(islice(rows, 10_000)):
        await connection.execute(insert(table), part)


def _rows(size: Size, host: str) -> Iterator[tuple[Table, Rows]]:
    # Ids have no order, as the real ones: an index of them is written all over.
    chance = random.Random(size.desktops)

    def ids(many: int) -> list[str]:
        return [f"{chance.getrandbits(64):016x}" for _ in range(many)]

    people, owned = ids(size.desktops), ids(size.desktops)
    live, ended = ids(size.live), ids(size.ended)
    runs = [(run, owned[n], False) for n, run in enumerate(live)]
    runs += [(run, owned[n % size.desktops], True) for n, run in enumerate(ended)]
    yield tables.user, (_user(n, person) for n, person in enumerate(people))
    yield tables.user_key, (_key(n, person) for n, person in enumerate(people))
    yield (
        tables.desktop,
        (
            _desktop(n, person, desktop)
            for n, (person, desktop) in enumerate(zip(people, owned, strict=True))
        ),
    )
    yield (
        tables.lease,
        (
            _lease(host, LeaseKind.UID, POOLS.uids.first + n, None, desktop)
            for n, desktop in enumerate(owned)
        ),
    )
    yield tables.session, (_session(n, host, *run) for n, run in enumerate(runs))
    yield (
        tables.lease,
        (
            _lease(host, kind, pool.first + n, run, owned[n])
            for n, run in enumerate(live)
            for kind, pool in (
                (LeaseKind.PORT, POOLS.ports),
                (LeaseKind.DISPLAY, POOLS.displays),
                (LeaseKind.ADDRESS, POOLS.addresses),
            )
        ),
    )
    # In turns, as they come in life: a session's own do not lie side by side.
    yield (
        tables.deadline,
        (_deadline(nth, run) for nth in range(size.deadlines) for run, _, _ in runs),
    )


def _user(n: int, person: str) -> dict[str, Any]:
    return {"id": person, "name": user(n), "admin": False, "enabled": True, "created_at": START}


def _key(n: int, person: str) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint(n),
        "user_id": person,
        "position": 1,
        "public": f"ssh-ed25519 {n:068}",
        "name": f"{user(n)}@laptop",
        "added_at": START,
    }


def _desktop(n: int, person: str, desktop: str) -> dict[str, Any]:
    return {
        "id": desktop,
        "user_id": person,
        "name": "main",
        "template": "standard",
        "uid": POOLS.uids.first + n,
        "created_at": START,
        "home_made_at": START,
    }


def _lease(
    host: str, kind: LeaseKind, number: int, run: str | None, desktop: str
) -> dict[str, Any]:
    return {
        "host": host,
        "kind": kind,
        "number": number,
        "session_id": run,
        "desktop_id": desktop,
        "since": START,
    }


def _session(n: int, host: str, run: str, desktop: str, ended: bool) -> dict[str, Any]:
    at = START + timedelta(seconds=n)
    return {
        "id": run,
        "desktop_id": desktop,
        "state": SessionState.ENDED if ended else SessionState.READY,
        "host": host,
        "image": f"sha256:{7:064x}",
        "reason": "Nobody was in it for 8 hours." if ended else None,
        "created_at": at,
        "changed_at": at,
    }


def _deadline(nth: int, run: str) -> dict[str, Any]:
    return {
        "session_id": run,
        "at": START + timedelta(minutes=nth),
        "step": Step.FREEZE,
        "due_at": START + timedelta(minutes=nth + 30),
        "signal": Signal.TYPING,
        "reason": "Somebody typed in a terminal.",
        "actor": "broker",
    }
