import asyncio
import random
import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import event

from broker.core.errors import Conflict, StaleState, StateUnusable
from broker.core.model import SessionState
from broker.db import sqlite, transaction
from tests.clocks import ManualClock
from tests.contract.stores import HOST, POOLS, SqliteFile


@pytest.fixture
def place(tmp_path):
    return SqliteFile(tmp_path)


@pytest.fixture
async def store(place):
    store = await place.open(ManualClock())
    yield store
    await store.close()


def rows(place, query):
    with closing(sqlite3.connect(place.path)) as connection:
        return connection.execute(query).fetchall()


async def test_a_transaction_that_fails_writes_no_audit_row(store, place):
    async def work(tx):
        tx.record("some.thing", "s", {})
        raise Conflict

    with pytest.raises(Conflict):
        await store._do.write(work, actor="x")
    assert rows(place, "SELECT * FROM audit") == []


async def test_a_change_whose_audit_row_fails_is_not_made(store, place):
    with closing(sqlite3.connect(place.path)) as connection, connection:
        connection.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON audit"
            " BEGIN SELECT RAISE(FAIL, 'disk full'); END"
        )
    with pytest.raises((StateUnusable, StaleState)):
        await store.add_user("ada", admin=False, actor="x")
    assert rows(place, "SELECT * FROM user") == []


async def test_reads_go_on_while_a_writer_holds_the_lock(store, place):
    await store.add_user("ada", admin=False, actor="x")
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert (await store.user("ada")).name == "ada"
        other.execute("ROLLBACK")


async def test_a_lock_that_is_never_let_go_is_unusable_state(place, monkeypatch):
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 20)
    store = await place.open(ManualClock())
    with closing(sqlite3.connect(place.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateUnusable, match="locked"):
            await store.add_user("ada", admin=False, actor="x")
        other.execute("ROLLBACK")
    assert (await store.add_user("ada", admin=False, actor="x")).name == "ada"
    await store.close()


async def test_a_full_disk_is_unusable_state_and_leaves_nothing(store, place):
    @event.listens_for(store._engine.sync_engine, "begin")
    def no_room(connection):
        connection.exec_driver_sql("PRAGMA max_page_count = 1")

    with pytest.raises(StateUnusable, match="full"):
        for i in range(200):
            await store.note(actor="x", action="a", subject="s" * 1000, detail={"i": i})
    event.remove(store._engine.sync_engine, "begin", no_room)
    told = len(await store.audit(limit=1000))
    assert rows(place, "PRAGMA integrity_check") == [("ok",)]
    assert told == len(rows(place, "SELECT seq FROM audit"))


async def test_a_collision_is_tried_again_on_fresh_ground(store):
    tries = []

    async def work(tx):
        tries.append(tx)
        number = 1 if len(tries) < 3 else 2
        await tx.connection.exec_driver_sql(
            "INSERT INTO set_aside VALUES ('h', 'port', 1, 0), ('h', 'port', ?, 0)", (number,)
        )

    await store._do.write(work, actor="x")
    assert len(tries) == 3


async def test_collisions_without_end_are_stale(store):
    async def work(tx):
        await tx.connection.exec_driver_sql(
            "INSERT INTO set_aside VALUES ('h', 'port', 1, 0), ('h', 'port', 1, 0)"
        )

    with pytest.raises(StaleState, match=f"{transaction.ATTEMPTS} times"):
        await store._do.write(work, actor="x")


@pytest.mark.parametrize("seed", range(4))
async def test_a_cancelled_caller_leaves_the_change_whole_or_absent(store, place, seed):
    chance = random.Random(seed)
    ada = await store.add_user("ada", admin=False, actor="x")
    for i in range(15):
        desktop = await store.ensure_desktop(
            ada.id, f"d{i}", template="t", host=HOST, pools=POOLS, actor="x"
        )
        begin = asyncio.get_running_loop().create_task(
            store.begin_session(
                desktop.id,
                host=HOST,
                image="i",
                pools=POOLS,
                deadline=ada.created_at,
                actor="x",
            )
        )
        for _ in range(chance.randrange(60)):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() * 0.01)
        begin.cancel()
        await asyncio.wait([begin])
        # Once the caller is back nothing of it is under way any more.
        live = await store.live_session(desktop.id)
        held = rows(place, f"SELECT * FROM lease WHERE desktop_id = '{desktop.id}'")
        told = rows(
            place,
            "SELECT * FROM audit WHERE action = 'session.begin'"
            f" AND json_extract(detail, '$.desktop') = '{desktop.id}'",
        )
        assert (len(held), len(told)) == ((1, 0) if live is None else (4, 1))
        if live is not None:
            await store.advance(
                live.id,
                expected=SessionState.STARTING,
                to=SessionState.STOPPING,
                deadline=None,
                reason=None,
                actor="x",
            )


async def test_a_second_cancellation_does_not_hurry_the_end(store):
    started, go = asyncio.Event(), asyncio.Event()

    async def work(tx):
        started.set()
        await go.wait()
        tx.record("some.thing", "s", {})

    caller = asyncio.get_running_loop().create_task(store._do.write(work, actor="x"))
    await started.wait()
    for _ in range(3):
        caller.cancel()
        await asyncio.sleep(0)
    assert not caller.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert [entry.action for entry in await store.audit()] == ["some.thing"]


def test_a_loop_that_ends_in_mid_work_leaves_the_file_sound(place):
    async def leave():
        store = await place.open(ManualClock())
        writers = [
            asyncio.get_running_loop().create_task(store.add_user(f"u{i}", admin=False, actor="x"))
            for i in range(20)
        ]
        await asyncio.wait(writers, return_when=asyncio.FIRST_COMPLETED)
        return store

    # `asyncio.run` cancels every task at its end, the transactions' own too.
    with asyncio.Runner() as runner:
        runner.run(leave())
    users, told = rows(place, "SELECT * FROM user"), rows(place, "SELECT * FROM audit")
    assert len(users) == len(told) >= 1
    assert rows(place, "PRAGMA integrity_check") == [("ok",)]
