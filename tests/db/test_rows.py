import asyncio

import pytest
from sqlalchemy import text

from broker.core.model import LeaseKind
from broker.db import deadlines, desktops, leases, people, rows, sessions
from tests.clocks import ManualClock
from tests.contract.stores import HOST, SqliteFile
from tests.db.big import Size, fill

MANY = 5 * rows.SLICE // 2


@pytest.fixture
def place(tmp_path):
    return SqliteFile(tmp_path)


@pytest.fixture
async def store(place):
    store = await place.open(ManualClock())
    yield store
    await store.close()


class Turns:
    """Counts the turns of the loop, and how many values were made in each."""

    def __init__(self):
        self._turn = 0
        self.made = {}

    async def count(self):
        while True:
            self._turn += 1
            await asyncio.sleep(0)

    def seen(self, make):
        def value(row):
            self.made[self._turn] = self.made.get(self._turn, 0) + 1
            return make(row)

        return value


async def counted(turns, work):
    async with asyncio.TaskGroup() as group:
        counting = group.create_task(turns.count())
        result = await work
        counting.cancel()
    return result


@pytest.mark.parametrize("many", [0, 1, rows.SLICE, rows.SLICE + 1, MANY])
async def test_others_have_their_turn_between_slices(store, many):
    async with store._engine.connect() as connection:
        found = await connection.execute(
            text(
                "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
                "SELECT i FROM n LIMIT :many"
            ),
            {"many": many},
        )
        turns = Turns()
        made = await counted(turns, rows.values(found, turns.seen(lambda row: row.i)))
    assert made == list(range(1, many + 1))
    assert max(turns.made.values(), default=0) == min(many, rows.SLICE)


@pytest.mark.parametrize(
    ("module", "value", "ask"),
    [
        (sessions, "_session", lambda store: store.live_sessions(HOST)),
        (sessions, "_session", lambda store: store.live_sessions()),
        (deadlines, "_deadline", lambda store: store.last_deadlines(HOST)),
        (desktops, "_desktop", lambda store: store.desktops()),
        (people, "user_of", lambda store: store.users()),
        (leases, "_lease", lambda store: store.leases(LeaseKind.UID)),
    ],
)
async def test_no_long_answer_holds_the_loop(store, monkeypatch, module, value, ask):
    await fill(store._engine, Size(desktops=MANY, live=MANY, ended=7, deadlines=2))
    turns = Turns()
    monkeypatch.setattr(module, value, turns.seen(getattr(module, value)))
    assert len(await counted(turns, ask(store))) == MANY
    assert sum(turns.made.values()) == MANY
    assert max(turns.made.values()) <= rows.SLICE
