import asyncio
import os
import re
import sqlite3
import stat
import sys
from contextlib import closing

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from broker.core.errors import StateUnusable
from broker.core.idle import Signal, Step
from broker.core.model import SessionState, key_name
from broker.db import migrate, sqlite
from broker.db.connect import connect
from broker.db.store import SqlStore
from broker.db.tables import metadata
from tests.clocks import ManualClock
from tests.contract.stores import AUDIT_KEY


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.db"


@pytest.fixture
async def engine(path):
    sqlite.create(path)
    engine = sqlite.open_engine(path, foreign_keys=False)
    yield engine
    await engine.dispose()


def schema(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT type, name, sql FROM sqlite_master WHERE name != 'alembic_version'"
            " AND name NOT LIKE 'sqlite_%' ORDER BY name"
        ).fetchall()


async def test_it_makes_the_state_once(path):
    assert await migrate.migrate(path) == (None, migrate.head(), None)
    made = schema(path)
    assert await migrate.migrate(path) == (migrate.head(), migrate.head(), None)
    assert schema(path) == made


async def test_the_tables_are_what_the_migrations_make(engine):
    await migrate.run(engine, lambda config: command.upgrade(config, "head"))

    def difference(connection):
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, metadata)

    async with engine.connect() as connection:
        assert await connection.run_sync(difference) == []


async def test_the_checks_and_indexes_are_what_the_tables_say(path, tmp_path):
    # Alembic's comparison looks at neither checks nor the conditions of indexes.
    await migrate.migrate(path)
    straight = tmp_path / "straight.db"
    engine = sqlite.open_engine(straight)
    async with engine.begin() as connection:
        await connection.run_sync(metadata.create_all)
    await engine.dispose()

    def parts(path):
        # At the commas too that stand in no parentheses: a later column shares a line, the last one
        # with what closes the table.
        return {
            name: sorted(
                part.strip()
                for part in re.split(r",?\s*\n|,(?![^(]*\))", sql.removesuffix(")"))
                if part.strip()
            )
            for _, name, sql in schema(path)
        }

    assert parts(path) == parts(straight)


async def test_up_down_up_comes_back_to_the_same(engine, path):
    await migrate.run(engine, lambda config: command.upgrade(config, "head"))
    first = schema(path)
    await migrate.run(engine, lambda config: command.downgrade(config, "base"))
    assert schema(path) == []
    await migrate.run(engine, lambda config: command.upgrade(config, "head"))
    assert schema(path) == first


async def test_sleep_comes_to_what_was_there_and_goes_again(engine, path):
    await migrate.run(engine, lambda config: command.upgrade(config, "0001"))
    first = schema(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in FIRST:
            connection.execute(row)
        before = contents(connection)
    await migrate.run(engine, lambda config: command.upgrade(config, "0002"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        after = contents(connection)
        assert after.pop("deadline") == []
        assert after.pop("session") == [(*row, None) for row in before["session"]]
        assert after == {table: rows for table, rows in before.items() if table != "session"}
        connection.execute("UPDATE session SET kept_until = 17 WHERE id = 's2'")
        connection.execute(
            "INSERT INTO deadline VALUES (1, 's2', 5, 'freeze', 9, 'keep', 'because', 'x')"
        )
        for lie in ("step = 'sleep'", "signal = 'mood'", "session_id = 's9'", "signal = NULL"):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(f"UPDATE deadline SET {lie}")
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute("UPDATE session SET state = 'asleep'")
    await migrate.run(engine, lambda config: command.downgrade(config, "0001"))
    assert schema(path) == first
    with closing(sqlite3.connect(path)) as connection:
        assert contents(connection) == before


async def test_a_session_of_before_sleep_is_read_and_kept(engine, path):
    await migrate.run(engine, lambda config: command.upgrade(config, "0001"))
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in FIRST:
            connection.execute(row)
    assert (await migrate.migrate(path))[:2] == ("0001", migrate.head())
    clock = ManualClock()
    store = SqlStore(await connect(path), clock, AUDIT_KEY)
    (old,) = await store.live_sessions("host-a")
    assert (old.id, old.state, old.port, old.kept_until) == ("s2", SessionState.READY, 20000, None)
    assert await store.last_deadlines("host-a") == []
    assert (await store.keep_session("s2", until=clock.now(), actor="x")).kept_until == clock.now()
    made = await store.note_deadline(
        "s1", step=Step.STOP, due_at=clock.now(), signal=Signal.AGE, reason="old", actor="x"
    )
    assert await store.deadlines("s1") == [made]
    await store.close()


#: Rows of the first schema, a live session and an ended one among them.
FIRST = [
    "INSERT INTO instance VALUES (1, 'i')",
    "INSERT INTO user VALUES ('u', 'ada', 1, 1, 1, NULL)",
    "INSERT INTO user_key VALUES ('SHA256:a', 'u', 1, 'ssh-ed25519 A', 'lap', 1)",
    "INSERT INTO desktop VALUES ('d', 'u', 'main', 't', 200000, 1, 2, NULL)",
    "INSERT INTO session VALUES ('s1', 'd', 'ended', 'host-a', 'm', NULL, 'You were idle.', 1, 2)",
    "INSERT INTO session VALUES ('s2', 'd', 'ready', 'host-a', 'm', 9, NULL, 3, 4)",
    "INSERT INTO lease VALUES ('host-a', 'uid', 200000, NULL, 'd', 1)",
    "INSERT INTO lease VALUES ('host-a', 'port', 20000, 's2', 'd', 1)",
    "INSERT INTO set_aside VALUES ('host-a', 'port', 20001, 9)",
    "INSERT INTO audit VALUES (7, 1, 'x', 'session.begin', 's2', '{}')",
]


def contents(connection):
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name != 'alembic_version'"
        " AND name NOT LIKE 'sqlite_%'"
    ).fetchall()
    return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in tables}


async def test_a_step_that_fails_leaves_nothing(engine, path, monkeypatch):
    def fail(*_args, **_kwargs):
        raise RuntimeError("in the middle")

    monkeypatch.setattr("alembic.op.create_index", fail)
    with pytest.raises(RuntimeError):
        await migrate.run(engine, lambda config: command.upgrade(config, "head"))
    assert schema(path) == []
    assert await migrate.current(engine) is None


async def test_files_are_for_their_owner_alone(path, tmp_path):
    old = os.umask(0)
    try:
        await migrate.migrate(path)
        store = SqlStore(await connect(path), ManualClock(), AUDIT_KEY)
        await store.instance()
        sqlite.back_up(path, "0003")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        await store.close()
    finally:
        os.umask(old)
    assert set(modes) == {"state.db", "state.db-wal", "state.db-shm", "state.db.0003.backup"}
    assert set(modes.values()) == {0o600}


async def test_state_that_had_a_version_is_copied_first(path, monkeypatch):
    await migrate.migrate(path)
    store = SqlStore(await connect(path), ManualClock(), AUDIT_KEY)
    ada = await store.add_user("ada", admin=False, actor="x")
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0000'")
    seen = []

    async def run(_engine, _step):
        with closing(sqlite3.connect(path.with_name("state.db.0000.backup"))) as connection:
            seen.extend(connection.execute("SELECT id FROM user"))

    monkeypatch.setattr(migrate, "run", run)
    monkeypatch.setattr(migrate, "refuse_newer", lambda _version: None)
    copy = path.with_name("state.db.0000.backup")
    assert await migrate.migrate(path) == ("0000", migrate.head(), copy)
    assert seen == [(ada.id,)]
    assert not list(path.parent.glob("*-part"))


async def test_a_new_state_needs_no_copy(path):
    await migrate.migrate(path)
    assert not list(path.parent.glob("*.backup"))


async def test_newer_state_is_left_alone(path):
    await migrate.migrate(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StateUnusable, match=r"schema 9999, made by a newer Desk"):
        await migrate.migrate(path)
    with pytest.raises(StateUnusable, match=r"schema 9999, made by a newer Desk"):
        await connect(path)


async def test_broken_references_undo_the_step(engine, path):
    await migrate.run(engine, lambda config: command.upgrade(config, "head"))
    await migrate.run(engine, lambda config: command.downgrade(config, "base"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE a (id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE b (a INTEGER REFERENCES a (id))")
        connection.execute("INSERT INTO b VALUES (1)")
    before = schema(path)
    with pytest.raises(RuntimeError, match="broken references"):
        await migrate.run(engine, lambda config: command.upgrade(config, "head"))
    assert schema(path) == before


MIGRATE = """
import asyncio, pathlib, sys
from broker.core.errors import StateUnusable
from broker.db.migrate import migrate
try:
    print(*asyncio.run(migrate(pathlib.Path(sys.argv[1])))[:2])
except StateUnusable:
    print("refused")
"""


async def test_two_processes_that_migrate_at_once_make_one_state(path):
    run = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", MIGRATE, str(path), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [(await process.communicate())[0].decode().strip() for process in run]
    assert f"None {migrate.head()}" in said
    assert await migrate.migrate(path) == (migrate.head(), migrate.head(), None)


async def test_an_installed_package_brings_its_migrations(tmp_path, monkeypatch):
    package = tmp_path / "broker"
    monkeypatch.setattr(migrate.broker, "__file__", str(package / "__init__.py"))
    assert migrate._scripts() == tmp_path / "migrations"
    (package / "migrations").mkdir(parents=True)
    assert migrate._scripts() == package / "migrations"


async def test_the_archive_comes_to_what_was_there_and_goes_again(engine, path):
    await migrate.run(engine, lambda config: command.upgrade(config, "0001"))
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in FIRST:
            connection.execute(row)
    await migrate.run(engine, lambda config: command.upgrade(config, "0002"))
    second = schema(path)
    with closing(sqlite3.connect(path)) as connection:
        before = contents(connection)
    await migrate.run(engine, lambda config: command.upgrade(config, "0003"))
    with closing(sqlite3.connect(path)) as connection:
        after = contents(connection)
        assert after.pop("desktop") == [(*row, None, None, None, None) for row in before["desktop"]]
        assert before["desktop"]
        assert after == {table: rows for table, rows in before.items() if table != "desktop"}
    await migrate.run(engine, lambda config: command.downgrade(config, "0002"))
    assert schema(path) == second
    with closing(sqlite3.connect(path)) as connection:
        assert contents(connection) == before


async def test_an_older_desk_does_not_get_homes_that_it_could_not_find(engine, path):
    """The way back is closed while a home is in the archive."""
    await migrate.run(engine, lambda config: command.upgrade(config, "0001"))
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in FIRST:
            connection.execute(row)
    await migrate.run(engine, lambda config: command.upgrade(config, "0003"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE desktop SET archived_at = 5")
        third = schema(path)
    with pytest.raises(RuntimeError, match="packed away: start their desktops first"):
        await migrate.run(engine, lambda config: command.downgrade(config, "0002"))
    assert schema(path) == third


async def third(engine, path, *more):
    """A state of before identities, with what `FIRST` says and `more`."""
    await migrate.run(engine, lambda config: command.upgrade(config, "0001"))
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in FIRST:
            connection.execute(row)
    await migrate.run(engine, lambda config: command.upgrade(config, "0003"))
    with closing(sqlite3.connect(path)) as connection, connection:
        for row in more:
            connection.execute(*row)
        return contents(connection)


async def test_identities_come_to_what_was_there_and_go_again(engine, path):
    before = await third(engine, path)
    old = schema(path)
    await migrate.run(engine, lambda config: command.upgrade(config, "0004"))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = ON")
        after = contents(connection)
        new = ("password", "codes", "recovery_code", "invite", "group", "membership", "audit_head")
        assert [after.pop(table) for table in new] == [[]] * 7
        assert after.pop("user") == [(*row, "local") for row in before["user"]]
        keys = [(*row, None, "[]", 0, None, None) for row in before["user_key"]]
        assert after.pop("user_key") == keys
        assert after.pop("audit") == [(*row, None, None, None) for row in before["audit"]]
        assert before["user_key"] and before["audit"]
        assert after == {table: before[table] for table in after}
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute("UPDATE audit SET actor = 'eve'")
        for lie in (
            (
                "INSERT INTO user_key (fingerprint, user_id, position, public, name, added_at)"
                " VALUES ('SHA256:b', 'u', 2, 'p', 'lap', 1)"
            ),
            "INSERT INTO membership VALUES ('u', 'nothing', 'local')",
            "INSERT INTO invite VALUES ('i', 't', 'nobody', 1, 'x', 1, NULL, NULL)",
            "INSERT INTO audit_head VALUES (2, 0, '')",
        ):
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(lie)
    await migrate.run(engine, lambda config: command.downgrade(config, "0003"))
    assert schema(path) == old
    with closing(sqlite3.connect(path)) as connection:
        assert contents(connection) == before


async def test_comments_become_names_that_differ(engine, path):
    said = ["", "lap", "lap", "lap-2", "", " \t", "a\x1b[2Jb", "n" * 99, "n" * 99, "key-2", "é ü"]
    await third(
        engine,
        path,
        ["INSERT INTO user VALUES ('v', 'bob', 0, 1, 1, NULL)"],
        ["INSERT INTO user_key VALUES ('SHA256:v', 'v', 1, 'p', 'lap', 1)"],
        *(
            (
                "INSERT INTO user_key VALUES (?, 'u', ?, 'p', ?, 1)",
                (f"SHA256:{n:02}", n, comment),
            )
            for n, comment in enumerate(said, 2)
        ),
    )
    assert (await migrate.migrate(path))[:2] == ("0003", migrate.head())
    store = SqlStore(await connect(path), ManualClock(), AUDIT_KEY)
    keys = await store.keys("u")
    names = [key.name for key in keys]
    assert names[0] == "lap"
    assert names[1:] == [
        "key-2",
        "lap-2",
        "lap-3",
        "lap-2-2",
        "key-6",
        "key-7",
        "a[2Jb",
        "n" * 64,
        "n" * 62 + "-2",
        "key-2-2",
        "é ü",
    ]
    assert [key.name for key in await store.keys("v")] == ["lap"]
    assert all(key_name(name) == name for name in names)
    await store.close()


async def test_an_older_desk_does_not_get_keys_whose_limits_it_would_not_hold(engine, path):
    await third(engine, path)
    await migrate.run(engine, lambda config: command.upgrade(config, "0004"))
    for limit in ("expires_at = 5", "sources = '[\"10.0.0.0/8\"]'", "verify_required = 1"):
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"UPDATE user_key SET {limit}")
        with pytest.raises(RuntimeError, match="1 keys expire or are limited: remove them first"):
            await migrate.run(engine, lambda config: command.downgrade(config, "0003"))
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(
                "UPDATE user_key SET expires_at = NULL, sources = '[]', verify_required = 0"
            )
    await migrate.run(engine, lambda config: command.downgrade(config, "0003"))
