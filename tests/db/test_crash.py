"""What was acknowledged is there after `kill -9`, and two processes share one file."""

import json
import multiprocessing
import os
import random
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from broker.core.errors import AlreadyLive
from tests.clocks import ManualClock
from tests.contract.stores import HOST, POOLS, SqliteFile
from tests.db import kills
from tests.db.kills import Tally, round_of

ROOT = Path(__file__).parents[2]

RACER = """
import asyncio, json, sys
from pathlib import Path
from broker.core.errors import AlreadyLive
from broker.core.model import DesktopId
from broker.db.connect import connect
from broker.db.store import SqlStore
from tests.clocks import ManualClock
from tests.contract.stores import AUDIT_KEY, HOST, POOLS

async def main(path, desktops):
    clock = ManualClock()
    store = SqlStore(await connect(path), clock, AUDIT_KEY)
    print("ready", flush=True)
    sys.stdin.readline()
    won = []
    for desktop in desktops:
        try:
            session = await store.begin_session(DesktopId(desktop), host=HOST, image="i",
                pools=POOLS, deadline=clock.now(), actor="x")
            won.append(session.id)
        except AlreadyLive:
            pass
    print(json.dumps(won), flush=True)
    await store.close()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
"""


def child(script, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def place(tmp_path):

    return SqliteFile(tmp_path)


async def test_what_was_acknowledged_survives_a_kill(place):
    # Most of a writer's time goes into imports; the server has done them.
    multiprocessing.set_forkserver_preload(["tests.db.kills"])
    tally = Tally()
    chance = random.Random(7)
    for n in range(2):
        # Not by a bare fork: other threads may stand in the middle of something here.
        await round_of(place.path, f"r{n}", chance, tally, writers=3, start="forkserver")
    assert tally.lost == []
    assert tally.kills == 6
    assert tally.acknowledged.total() >= 6


async def test_a_write_that_is_not_there_is_seen_as_lost(place):
    """What the rounds look with sees what is missing, more than it should be, or otherwise."""
    store = await place.open(ManualClock())
    ada = await store.add_user("w", admin=False, actor="w")
    await store.set_enabled(ada.id, enabled=False, actor="w")
    user = ["user", ada.id]
    told = [("user.add", ada.id, user, True), ("user.disable", ada.id, user, False)]
    assert await looked(place, store, told) == (None, [])
    # The last write may be there unheard, but not more of them.
    assert await looked(place, store, told[:1]) == (told[1][:2], [])
    assert len((await looked(place, store, []))[1]) == 1
    # One that was acknowledged and left no row.
    late, lost = await looked(place, store, [*told, ("user.enable", ada.id, user, True)])
    assert (late, len(lost)) == (None, 2)
    # One whose row is there and whose change is not.
    with closing(sqlite3.connect(place.path)) as connection, connection:
        connection.execute("UPDATE user SET enabled = 1")
    assert await looked(place, store, told) == (None, [f"w: {tuple(user)} is True, not False"])
    with closing(sqlite3.connect(place.path)) as connection, connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("INSERT INTO lease VALUES ('h', 'port', 1, 's', 'd', 1)")
        assert len(list(kills.unsound(connection))) == 2
    await store.close()


async def looked(place, store, told):
    lost = []
    with closing(sqlite3.connect(place.path)) as connection:
        late = kills.missing(connection, "w", told, lost)
    lost += [f"w: {wrong}" async for wrong in kills.otherwise(store, told, late)]
    return late, lost


async def test_two_processes_share_one_file(place):
    store = await place.open(ManualClock())
    ada = await store.add_user("ada", admin=False, actor="x")
    desktops = [
        await store.ensure_desktop(ada.id, f"d{i}", template="t", host=HOST, pools=POOLS, actor="x")
        for i in range(12)
    ]
    ids = [desktop.id for desktop in desktops]
    with child(RACER, place.path, *ids) as one, child(RACER, place.path, *reversed(ids)) as two:
        for process in (one, two):
            assert process.stdout.readline() == "ready\n"
        for process in (one, two):
            process.stdin.write("go\n")
            process.stdin.flush()
        won = [json.loads(process.stdout.readline()) for process in (one, two)]
    live = await store.live_sessions()
    assert sorted(won[0] + won[1]) == sorted(session.id for session in live)
    for kind in ("port", "display", "address"):
        assert len({getattr(session, kind) for session in live}) == 12
    with pytest.raises(AlreadyLive):
        await store.begin_session(
            ids[0], host=HOST, image="i", pools=POOLS, deadline=ada.created_at, actor="x"
        )
    await store.close()
