"""What is PostgreSQL's own: how it is reached and held, its migrations, its triggers. The store's
contract is held on it too.
"""

import sqlite3
import sys
from contextlib import closing
from dataclasses import replace

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from broker.core.errors import StateUnusable
from broker.db import migrate
from broker.db.connect import connect
from broker.db.opening import open_store
from broker.db.store import SqlStore
from broker.db.tables import metadata
from tests.clocks import ManualClock
from tests.contract.postgres import AUDIT_KEY, PostgresDatabase

OLD = [
    "INSERT INTO \"user\" VALUES ('u', 'ada', true, true, 1, NULL)",
    "INSERT INTO user_key VALUES ('SHA256:a', 'u', 1, 'p', 'lap', 1)",
    "INSERT INTO user_key VALUES ('SHA256:b', 'u', 2, 'p', 'lap', 1)",
    "INSERT INTO user_key VALUES ('SHA256:c', 'u', 3, 'p', '', 1)",
    "INSERT INTO audit (at, actor, action, subject, detail) VALUES (1, 'x', 'a.b', 's', '{}')",
    "INSERT INTO audit (at, actor, action, subject, detail) VALUES (2, 'x', 'a.b', 's', '{}')",
]


@pytest.fixture
async def engine(tmp_path):
    """Of a database without tables."""
    engine = PostgresDatabase(tmp_path, template="template0").engine()
    yield engine
    await engine.dispose()


@pytest.fixture
async def store(tmp_path):
    store = await PostgresDatabase(tmp_path).open(ManualClock())
    for n in range(4):
        await store.note(actor="x", action="a.b", subject="s", detail={"n": n})
    yield store
    await store.close()


async def to(engine, way, version):
    await migrate.run(engine, lambda config: getattr(command, way)(config, version))


async def run(engine, *orders):
    async with engine.begin() as connection:
        return [await connection.execute(text(order)) for order in orders][-1]


async def test_the_tables_are_what_the_migrations_make(engine):
    await to(engine, "upgrade", "head")

    def difference(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, metadata)

    async with engine.connect() as connection:
        assert await connection.run_sync(difference) == []


async def test_an_older_state_is_taken_up_and_goes_back(engine):
    await to(engine, "upgrade", "0003")
    await run(engine, *OLD)
    await to(engine, "upgrade", "head")
    clock = ManualClock()
    store = SqlStore(engine, clock, AUDIT_KEY)
    assert await store.open_audit(new_key=True) is None
    assert [key.name for key in await store.keys("u")] == ["lap", "lap-2", "key-3"]
    assert [entry.action for entry in await store.audit()] == ["audit.begin", "a.b", "a.b"]
    found = await store.verify_audit()
    assert (found.entries, found.problem) == (3, None)
    await store.set_group("staff", priority=1, policy={}, actor="x")
    await to(engine, "downgrade", "0003")
    names = (await run(engine, "SELECT comment FROM user_key ORDER BY position")).scalars().all()
    assert names == ["lap", "lap-2", "key-3"]
    assert (await run(engine, "SELECT count(*) FROM audit")).scalar() == 4
    await to(engine, "upgrade", "head")
    await to(engine, "downgrade", "base")


async def test_limited_keys_close_the_way_back(engine):
    await to(engine, "upgrade", "0003")
    await run(engine, *OLD)
    await to(engine, "upgrade", "head")
    for limit, none in (
        ("expires_at = 5", "expires_at = NULL"),
        ("sources = '[\"10.0.0.0/8\"]'", "sources = '[]'"),
        ("verify_required = true", "verify_required = false"),
    ):
        await run(engine, f"UPDATE user_key SET {limit}")
        with pytest.raises(RuntimeError, match="3 keys expire or are limited"):
            await to(engine, "downgrade", "0003")
        await run(engine, f"UPDATE user_key SET {none}")
    await to(engine, "downgrade", "0003")


@pytest.mark.parametrize(
    "order",
    [
        "UPDATE audit SET actor = 'eve' WHERE seq = 3",
        "UPDATE audit SET hash = NULL WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
        "TRUNCATE audit",
    ],
)
async def test_the_database_refuses_to_change_what_is_written(store, order):
    with pytest.raises(DBAPIError, match="append-only"):
        await run(store._engine, order)
    assert (await store.verify_audit()).problem is None


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("UPDATE audit SET detail = '{\"n\": 9}' WHERE seq = 3", "Entry 3 is not what was written"),
        ("DELETE FROM audit WHERE seq = 2", "Entry 2 is missing"),
        ("DELETE FROM audit WHERE seq > 2", "The audit ends at entry 2, and entry 4 was written"),
    ],
)
async def test_what_was_done_to_the_audit_is_found(store, order, said):
    await run(store._engine, "ALTER TABLE audit DISABLE TRIGGER USER", order)
    assert (await store.verify_audit()).problem.startswith(said)


# ------------------------------------------------------------------------- how it is reached, held


@pytest.fixture
def database(tmp_path):
    """Of a state, and without tables."""
    return PostgresDatabase(tmp_path, template="template0").at(tmp_path)


async def test_a_state_is_made_and_then_up_to_date(database):
    assert await migrate.migrate(database) == (None, migrate.head(), None)
    assert await migrate.migrate(database) == (migrate.head(), migrate.head(), None)
    store = await open_store(database, ManualClock())
    assert await store.instance()
    assert (database.state / "audit.key").exists()
    await store.close()


async def test_one_broker_alone_has_a_database(database):
    """The lock beside the keys is of one host."""
    await migrate.migrate(database)
    store = await open_store(database, ManualClock())
    with pytest.raises(StateUnusable, match="another broker uses this database"):
        await open_store(database, ManualClock())
    await store.close()
    await (await open_store(database, ManualClock())).close()


async def test_an_older_state_is_copied_before_it_is_changed(database):
    """To a file of SQLite's, which is a whole state of that version."""
    engine = PostgresDatabase.engine_of(database)
    await to(engine, "upgrade", "0003")
    await run(engine, *OLD)
    await engine.dispose()
    before, after, copy = await migrate.migrate(database)
    assert (before, after, copy) == ("0003", migrate.head(), database.state / "desk.db.0003.backup")
    assert copy.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in database.state.iterdir()] == [copy.name]
    with closing(sqlite3.connect(copy)) as found:
        assert found.execute("SELECT version_num FROM alembic_version").fetchall() == [("0003",)]
        assert len(found.execute("SELECT * FROM user_key").fetchall()) == 3
        assert len(found.execute("SELECT * FROM audit").fetchall()) == 2


async def test_a_newer_state_is_left_alone(database):
    await migrate.migrate(database)
    engine = PostgresDatabase.engine_of(database)
    await run(engine, "UPDATE alembic_version SET version_num = '9999'")
    await engine.dispose()
    for refused in (migrate.migrate, connect):
        with pytest.raises(StateUnusable, match="schema 9999, made by a newer Desk"):
            await refused(database)
    assert not list(database.state.iterdir())


async def test_what_cannot_be_reached_is_one_sentence(database, tmp_path):
    """Without a server, without the database, without the file of the password, without tables."""
    nowhere = replace(database, url="postgresql+asyncpg://desk@localhost:1/desk")
    absent = replace(database, url=database.url.replace("@/", "@/no"))
    unread = replace(database, password=tmp_path / "absent")
    for wrong, said in (
        (nowhere, "onnect"),
        (absent, 'database "no.*" does not exist'),
        (unread, "No such file"),
        (database, "has schema none"),
    ):
        with pytest.raises(StateUnusable, match=said):
            await connect(wrong)


async def test_the_library_is_an_extra(database, monkeypatch):
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StateUnusable, match="wants the extra 'postgres'"):
        await connect(database)
