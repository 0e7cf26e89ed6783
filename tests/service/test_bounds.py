"""How much a home holds: set at each start, and refused where it cannot be."""

from __future__ import annotations

import pytest

from broker.core.errors import ConfigError, HomeUnbounded
from broker.core.spec import home_volume
from tests.service.harness import IMAGE

NO_QUOTAS = "the filesystem has no quotas"


async def test_a_home_is_bounded_before_its_desktop_starts(world):
    """For the uid of its own."""
    broker = await world.broker(home="2g")
    desktop = await broker.desktop()
    await broker.ensure(desktop)
    assert world.engine.bounds == {home_volume(desktop.id): (desktop.uid, 2 << 30)}
    calls = world.engine.calls
    assert calls.index("bound_home") < calls.index("create")


async def test_another_bound_holds_from_the_next_start_on(world):
    broker = await world.broker(home="2g")
    desktop = await broker.desktop()
    session = await broker.ensure(desktop)
    await broker.sessions.stop(session.id, reason="enough", actor="user:ada")
    await broker.abandon()
    broker = await world.broker(home="3g")
    await broker.ensure(await broker.real_store.desktop(desktop.id))
    assert world.engine.bounds[home_volume(desktop.id)] == (desktop.uid, 3 << 30)


async def test_without_a_bound_nobody_is_asked_for_one(world, broker):
    world.engine.unbounded = NO_QUOTAS
    await broker.launcher.demand()
    await broker.ensure(await broker.desktop())
    assert not {"bound_home", "check_bounds"} & set(world.engine.calls)


async def test_where_homes_cannot_be_bounded_the_template_is_refused_with_the_reason(world):
    broker = await world.broker(home="2g")
    await broker.launcher.demand()
    world.engine.unbounded = NO_QUOTAS
    with pytest.raises(ConfigError) as caught:
        await broker.launcher.demand()
    assert caught.value.public.startswith(
        f"template.home: homes cannot be bounded here: {NO_QUOTAS}. Take the key away"
    )


async def test_a_start_is_refused_as_well_and_leaves_nothing_that_runs(world):
    broker = await world.broker(home="2g")
    world.engine.unbounded = NO_QUOTAS
    refused = await broker.refused(HomeUnbounded, broker.ensure(await broker.desktop()))
    assert NO_QUOTAS not in refused.public
    assert world.containers == set()


async def test_what_cannot_be_told_at_the_start_is_told_by_each_start(world):
    """An image that is still to be made, an engine that is away."""
    broker = await world.broker(home="2g")
    world.engine.unbounded = NO_QUOTAS
    image = world.engine.images.pop(IMAGE)
    await broker.launcher.demand()
    world.engine.images[IMAGE] = image
    world.engine.down = True
    await broker.launcher.demand()
    world.engine.down = False
    await broker.refused(HomeUnbounded, broker.ensure(await broker.desktop()))
