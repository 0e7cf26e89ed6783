"""What sessions use, by looks of which the manual clock says when they are."""

from __future__ import annotations

import asyncio

import pytest

from broker.core.spec import container_name
from broker.service.meter import FRESH, LATELY, UNKNOWN, Meter, Usage
from tests.service.harness import outage

MEMORY = 300 << 20


@pytest.fixture
async def session(broker):
    """A desktop that runs."""
    return await broker.ensure(await broker.desktop())


async def used(broker, session):
    return (await broker.meter.of([session]))[session.id]


async def test_the_first_look_knows_the_memory_alone(broker, session):
    """A rate takes two."""
    assert await used(broker, session) == Usage(cpu=None, memory=MEMORY)


async def test_a_rate_is_what_was_used_between_two_looks(world, broker, session):
    await used(broker, session)
    world.engine.burn(container_name(session.id), 5.0)
    broker.clock.advance(10)
    assert await used(broker, session) == Usage(cpu=0.5, memory=MEMORY)
    broker.clock.advance(10)
    assert (await used(broker, session)).cpu == 0


async def test_many_who_look_at_once_cost_one_look(world, broker, session):
    """And so does who looks again soon."""
    before = world.engine.calls.count("usage")
    await asyncio.gather(*(used(broker, session) for _ in range(5)))
    broker.clock.advance(FRESH - 0.1)
    await used(broker, session)
    assert world.engine.calls.count("usage") == before + 1
    broker.clock.advance(0.1)
    await used(broker, session)
    assert world.engine.calls.count("usage") == before + 2


async def test_what_was_used_long_ago_is_not_lately(world, broker, session):
    await used(broker, session)
    world.engine.burn(container_name(session.id), 50.0)
    broker.clock.advance(LATELY + 1)
    assert (await used(broker, session)).cpu is None


async def test_what_the_reaper_counted_is_a_first_look(world, broker, session):
    """It samples what it may put to sleep."""
    await broker.reaper.pass_once()
    broker.watches.of(session.id).cpu = (broker.clock.monotonic(), 0.0)
    world.engine.burn(container_name(session.id), 2.0)
    broker.clock.advance(20)
    assert (await used(broker, session)).cpu == 0.1


async def test_an_engine_that_is_away_is_no_error(world, broker, session):
    """Nor one that was started anew, and counts from nothing."""
    await used(broker, session)
    with outage(world):
        broker.clock.advance(FRESH)
        assert await used(broker, session) == UNKNOWN
    broker.clock.advance(FRESH)
    assert await used(broker, session) == Usage(cpu=None, memory=MEMORY)


async def test_an_engine_that_says_nothing_is_not_waited_for(world, broker, session, monkeypatch):
    monkeypatch.setattr("broker.service.meter.PATIENCE", 0.01)

    async def never(_names):
        await asyncio.Event().wait()

    monkeypatch.setattr(world.engine, "usage", never)
    assert await used(broker, session) == UNKNOWN


async def test_what_does_not_run_uses_nothing_that_is_known(world, broker, session):
    """A sleeping one holds its memory."""
    await broker.freeze(session)
    session = await broker.store.session(session.id)
    assert (await used(broker, session)).memory == MEMORY
    await broker.sessions.stop(session.id, reason="x", actor="x")
    session = await broker.store.session(session.id)
    assert await used(broker, session) == UNKNOWN


async def test_only_so_many_are_remembered(world, broker, session, monkeypatch):
    monkeypatch.setattr("broker.service.meter._MOST", 1)
    meter = Meter(engine=broker.engine, watches=broker.watches, clock=broker.clock)
    other = await broker.ensure(await broker.desktop("bob"))
    await meter.of([session, other])
    assert list(meter._samples) == [other.id]
