import os
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import text

from broker.core.errors import StateUnusable
from broker.db import migrate
from broker.db.connect import connect
from broker.db.store import SqlStore
from tests.clocks import ManualClock
from tests.contract.stores import AUDIT_KEY, SqliteFile


@pytest.fixture
def path(tmp_path):
    return SqliteFile(tmp_path).path


async def test_the_file_is_opened_durable_and_checked(path):
    engine = await connect(path)
    async with engine.connect() as connection:
        said = {
            name: (await connection.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    await engine.dispose()
    assert said == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "busy_timeout": 5000,
    }


async def test_no_state_yet_tells_what_to_do(tmp_path):
    missing = tmp_path / "missing.db"
    with pytest.raises(StateUnusable, match="run `deskd migrate`"):
        await connect(missing)
    assert not missing.exists()


async def test_an_empty_file_wants_a_migration(tmp_path):
    path = tmp_path / "state.db"
    path.touch()
    with pytest.raises(StateUnusable, match=r"schema none.*run `deskd migrate`"):
        await connect(path)


async def test_older_state_wants_a_migration(path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    wanted = f"has schema 0001.*wants {migrate.head()}: run `deskd migrate`"
    with pytest.raises(StateUnusable, match=wanted):
        await connect(path)


async def test_a_file_of_something_else_is_refused(tmp_path):
    path = tmp_path / "state.db"
    path.write_bytes(b"no database at all" * 1000)
    with pytest.raises(StateUnusable, match="not a database"):
        await connect(path)
    with pytest.raises(StateUnusable, match="not a database"):
        await migrate.migrate(path)
    assert path.read_bytes() == b"no database at all" * 1000


async def test_a_damaged_file_is_refused(path):
    with closing(sqlite3.connect(path)) as connection:
        root = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'audit'"
        ).fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(b"\xff" * size)
    with pytest.raises(StateUnusable, match=r"damaged|malformed"):
        await connect(path)


async def test_a_cut_file_is_refused(path):
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(StateUnusable, match=r"damaged|malformed"):
        await connect(path)


async def test_a_directory_in_its_place_is_refused(tmp_path):
    with pytest.raises(StateUnusable, match="Is a directory"):
        await connect(tmp_path)
    with pytest.raises(StateUnusable, match="Is a directory"):
        await migrate.migrate(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
async def test_an_unwritable_file_is_refused(path):
    path.chmod(0o400)
    with pytest.raises(StateUnusable, match="Permission denied"):
        await connect(path)


async def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(StateUnusable, match="No such file or directory"):
        await migrate.migrate(tmp_path / "nowhere" / "state.db")


async def test_damage_met_later_is_unusable_state(path):
    store = SqlStore(await connect(path), ManualClock(), AUDIT_KEY)
    await store.add_user("ada", admin=False, actor="x")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE audit")
    with pytest.raises(StateUnusable):
        await store.audit()
    with pytest.raises(StateUnusable):
        await store.add_user("bob", admin=False, actor="x")
    assert await store.user("bob") is None
    await store.close()
