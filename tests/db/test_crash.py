"""What was acknowledged is there after `kill -9`, and two processes share one file."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from broker.core.errors import AlreadyLive
from broker.core.model import SessionState
from tests.clocks import ManualClock
from tests.contract.stores import HOST, POOLS, SqliteFile

ROOT = Path(__file__).parents[2]

WRITER = """
import asyncio, sys
from dataclasses import replace
from pathlib import Path
from broker.core.model import SessionState
from broker.core.pools import Pool
from broker.db.connect import connect
from broker.db.store import SqlStore
from tests.clocks import ManualClock
from tests.contract.stores import HOST, POOLS as FEW

POOLS = replace(FEW, uids=Pool(200000, 299999))

async def main(path, tag):
    clock = ManualClock()
    sys.stdin.readline()
    store = SqlStore(await connect(path), clock)
    for i in range(10**6):
        user = await store.add_user(f"u{tag}-{i}", admin=False, actor="x")
        desktop = await store.ensure_desktop(
            user.id, "main", template="t", host=HOST, pools=POOLS, actor="x")
        session = await store.begin_session(
            desktop.id, host=HOST, image="i", pools=POOLS, deadline=clock.now(), actor="x")
        print(session.id, flush=True)
        for before, after in (("starting", "stopping"), ("stopping", "ended")):
            await store.advance(session.id, expected=SessionState(before),
                to=SessionState(after), deadline=None, reason=None, actor="x")
        print(session.id, flush=True)

asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
"""

RACER = """
import asyncio, json, sys
from pathlib import Path
from broker.core.errors import AlreadyLive
from broker.core.model import DesktopId
from broker.db.connect import connect
from broker.db.store import SqlStore
from tests.clocks import ManualClock
from tests.contract.stores import HOST, POOLS

async def main(path, desktops):
    clock = ManualClock()
    store = SqlStore(await connect(path), clock)
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
    acknowledged = []
    # All at once, since most of their time goes into imports; each works when its turn comes.
    writers = [child(WRITER, place.path, run) for run in range(5)]
    for run, process in enumerate(writers):
        with process:
            process.stdin.write("go\n")
            process.stdin.flush()
            acknowledged += [process.stdout.readline().strip() for _ in range(3 + 4 * run)]
            process.send_signal(signal.SIGKILL)
            acknowledged += process.stdout.read().split()
        assert process.returncode == -signal.SIGKILL
        store = await place.open(ManualClock())
        for session_id in set(acknowledged):
            session = await store.session(session_id)
            assert session is not None
            if acknowledged.count(session_id) == 2:
                assert session.state is SessionState.ENDED
        live = await store.live_sessions()
        assert len([x for x in await store.leases() if x.session_id]) == 3 * len(live)
        begun = [e for e in await store.audit(limit=10000) if e.action == "session.begin"]
        assert {e.subject for e in begun} >= set(acknowledged)
        for session in live:
            await end(store, session)
        await store.close()


async def end(store, session):
    steps = [SessionState.STOPPING, SessionState.ENDED]
    for to in steps[steps.index(session.state) + 1 :] if session.state in steps else steps:
        session = await store.advance(
            session.id, expected=session.state, to=to, deadline=None, reason=None, actor="x"
        )


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
