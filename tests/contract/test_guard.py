"""What a guard keeps to, over a packet filter in memory and over nftables of a real kernel."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from broker.core.errors import FirewallFailed
from broker.core.firewall import Restored
from broker.system.clock import SystemClock
from broker.system.guard import Guard
from tests.contract.filters import FakeHost, RealHost, missing, netns
from tests.contract.test_filter import ADA, BEN, ME, RULES

#: Seconds within which a table has to be back.
BACK = 2.0


@pytest.fixture(params=["fake", "nft"])
def host(request):
    """A host with the bridge of one installation, and no rules."""
    if request.param == "fake":
        yield FakeHost()
        return
    reason = missing()
    if reason is not None or os.geteuid() != 0:
        pytest.skip(reason or "only root enters another network to listen there")
    with netns() as network:
        yield RealHost(network, *RULES.bridges)


class Told:
    """What a guard tells, as it comes."""

    def __init__(self):
        self._restored = asyncio.Queue()
        self.beats = 0

    async def __call__(self, restored):
        self.beats += 1
        if restored is not None:
            await self._restored.put(restored)

    async def next(self):
        async with asyncio.timeout(BACK):
            return await self._restored.get()

    @property
    def silent(self):
        return self._restored.empty()


@pytest.fixture
def guard(host):
    return Guard(host.filter, host.changes, SystemClock())


@asynccontextmanager
async def at_work(guard):
    told = Told()
    task = asyncio.get_running_loop().create_task(guard.guard(told))
    try:
        async with asyncio.timeout(10):
            while not told.beats:
                await asyncio.sleep(0.01)
        yield told
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_rules_that_are_flushed_are_back_within_two_seconds(host, guard):
    """With what was granted since they were put, and without what was taken away; each time."""
    await guard.put(replace(RULES, grants=frozenset({BEN})))
    async with at_work(guard) as told:
        await guard.grant(ME, ADA)
        await guard.revoke(ME, BEN)
        before = await guard.standing(ME)
        for _ in range(3):
            host.flush()
            restored = await told.next()
            assert restored.reason == "the table was gone"
            assert restored.by is not None
            assert restored.by.startswith("nft (")
            assert await host.filter.standing(ME) == before
    assert before.grants == {ADA}


async def test_a_rule_and_an_address_that_are_taken_out_are_back_too(host, guard):
    await guard.put(replace(RULES, grants=frozenset({ADA, BEN})))
    before = await guard.standing(ME)
    async with at_work(guard) as told:
        host.meddle(ME)
        assert (await told.next()).reason == "its rules were changed"
        host.lose(ME, BEN)
        assert (await told.next()).reason == "its addresses were changed"
        assert await guard.standing(ME) == before


async def test_what_happened_before_anybody_watched_is_found_at_the_first_look(host, guard):
    await guard.put(RULES)
    host.flush()
    async with at_work(guard) as told:
        assert await told.next() == Restored("the table was gone", None)


async def test_what_the_owner_does_is_nobodys_doing(host, guard):
    """Granting, revoking, other rules, none at all."""
    await guard.put(RULES)
    async with at_work(guard) as told:
        for _ in range(3):
            await guard.grant(ME, ADA)
            await guard.revoke(ME, ADA)
            await guard.put(replace(RULES, neighbours=()))
            await asyncio.sleep(0.4)
        await guard.remove(ME)
        await asyncio.sleep(0.6)
        assert told.silent
        assert await host.filter.standing(ME) is None
        await guard.put(RULES)
        host.flush()
        await told.next()


async def test_who_flushes_in_a_loop_costs_two_looks_a_second(host, guard):
    """And finds the table there again after each."""
    looks = 0
    real = host.filter.standing

    async def counted(instance):
        nonlocal looks
        looks += 1
        return await real(instance)

    host.filter.standing = counted
    await guard.put(RULES)
    async with at_work(guard) as told:
        looks, until = 0, asyncio.get_running_loop().time() + 2
        while asyncio.get_running_loop().time() < until:
            host.flush()
            await asyncio.sleep(0.01)
        assert looks <= 2 * 6  # a look, and one behind what it puts back
        assert (await told.next()).reason == "the table was gone"
        host.filter.standing = real
        async with asyncio.timeout(BACK):
            while await real(ME) is None:
                await asyncio.sleep(0.05)


async def test_where_it_cannot_put_back_it_says_so(host, guard):
    await guard.put(RULES)
    host.flush()
    host.lose_bridge(RULES.bridges[0])
    told = Told()
    with pytest.raises(FirewallFailed, match="bridge"):
        await guard.guard(told)
    assert told.silent
