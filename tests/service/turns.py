"""Who goes on next, chosen by a test: brokers whose every call waits for its turn, on one thread.

A test of what may come between two calls must own the order of all of them. So the database is
asked in the very thread of the event loop, and each answer, and each order to the engine, is held
back until the test lets it through.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field

import aiosqlite
from sqlalchemy.dialects.sqlite.aiosqlite import AsyncAdapt_aiosqlite_dbapi

from broker.db.sqlite import open_engine
from broker.db.store import SqlStore
from tests.contract.stores import AUDIT_KEY
from tests.service.harness import WRITES, Fate, Killed


class _Cursor:
    """A cursor of the thread-less driver, with the methods that SQLAlchemy awaits."""

    def __init__(self, real: sqlite3.Cursor) -> None:
        self._real = real

    def __getattr__(self, name):
        return getattr(self._real, name)

    async def __aenter__(self):
        return self

    async def execute(self, *args):
        self._real.execute(*args)
        return self

    async def executemany(self, *args):
        self._real.executemany(*args)
        return self

    async def fetchall(self):
        return self._real.fetchall()

    async def close(self):
        self._real.close()


class _Connection:
    def __init__(self, real: sqlite3.Connection) -> None:
        self._connection = real

    def cursor(self):
        return _Cursor(self._connection.cursor())

    async def create_function(self, *args, **kwargs):
        self._connection.create_function(*args, **kwargs)

    async def commit(self):
        self._connection.commit()

    async def rollback(self):
        self._connection.rollback()

    async def close(self):
        self._connection.close()

    def stop(self):
        self._connection.close()


class _Driver(AsyncAdapt_aiosqlite_dbapi):
    def connect(self, *args, **kwargs):
        kwargs.pop("async_creator_fn", None)

        async def connect():
            return _Connection(sqlite3.connect(*args, **kwargs))

        return super().connect(*args, async_creator_fn=lambda *_, **__: connect(), **kwargs)


_SHARED: dict[str, object] = {}


def open_store(path, clock) -> SqlStore:
    """The real store over a driver that asks the database at once and never yields."""
    engine = open_engine(path)
    real = engine.sync_engine
    real.dialect.dbapi = _Driver(aiosqlite, sqlite3)
    # Statements that another engine has compiled are not compiled again.
    _SHARED.setdefault("dialect", real.dialect)
    _SHARED.setdefault("cache", real._compiled_cache)
    real.dialect, real._compiled_cache = _SHARED["dialect"], _SHARED["cache"]
    return SqlStore(engine, clock, AUDIT_KEY)


@dataclass(eq=False)
class Op:
    """Something that was begun: by a person, an admin, a loop."""

    label: str
    broker: object
    began: float
    """Monotonic time."""
    asked: int
    """The last audit row of before."""
    task: asyncio.Task | None = None
    judge: object = None
    """Called with what it returned."""
    parked: list[tuple[str, asyncio.Future]] = field(default_factory=list)
    """Its calls that wait for their turn, the longest first."""

    @property
    def done(self) -> bool:
        return self.task.done()


#: Whose work the running task is.
OP: ContextVar[Op | None] = ContextVar("op", default=None)


class Turns(Fate):
    """The fate of a broker each of whose calls stops: an order to the engine before it is given,
    and everything when its answer is there.
    """

    def __init__(self, model) -> None:
        super().__init__()
        self.model = model

    async def before(self, method, args):
        if method not in WRITES:
            return
        try:
            await self._park(f"before {method}")
        except asyncio.CancelledError:
            # It was on its way when its caller gave up or died: it arrives, some time.
            self.model.underway(method, args)
            raise

    async def after(self, method, args):
        if method in WRITES:
            self.model.engine_did(self, method, args)
        await self._park(f"after {method}")

    async def _park(self, label):
        if self.dead:
            raise Killed
        op = OP.get()
        turn = (label, asyncio.get_running_loop().create_future())
        op.parked.append(turn)
        try:
            await turn[1]
        finally:
            if turn in op.parked:
                op.parked.remove(turn)


class _Inline(ThreadPoolExecutor):
    """Does at once what would be a thread's."""

    def submit(self, work, /, *args, **kwargs):
        done = Future()
        try:
            done.set_result(work(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop in which nothing happens but by its own turns."""
    loop = asyncio.new_event_loop()
    loop.set_default_executor(_Inline(1))
    return loop


def drain(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until everything in it waits for somebody else."""

    async def until_quiet():
        for _ in range(10_000):
            await asyncio.sleep(0)
            if not loop._ready:
                return
        raise AssertionError("it never comes to rest")

    loop.run_until_complete(until_quiet())
