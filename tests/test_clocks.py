import asyncio
from datetime import timedelta

import pytest

from broker.core.interfaces import Clock
from tests.clocks import START, ManualClock


async def test_a_sleeper_wakes_when_its_time_has_come():
    clock: Clock = ManualClock()
    woken = []

    async def sleeper(seconds):
        await clock.sleep(seconds)
        woken.append(seconds)

    async with asyncio.TaskGroup() as group:
        for seconds in (10, 5, 0):
            group.create_task(sleeper(seconds))
        await settle()
        assert (woken, clock.sleepers) == ([0], 2)
        clock.advance(5)
        await settle()
        assert woken == [0, 5]
        clock.jump(3600)
        clock.advance(4.5)
        await settle()
        assert woken == [0, 5]
        clock.advance(0.5)
    assert woken == [0, 5, 10]
    assert clock.sleepers == 0
    assert clock.monotonic() == 10
    assert clock.now() == START + timedelta(seconds=3610)


async def test_a_cancelled_sleeper_is_forgotten():
    clock = ManualClock()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(clock.sleep(5))
        await settle()
        task.cancel()
    assert clock.sleepers == 0
    clock.advance(5)


def test_time_only_goes_forward():
    with pytest.raises(ValueError, match="forward"):
        ManualClock().advance(-1)


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)
