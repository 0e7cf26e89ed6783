"""No read of the state, but those that list all, looks at more rows the more there are."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import event

from broker.core.idle import Signal, Step
from broker.core.model import SessionState
from tests.clocks import START, ManualClock
from tests.contract.stores import HOST, SqliteFile
from tests.db.big import POOLS, Size, fill, fingerprint, user


@pytest.fixture
def place(tmp_path):
    return SqliteFile(tmp_path)


@pytest.fixture
async def store(place):
    store = await place.open(ManualClock())
    await fill(store._engine, Size(desktops=9, live=3, ended=20, deadlines=2))
    yield store
    await store.close()


async def statements(store, ask):
    """What `ask` asks of the database, and with which parameters."""
    asked = []

    @event.listens_for(store._engine.sync_engine, "before_cursor_execute")
    def note(_connection, _cursor, statement, parameters, _context, many):
        asked.append((statement, parameters[0] if many else parameters))

    await ask
    event.remove(store._engine.sync_engine, "before_cursor_execute", note)
    return asked


async def plans(store, place, ask):
    """How SQLite goes about each of them, in its own words."""
    found = []
    asked = await statements(store, ask)
    with closing(sqlite3.connect(place.path)) as connection:
        for statement, parameters in asked:
            if not statement.startswith(("BEGIN", "PRAGMA")):
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
                found += [row[-1] for row in plan]
    assert asked
    return found


async def test_the_live_sessions_of_a_host_come_by_their_index(store, place):
    for ask in (store.live_sessions(HOST), store.last_deadlines(HOST)):
        found = await plans(store, place, ask)
        assert "SEARCH session USING INDEX ix_session_live_host (host=?)" in found
        assert not [step for step in found if step.startswith("SCAN")]


async def test_what_is_live_is_written_out_for_the_planner(store):
    (session, *_) = await store.live_sessions(HOST)
    for ask in (
        store.live_sessions(HOST),
        store.live_sessions(),
        store.live_session(session.desktop_id),
        store.last_deadlines(HOST),
    ):
        ((statement, parameters),) = await statements(store, ask)
        assert "session.state != 'ended'" in statement
        assert "ended" not in parameters


async def test_all_live_sessions_come_by_an_index_of_the_live_ones_alone(store, place):
    found = await plans(store, place, store.live_sessions())
    (scan,) = [step for step in found if step.startswith("SCAN")]
    assert scan in (
        "SCAN session USING INDEX ix_session_live_host",
        "SCAN session USING INDEX uq_session_live",
    )


async def test_the_newest_deadline_is_one_step_down_an_index(store, place):
    session = (await store.live_sessions(HOST))[0]
    for ask in (store.last_deadlines(HOST), store.deadlines(session.id)):
        found = await plans(store, place, ask)
        assert [step for step in found if "ix_deadline_session_id (session_id=?)" in step]
    assert not [step for step in found if "ORDER BY" in step]


async def test_nothing_that_a_connect_asks_is_scanned_for(store, place):
    session = (await store.live_sessions(HOST))[0]
    ada = await store.user(user(0))
    for ask in (
        store.user(user(0)),
        store.user_by_id(ada.id),
        store.key_owner(fingerprint(0)),
        store.keys(ada.id),
        store.desktop(session.desktop_id),
        store.desktop_of(ada.id, "main"),
        store.desktops(user_id=ada.id),
        store.session(session.id),
        store.live_session(session.desktop_id),
        store.session_of_display(HOST, session.display),
        store.audit(subject=session.id),
    ):
        found = await plans(store, place, ask)
        assert not [step for step in found if step.startswith("SCAN")], found


async def test_packed_desktops_come_by_an_index_of_their_own(store, place):
    found = await plans(store, place, store.archived_desktops())
    assert found == ["SCAN desktop USING INDEX ix_desktop_archived"] or found[0].startswith(
        "SEARCH desktop USING INDEX ix_desktop_archived"
    ), found


async def test_the_unused_are_looked_for_without_a_scan_of_the_sessions(store, place):
    found = await plans(store, place, store.unused_desktops(START, limit=10))
    assert not [step for step in found if step.startswith("SCAN session")], found


async def test_what_somebody_did_comes_by_an_index_and_in_order(store, place):
    """As does what was done to something."""
    for ask in (store.audit(limit=10, actor="user:ada"), store.audit(limit=10, subject="x")):
        found = await plans(store, place, ask)
        assert not [step for step in found if step.startswith("SCAN")], found
        assert not [step for step in found if "TEMP B-TREE" in step], found


async def test_nothing_that_a_session_writes_is_scanned_for(store, place):
    (idle,) = await store.desktops(user_id=(await store.user(user(8))).id)
    asked = await plans(
        store,
        place,
        store.begin_session(idle.id, host=HOST, image="i", pools=POOLS, deadline=START, actor="x"),
    )
    session = await store.live_session(idle.id)
    asked += await plans(store, place, store.keep_session(session.id, until=START, actor="x"))
    asked += await plans(
        store,
        place,
        store.note_deadline(
            session.id, step=Step.STOP, due_at=None, signal=Signal.KEEP, reason="r", actor="x"
        ),
    )
    for to in (SessionState.STOPPING, SessionState.ENDED):
        step = store.advance(
            session.id, expected=session.state, to=to, deadline=None, reason=None, actor="x"
        )
        asked += await plans(store, place, step)
        session = await store.session(session.id)
    scans = {step for step in asked if step.startswith("SCAN")}
    # The one row of the installation, that of the audit's head, and numbers that were just found by
    # their key.
    assert scans <= {"SCAN instance", "SCAN audit_head", "SCAN candidate", "SCAN CONSTANT ROW"}
