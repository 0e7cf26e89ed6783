"""What is PostgreSQL's own: its migrations, its triggers. The store's contract is held on it too."""

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from broker.db import migrate
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
