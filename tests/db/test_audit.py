"""The audit cannot be changed by accident, and not at all without being found out."""

import asyncio
import sqlite3
from contextlib import closing

import pytest
from alembic import command
from structlog.testing import capture_logs

from broker.core.errors import NotFound, StateUnusable
from broker.core.model import Actor
from broker.db import audit, migrate, sqlite
from broker.db.opening import open_store
from tests.clocks import ManualClock
from tests.contract.stores import SqliteFile

TRIGGERS = "DROP TRIGGER audit_update; DROP TRIGGER audit_delete;"
CHANGED = "is not what was written there"


#: The end is cut off, or all is gone, and the note says what it would say had there been no more.
CUT = (
    "DELETE FROM audit WHERE seq > 4;"
    "UPDATE audit_head SET seq = 4, hash = (SELECT hash FROM audit WHERE seq = 4)"
)
GONE = f"DELETE FROM audit; UPDATE audit_head SET seq = 0, hash = '{64 * '0'}'"


@pytest.fixture
def path(tmp_path):
    return SqliteFile(tmp_path).path


@pytest.fixture
async def opened(path):
    """Opens the state as a broker does, any number of times."""
    stores = []

    async def open_one():
        stores.append(await open_store(path, ManualClock()))
        return stores[-1]

    yield open_one
    for store in stores:
        await store.close()


@pytest.fixture
async def store(opened):
    """With six entries."""
    store = await opened()
    await write(store, 6)
    return store


async def write(store, many, **detail):
    for n in range(many):
        await store.note(actor="x", action="a.b", subject="s", detail={"n": n, **detail})


def tamper(path, script):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TRIGGERS + script)


async def problem(store, **options):
    return (await store.verify_audit(**options)).problem


async def test_what_is_written_is_whole(store):
    found = await store.verify_audit()
    newest, *_ = await store.audit()
    assert (found.entries, found.problem) == (6, None)
    assert (found.head.seq, found.head.hash) == (newest.seq, newest.hash)


async def test_it_holds_over_many_pages_and_kinds_of_values(store):
    await write(store, 300, text="a\u2028\x00\U0001f600'\"", none=None, yes=True, big=1 << 60)
    assert (await store.verify_audit()).entries == 306
    assert await problem(store) is None
    pages = [await store.audit_chain(after=after, limit=100) for after in (0, 100, 200, 300, 306)]
    assert [len(page) for page in pages] == [100, 100, 100, 6, 0]
    assert [entry.seq for entry in pages[1]] == list(range(101, 201))


async def test_who_proved_what_from_where_is_in_it(store):
    who = Actor("user:ada", proof="key SHA256:a", origin="192.0.2.7")
    await store.note(actor=who, action="a.b", subject="s", detail={})
    newest, before, *_ = await store.audit()
    assert (newest.actor, newest.proof, newest.origin) == ("user:ada", "key SHA256:a", "192.0.2.7")
    assert (before.actor, before.proof, before.origin) == ("x", None, None)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("UPDATE audit SET actor = 'eve' WHERE seq = 3", f"Entry 3 {CHANGED}"),
        ("UPDATE audit SET detail = '{}' WHERE seq = 1", f"Entry 1 {CHANGED}"),
        ("UPDATE audit SET at = at + 1 WHERE seq = 6", f"Entry 6 {CHANGED}"),
        ("UPDATE audit SET origin = '' WHERE seq = 4", f"Entry 4 {CHANGED}"),
        ("UPDATE audit SET hash = NULL WHERE seq = 4", f"Entry 4 {CHANGED}"),
        ("DELETE FROM audit WHERE seq = 2", "Entry 2 is missing"),
        ("DELETE FROM audit WHERE seq IN (2, 3, 4)", "Entries 2 to 4 are missing"),
        ("DELETE FROM audit WHERE seq < 3", "Entries 1 to 2 are missing"),
        ("DELETE FROM audit WHERE seq = 6", "The audit ends at entry 5, and entry 6 was written"),
        ("DELETE FROM audit WHERE seq > 2", "The audit ends at entry 2, and entry 6 was written"),
        ("DELETE FROM audit", "The audit ends at entry 0, and entry 6 was written"),
        (
            (
                "UPDATE audit SET seq = 99 WHERE seq = 3; UPDATE audit SET seq = 3 WHERE seq = 4;"
                "UPDATE audit SET seq = 4 WHERE seq = 99"
            ),
            f"Entry 3 {CHANGED}",
        ),
        (
            "DELETE FROM audit WHERE seq = 3; UPDATE audit SET seq = seq - 1 WHERE seq > 3",
            f"Entry 3 {CHANGED}",
        ),
        (
            (
                "INSERT INTO audit SELECT 7, at, actor, action, subject, detail, proof, origin, hash"
                " FROM audit WHERE seq = 6"
            ),
            f"Entry 7 {CHANGED}",
        ),
        (
            (
                "INSERT INTO audit (seq, at, actor, action, subject, detail)"
                " VALUES (9, 1, 'x', 'a.b', 's', '{}')"
            ),
            "Entries 7 to 8 are missing, or entry 9 was changed",
        ),
        (
            (
                "UPDATE audit SET seq = -seq; UPDATE audit SET seq = 1 - seq WHERE seq < -2;"
                "UPDATE audit SET seq = -seq WHERE seq < 0;"
                "INSERT INTO audit SELECT 3, at, actor, action, subject, detail, proof, origin, hash"
                " FROM audit WHERE seq = 2"
            ),
            f"Entry 3 {CHANGED}",
        ),
        ("UPDATE audit_head SET seq = 5", "Entry 5 was noted as the last one, and entry 6"),
        ("UPDATE audit_head SET hash = 'f'", "Entry 6 is not what was noted as the last one"),
        ("DELETE FROM audit_head", "Entry 0 was noted as the last one, and entry 6"),
        (CUT, "Entry 4 is not what was noted as the last one"),
        (GONE, "Entry 0 is not what was noted as the last one"),
    ],
)
async def test_what_was_done_to_it_is_found_and_named(store, path, script, said):
    tamper(path, script)
    assert (await problem(store)).startswith(said)


@pytest.mark.parametrize(("script", "kept"), [(CUT, 4), (GONE, 0)])
async def test_an_end_that_was_cut_off_with_its_note_is_found_afterwards_too(
    store, path, script, kept
):
    tamper(path, script)
    await write(store, 2)
    assert f"Entry {kept + 1} says that what is before it is not whole" in await problem(store)
    assert await problem(store, after=kept + 1) is None


async def test_it_is_still_found_when_more_was_written_behind_it(store, path):
    tamper(path, "DELETE FROM audit WHERE seq > 4")
    await write(store, 2)
    assert "Entries 5 to 6 are missing" in await problem(store)


async def test_an_entry_put_behind_the_head_stops_nobody_and_is_found(store, path):
    tamper(
        path,
        "INSERT INTO audit (seq, at, actor, action, subject, detail)"
        " VALUES (7, 1, 'x', 'a.b', 's', '{}')",
    )
    await write(store, 2)
    assert [entry.seq for entry in await store.audit(limit=3)] == [9, 8, 7]
    assert f"Entry 7 {CHANGED}" in await problem(store)


async def test_one_can_go_on_from_behind_a_known_problem(store, path):
    tamper(path, "UPDATE audit SET actor = 'eve' WHERE seq = 3")
    found = await store.verify_audit(after=3)
    assert (found.entries, found.problem) == (3, None)
    with pytest.raises(NotFound, match="no audit entry 17"):
        await store.verify_audit(after=17)


async def test_what_is_written_meanwhile_is_no_problem(store, opened):
    other = await opened()

    async def verify():
        return [await problem(store) for _ in range(20)]

    async with asyncio.TaskGroup() as group:
        verified = group.create_task(verify())
        for each in (store, other):
            group.create_task(write(each, 60))
    assert verified.result() == [None] * 20
    assert (await store.verify_audit()).entries == 126


@pytest.mark.parametrize(
    "order",
    [
        "UPDATE audit SET actor = 'eve' WHERE seq = 3",
        "UPDATE audit SET hash = NULL WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
        "DELETE FROM audit",
        (
            "REPLACE INTO audit (seq, at, actor, action, subject, detail)"
            " VALUES (3, 1, 'x', 'a.b', 's', '{}')"
        ),
    ],
)
async def test_the_database_refuses_to_change_what_is_written(store, path, order):
    with closing(sqlite3.connect(path)) as connection, connection:
        # Without it a replacement deletes unseen.
        connection.execute("PRAGMA recursive_triggers = ON")
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(order)
    assert await problem(store) is None


# ----------------------------------------------------------------------------------- the beginning


@pytest.fixture
async def old(tmp_path):
    """A state of before the chain, with five entries."""
    path = tmp_path / "old.db"
    sqlite.create(path)
    engine = sqlite.open_engine(path, foreign_keys=False)
    await migrate.run(engine, lambda config: command.upgrade(config, "0003"))
    await engine.dispose()
    with closing(sqlite3.connect(path)) as connection, connection:
        for n in range(1, 6):
            connection.execute(
                "INSERT INTO audit VALUES (?, ?, 'x', 'a.b', 's', '{}')", (n + n // 4, n)
            )
    await migrate.migrate(path)
    return path


@pytest.mark.parametrize("page", [2, 5, 1000])
async def test_what_was_there_before_the_chain_is_chained_at_the_first_start(
    old, monkeypatch, page
):
    monkeypatch.setattr(audit, "_AT_A_TIME", page)
    with capture_logs() as logs:
        store = await open_store(old, ManualClock())
        await store.close()
        store = await open_store(old, ManualClock())
    assert logs == []
    newest, *older = await store.audit()
    assert (newest.action, newest.actor, newest.detail) == ("audit.begin", "broker", {"entries": 5})
    assert len(older) == 5
    assert await problem(store) is None
    tamper(old, "UPDATE audit SET actor = 'eve' WHERE seq = 2")
    assert f"Entry 2 {CHANGED}" in await problem(store)
    await store.close()


async def test_a_first_start_that_died_is_made_up_for(old, monkeypatch):
    def die(_key):
        raise StateUnusable("killed")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr("broker.system.auditkey.AuditKey.keep", die)
            with pytest.raises(StateUnusable):
                await open_store(old, ManualClock())
    with capture_logs() as logs:
        store = await open_store(old, ManualClock())
    assert logs == []
    assert [entry.action for entry in await store.audit(limit=2)] == ["audit.begin", "a.b"]
    assert await problem(store) is None
    await store.close()


async def test_a_new_state_begins_without_a_word(path, opened):
    store = await opened()
    assert await store.audit() == []
    assert await problem(store) is None


async def said_at_start(opened):
    with capture_logs() as logs:
        store = await opened()
    newest = (await store.audit(limit=1))[0]
    if newest.action != "audit.broken":
        assert logs == []
        return None
    (line,) = logs
    assert (line["event"], line["log_level"]) == ("the audit is not whole", "error")
    assert line["why"] == newest.detail["why"]
    return newest.detail["why"]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("", None),
        ("UPDATE audit SET actor = 'eve' WHERE seq = 6", "entry 6 was changed"),
        ("DELETE FROM audit WHERE seq = 6", "the last entry was 5, and entry 6 was noted"),
        ("DELETE FROM audit", "all entries were gone"),
        ("DELETE FROM audit_head", "the note of the last entry was gone"),
        ("UPDATE audit SET hash = NULL; DELETE FROM audit_head", "the note of the last entry"),
        ("DELETE FROM audit; DELETE FROM audit_head", "the note of the last entry was gone"),
        (CUT, "the note of the last entry was changed"),
        (GONE, "all entries were gone"),
    ],
)
async def test_a_start_tells_once_what_is_not_whole_at_the_end(store, path, opened, script, why):
    tamper(path, script)
    said = await said_at_start(opened)
    if why is None:
        assert said is None
        return
    assert said.startswith(why)
    (seq,) = [entry.seq for entry in await store.audit(limit=1)]
    with capture_logs() as logs:
        await opened()
    assert logs == []
    assert (await store.audit(limit=1))[0].seq == seq
    await write(store, 2)
    assert await problem(store) is not None
    assert await problem(store, after=seq) is None


async def test_another_past_is_not_taken_for_one_of_before_the_chain(store, path, opened):
    """Without the key one cannot have the broker chain what one has written oneself."""
    tamper(
        path,
        "UPDATE audit SET actor = 'eve', hash = NULL; DELETE FROM audit_head",
    )
    await said_at_start(opened)
    assert "not whole: the note of the last entry was gone" in await problem(store)


async def test_a_lost_key_is_told_and_stops_nobody(store, path, opened):
    path.with_name("audit.key").unlink()
    store = await opened()
    (newest, *_) = await store.audit(limit=1)
    assert newest.detail == {"why": "the audit's key was gone, and a new one was made."}
    assert "the audit's key is another one" in await problem(store)
    await write(store, 2)
    assert await problem(store, after=newest.seq) is None


async def test_a_head_that_goes_while_the_broker_runs_is_told(store, path):
    tamper(path, "DELETE FROM audit WHERE seq > 4; DELETE FROM audit_head")
    await write(store, 1)
    assert [entry.action for entry in await store.audit(limit=3)] == ["a.b", "audit.broken", "a.b"]
    assert "Entry 5 says that what is before it is not whole" in await problem(store)
