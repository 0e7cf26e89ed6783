"""What one pass of the loops costs a broker with many desktops: 100,000 records, 2,000 running."""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import Bar, Measure
from broker.core.idle import Signal
from broker.core.interfaces import Container, ContainerState
from broker.core.spec import container_name
from broker.db.sqlite import open_engine
from broker.service.host import Host
from tests.db.big import Size, fill
from tests.db.speed import Lag
from tests.service.harness import World

if TYPE_CHECKING:
    from bench.stage import Stage

#: Passes of each kind.
ROUNDS = 7

#: Milliseconds of the processor for a pass, and of the event loop in one go.
_SPENT, _HELD = 50, 20


class CrowdedEngine:
    """A real engine's answers about many containers, without the engine."""

    def __init__(self, world: World) -> None:
        self._engine = world.engine
        self.running: list[Container] = []

    def __getattr__(self, name: str):
        return getattr(self._engine, name)

    async def containers(self) -> list[Container]:
        return self.running

    async def cpu_seconds(self, _name: str) -> float:
        return 0.0


def run(_: Stage, rounds: int) -> list[Measure]:
    """The broker's own processor time, and the longest hold of its event loop."""
    found = asyncio.run(_run(rounds))
    crowd = "100,000 desktops, 2,000 running"
    return [
        Measure("passes", f"{title}, {crowd}", "ms", samples, [Bar(loop, bar) for loop in samples])
        for title, samples, bar in (
            ("processor of one pass", {loop: spent for loop, (spent, _) in found.items()}, _SPENT),
            ("longest hold of a pass", {loop: held for loop, (_, held) in found.items()}, _HELD),
        )
    ]


async def _run(rounds: int) -> dict[str, tuple[list[float], list[float]]]:
    with tempfile.TemporaryDirectory(prefix="desk-bench-") as name:
        world = await World.create(Path(name))
        crowd = CrowdedEngine(world)
        world.engine = crowd
        broker = await world.broker(reconciled=False)
        database = open_engine(world.directory / "desk.db")
        await fill(database, Size(), host=Host.name)
        await database.dispose()
        for session in await broker.real_store.live_sessions(Host.name):
            crowd.running.append(_container(session))
            (world.directory / "sessions" / session.id).mkdir()
        world.clock.advance(3600)
        await broker.reaper.pass_once()
        for number, container in enumerate(crowd.running):
            # People came and went all the hour long; a few are about to be warned.
            broker.watches.saw(
                container.session_id, Signal.INPUT, number * 3300 / len(crowd.running)
            )
        found = {}
        for pass_name, step, pause in (
            ("reap", broker.reaper.pass_once, 10),
            ("reconcile", broker.reconciler.pass_once, 60),
        ):
            await step()
            gc.collect()
            spent, held = [], []
            for _ in range(rounds):
                world.clock.advance(pause)
                lag = Lag()
                async with lag.watched():
                    before = time.process_time()
                    await step()
                    spent.append((time.process_time() - before) * 1000)
                held.append(lag.computed * 1000)
            found[pass_name] = spent, held
        await world.close()
        return found


def _container(session) -> Container:
    return Container(
        name=container_name(session.id),
        state=ContainerState.RUNNING,
        desktop_id=session.desktop_id,
        session_id=session.id,
        spec_hash="",
        address=session.address,
        exit_code=None,
        oom_killed=False,
    )
