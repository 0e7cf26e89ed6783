"""The state in a PostgreSQL database: how it is reached, and held by one broker alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import NullPool, make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from broker.core.errors import StateUnusable

if TYPE_CHECKING:
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

#: Seconds for a connect, and for one statement: a walk along the audit is many.
_CONNECT, _STATEMENT = 10.0, 60.0

#: The advisory lock of whoever has a database as its state: any number, the same for ever.
_LOCK = 0x6465736B


@dataclass(frozen=True, slots=True)
class Postgres:
    """One database. Making this does no I/O."""

    url: str
    """`postgresql+asyncpg://USER@HOST/NAME`, with libpq's parameters behind a `?`; without a
    password.
    """
    password: Path | None
    """A file with the password, which is read for each connection."""
    state: Path
    """Where the keys are that the database does not hold."""

    def __str__(self) -> str:
        return self.url


def open_engine(database: Postgres, *, alone: bool = False) -> AsyncEngine:
    """An engine over the database; nothing is read yet. `alone`: no connection outlives its use, so
    that the engine may be used in one loop after the other. Raises `StateUnusable` where the library
    is not installed.
    """
    try:
        import asyncpg
    except ModuleNotFoundError:
        raise StateUnusable(
            public="database: PostgreSQL wants the extra 'postgres'"
            " (pip install 'desk-broker[postgres]', Debian: python3-asyncpg)."
        ) from None

    dsn = make_url(database.url).set(drivername="postgresql").render_as_string()

    async def connect() -> Any:
        try:
            password = None
            if database.password is not None:
                password = database.password.read_text(encoding="utf-8").rstrip("\r\n")
            return await asyncpg.connect(
                dsn,
                password=password,
                timeout=_CONNECT,
                command_timeout=_STATEMENT,
                # Plans of statements that change their tables' form, as migrations do, are none.
                statement_cache_size=0 if alone else 100,
                server_settings={"application_name": "desk", "jit": "off"},
            )
        except (asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
            # As the errors of the network are: whoever asks turns all of them into one of ours.
            raise ConnectionError(f"{database.url}: {error}") from error

    pool: dict[str, Any] = (
        {"poolclass": NullPool}
        if alone
        else {"pool_size": 8, "max_overflow": 0, "pool_pre_ping": True}
    )
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        hide_parameters=True,  # of an error's text: hashes, secrets
        **pool,
    )


async def hold(engine: AsyncEngine, database: Postgres) -> AsyncConnection:
    """A connection by which this process alone has the database as its state, until it is closed:
    the lock beside the keys holds on one host. Raises `StateUnusable` while another one has it.
    """
    connection = await engine.connect()
    try:
        got = await connection.scalar(text("SELECT pg_try_advisory_lock(:n)"), {"n": _LOCK})
        # Its session has the lock from here on, and is in no transaction that would grow old.
        await connection.commit()
    except BaseException:
        await connection.close()
        raise
    if not got:
        await connection.close()
        raise StateUnusable(
            public=f"{database}: another broker uses this database; stop it first, or give this one"
            " a database of its own."
        )
    return connection
