"""Whole states that move between SQLite and PostgreSQL."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import inspect, text

from broker.core.errors import StateUnusable
from broker.core.idle import Signal, Step
from broker.db import migrate, sqlite
from broker.db.connect import connect
from broker.db.copying import copying, to_file
from broker.db.place import open_engine
from broker.db.store import SqlStore
from tests.clocks import ManualClock
from tests.contract.postgres import AUDIT_KEY, PostgresDatabase
from tests.contract.stores import HOST, POOLS, SqliteFile


@pytest.fixture
def place(tmp_path):
    return SqliteFile(tmp_path)


@pytest.fixture
async def source(place):
    """A file with something in every kind of column."""
    store = await place.open(ManualClock())
    await fill(store)
    await store.close()
    return place.path


@pytest.fixture
def target(tmp_path):
    """A database without tables."""
    return PostgresDatabase(tmp_path, template="template0").at(tmp_path)


async def fill(store):
    assert await store.open_audit(new_key=True) is None
    await store.instance()
    ada = await store.add_user("ada", admin=True, actor="x")
    await store.set_group("staff", priority=3, policy={"allow.agent": "false"}, actor="x")
    await store.join_group(ada.id, "staff", actor="x")
    desktop = await store.ensure_desktop(
        ada.id, "main", template="default", host=HOST, pools=POOLS, actor="x"
    )
    session = await store.begin_session(
        desktop.id,
        host=HOST,
        image="sha256:1",
        pools=POOLS,
        deadline=ManualClock().now(),
        actor="x",
    )
    for n in range(20):  # more than a transaction is tried anew
        await due(store, session.id, f"r{n}")
    for n in range(1200):
        await store.note(actor="x", action="a.b", subject="ß", detail={"n": n, "t": None})


async def due(store, session_id, reason):
    return await store.note_deadline(
        session_id, step=Step.FREEZE, due_at=None, signal=Signal.INPUT, reason=reason, actor="x"
    )


async def answers(database):
    """All that the state says."""
    store = SqlStore(await connect(database), ManualClock(), AUDIT_KEY)
    people = await store.users()
    sessions = await store.live_sessions()
    told = (
        await store.instance(),
        people,
        [await store.groups_of(user.id) for user in people],
        await store.groups(),
        await store.desktops(removed=True),
        sessions,
        [await store.deadlines(session.id) for session in sessions],
        sorted(await store.leases(), key=repr),
        await store.audit_chain(limit=5000),
        await store.verify_audit(),
    )
    await store.close()
    return told


async def empty(database):
    engine = open_engine(database, alone=True)
    async with engine.connect() as connection:
        names = await connection.run_sync(lambda found: inspect(found).get_table_names())
    await engine.dispose()
    return names == []


async def test_a_state_goes_there_and_comes_back(source, target, tmp_path):
    """The same answers each time, and the audit is whole."""
    before = await answers(source)
    async with copying(source, target) as copied:
        pass
    assert (copied.schema, copied.rows["audit"], copied.rows["deadline"]) == (
        migrate.head(),
        len(before[-2]),
        20,
    )
    assert await answers(target) == before
    assert before[-1].problem is None
    back = tmp_path / "back.db"
    sqlite.create(back)
    assert (await to_file(target, back)).rows == copied.rows
    assert not list(tmp_path.glob("back.db-*"))
    assert await answers(back) == before


async def test_life_goes_on_there(source, target):
    """Numbers go on where they were, uniqueness and the audit's protection hold."""
    async with copying(source, target):
        pass
    store = SqlStore(await connect(target), ManualClock(), AUDIT_KEY)
    (session,) = await store.live_sessions()
    await due(store, session.id, "later")
    assert [d.reason for d in await store.deadlines(session.id)][:2] == ["later", "r19"]
    await store.add_user("bob", admin=False, actor="x")
    assert (await store.verify_audit()).problem is None
    await store.close()


async def test_a_target_that_holds_something_is_refused(source, target, tmp_path):
    """And stays what it was."""
    async with copying(source, target):
        pass
    before = await answers(target)
    full = tmp_path / "full.db"
    SqliteFile.copy(full)
    for other in (target, full):
        with pytest.raises(StateUnusable, match="there is something in it"):
            async with copying(source, other):
                pass
    assert await answers(target) == before


@pytest.mark.parametrize("where", ["block", "rows"])
async def test_what_fails_leaves_nothing(source, target, tmp_path, where, monkeypatch):
    """Of either kind of target, whatever fails: what comes after, or a row that came out wrong."""
    if where == "rows":
        monkeypatch.setattr("broker.db.copying._Sum.__eq__", lambda *_: False)
        monkeypatch.setattr("broker.db.copying._Sum.__ne__", lambda *_: True)
    for place in (target, tmp_path / "new.db"):
        if place is not target:
            sqlite.create(place)
        with pytest.raises(StateUnusable, match="enough" if where == "block" else "not what was"):
            async with copying(source, place):
                raise StateUnusable("enough")
        assert await empty(place)


async def test_an_older_state_is_copied_as_it_is(target, tmp_path):
    """Before a migration, that is: tables and columns are those of its time."""
    engine = open_engine(target, alone=True)
    await migrate.run(engine, lambda config: command.upgrade(config, "0002"))
    async with engine.begin() as connection:
        await connection.execute(text("INSERT INTO instance VALUES (1, 'abc')"))
    await engine.dispose()
    copy = tmp_path / "copy.db"
    sqlite.create(copy)
    copied = await to_file(target, copy)
    assert (copied.schema, copied.rows["instance"]) == ("0002", 1)
    assert "group" not in copied.rows


async def test_nothing_and_the_unknown_are_not_copied(place, target, tmp_path):
    """A source without tables, one of a newer Desk."""
    nothing, newer = tmp_path / "nothing.db", place.path
    sqlite.create(nothing)
    engine = sqlite.open_engine(newer)
    async with engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    await engine.dispose()
    for source, said in ((nothing, "is empty"), (newer, "schema 9999, made by a newer Desk")):
        with pytest.raises(StateUnusable, match=said):
            async with copying(source, target):
                pass
    assert await empty(target)
