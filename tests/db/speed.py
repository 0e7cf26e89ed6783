"""`python -m tests.db.speed`: how long the state's reads and writes take when it is large, and for
how long each holds the event loop.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import click

from broker.core.idle import Signal, Step
from broker.core.model import SessionState
from broker.db.store import SqlStore
from tests.clocks import START, ManualClock
from tests.contract.stores import HOST, SqliteFile
from tests.db.big import POOLS, Size, fill, fingerprint, user


class Lag:
    """The longest time for which the event loop turned to nobody, in seconds."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.computed = 0.0
        """Of the loop's own thread: on a busy machine the other one tells of its other programs."""

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            probe = group.create_task(self._probe())
            await asyncio.sleep(0.01)
            self.longest = self.computed = 0.0
            yield
            # What held the loop last is seen only at the probe's next turn.
            await asyncio.sleep(0.002)
            probe.cancel()

    async def _probe(self) -> None:
        before, computed = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(0.001)
            self.longest = max(self.longest, time.perf_counter() - before)
            self.computed = max(self.computed, time.thread_time() - computed)
            before, computed = time.perf_counter(), time.thread_time()


async def measured(call: Callable[[], Awaitable[object]], times: int) -> tuple[float, Lag]:
    """The median of how long a call takes, in seconds, and how the loop was held by any."""
    took, lag = [], Lag()
    async with lag.watched():
        for _ in range(times):
            begun = time.perf_counter()
            await call()
            took.append(time.perf_counter() - begun)
    return statistics.median(took), lag


async def calls(store: SqlStore, size: Size) -> dict[str, tuple[Callable[[], Any], int]]:
    """What is measured by name, and how often."""
    some = (await store.live_sessions(HOST))[size.live // 2]
    old = await store.user(user(size.desktops - 1))
    assert old is not None
    until = count(1)

    async def life() -> None:
        desktop = await store.desktop_of(old.id, "main")
        assert desktop is not None
        session = await store.begin_session(
            desktop.id, host=HOST, image="i", pools=POOLS, deadline=START, actor="x"
        )
        for step in (SessionState.STOPPING, SessionState.ENDED):
            session = await store.advance(
                session.id, expected=session.state, to=step, deadline=None, reason=None, actor="x"
            )

    return {
        "live_sessions(host)": (lambda: store.live_sessions(HOST), 21),
        "live_sessions()": (store.live_sessions, 21),
        "last_deadlines(host)": (lambda: store.last_deadlines(HOST), 21),
        "session": (lambda: store.session(some.id), 200),
        "live_session": (lambda: store.live_session(some.desktop_id), 200),
        "session_of_display": (lambda: store.session_of_display(HOST, some.display), 200),
        "key_owner": (lambda: store.key_owner(fingerprint(size.desktops // 2)), 200),
        "desktop_of": (lambda: store.desktop_of(old.id, "main"), 200),
        "deadlines": (lambda: store.deadlines(some.id), 200),
        "keep_session": (
            lambda: store.keep_session(
                some.id, until=START + timedelta(seconds=next(until)), actor="x"
            ),
            100,
        ),
        "note_deadline": (
            lambda: store.note_deadline(
                some.id,
                step=Step.STOP,
                due_at=START,
                signal=Signal.KEEP,
                reason="Somebody asked for it.",
                actor="x",
            ),
            100,
        ),
        "begin, stop, end": (life, 30),
        "desktops()": (store.desktops, 3),
        "users()": (store.users, 3),
        "leases()": (store.leases, 3),
    }


async def report(place: SqliteFile, size: Size) -> None:
    store = await place.open(ManualClock())
    begun = time.perf_counter()
    await fill(store._engine, size)
    await store.close()
    print(f"{size}: filled in {time.perf_counter() - begun:.1f} s")
    print(f"{place.path.stat().st_size / 2**20:.1f} MiB")
    begun = time.perf_counter()
    store = await place.open(ManualClock())
    print(f"opened and checked in {time.perf_counter() - begun:.2f} s")
    # A full collection looks at every object of every module, for 30 ms; no call is to blame.
    gc.collect()
    gc.freeze()
    print(f"{'call':24}{'median ms':>10}{'longest hold ms':>17}{'of it computed':>16}")
    for name, (call, times) in (await calls(store, size)).items():
        took, lag = await measured(call, times)
        held = f"{lag.longest * 1000:17.1f}{lag.computed * 1000:16.1f}"
        print(f"{name:24}{took * 1000:10.2f}{held}")
    await store.close()


@click.command()
@click.option("--desktops", default=Size().desktops, show_default=True)
@click.option("--live", default=Size().live, show_default=True)
@click.option("--ended", default=Size().ended, show_default=True)
@click.option("--deadlines", default=Size().deadlines, show_default=True, help="Of each session.")
def main(**numbers: int) -> None:
    """Measure the state's reads and writes over a large SQLite file."""
    with tempfile.TemporaryDirectory(prefix="desk-test-") as directory:
        asyncio.run(report(SqliteFile(Path(directory)), replace(Size(), **numbers)))


if __name__ == "__main__":
    main()
