"""How late an event loop is."""

from __future__ import annotations

import asyncio
import time

from broker.system import lag


async def test_what_holds_the_loop_is_seen():
    """By as much as it held it, and once."""
    worst = lag.Worst()
    watching = asyncio.get_running_loop().create_task(lag.watch(worst.note))
    await asyncio.sleep(0)
    held = 2 * lag.LOOK_EVERY
    time.sleep(held)  # noqa: ASYNC251 - that is what holds it
    async with asyncio.timeout(5):
        while not (seen := worst.take()):
            await asyncio.sleep(0)
    assert held - lag.LOOK_EVERY <= seen < held + 1
    assert worst.take() < held - lag.LOOK_EVERY
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
